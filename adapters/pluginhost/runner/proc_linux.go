package runner

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// A proc is what /proc says about one process.
type proc struct {
	pid, parent, group int
	state              byte
	cpu                time.Duration // its own, and that of children which ended and were waited for
}

// tick is the unit of times in /proc/PID/stat; it is the same on every Linux.
const tick = time.Second / 100

// members are the processes of a group. What ends meanwhile is left out.
func members(group int) (all []proc) {
	for p := range processes {
		if p.group == group {
			all = append(all, p)
		}
	}
	return all
}

// processes yields all processes that /proc shows.
func processes(yield func(proc) bool) {
	dir, err := os.Open("/proc")
	if err != nil {
		return
	}
	names, err := dir.Readdirnames(-1)
	if dir.Close() != nil || err != nil {
		return
	}
	var buf [1024]byte
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		f, err := os.Open("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		n, err := f.Read(buf[:])
		if f.Close() != nil || err != nil {
			continue
		}
		if p, ok := parseStat(buf[:n]); ok && p.pid == pid && !yield(p) {
			return
		}
	}
}

// parseStat reads a line of /proc/PID/stat (proc_pid_stat(5)). The name of the
// program, which may hold anything, ends at the last parenthesis.
func parseStat(line []byte) (p proc, ok bool) {
	end := bytes.LastIndexByte(line, ')')
	start := bytes.IndexByte(line, ' ')
	if end < 0 || start < 0 {
		return proc{}, false
	}
	f := bytes.Fields(line[end+1:])
	if len(f) < 15 || len(f[0]) != 1 {
		return proc{}, false
	}
	ok = true
	number := func(b []byte) int {
		n, err := strconv.Atoi(string(b))
		ok = ok && err == nil
		return n
	}
	p = proc{pid: number(line[:start]), state: f[0][0], parent: number(f[1]), group: number(f[2])}
	for _, ticks := range f[11:15] { // utime, stime, cutime, cstime
		p.cpu += time.Duration(number(ticks)) * tick
	}
	return p, ok
}

// resident is the resident memory of a process in bytes, 0 if it has ended.
func resident(pid int) int64 {
	text, err := os.ReadFile(procPath(pid, "statm"))
	if err != nil {
		return 0
	}
	f := bytes.Fields(text)
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func procPath(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// measure adds up what the processes of a group use.
func measure(group int) (u Usage, err error) {
	for _, p := range members(group) {
		if p.state == 'Z' {
			continue
		}
		u.Processes++
		u.CPU += p.cpu
		u.RSS += resident(p.pid)
	}
	if u.Processes == 0 {
		return Usage{}, fmt.Errorf("process group %d: %w", group, os.ErrProcessDone)
	}
	return u, nil
}

// measureGroups is the resident memory of some groups in bytes, by one look at
// all processes.
func measureGroups(groups map[int]int64) {
	for p := range processes {
		if rss, ok := groups[p.group]; ok && p.state != 'Z' {
			groups[p.group] = rss + resident(p.pid)
		}
	}
}

const measuresMemory = true
