package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU time in /proc, on every platform that Go runs Linux on.
const tick = 10 * time.Millisecond

// process is what /proc/PID/stat says.
type process struct {
	pid, parent int
	cpu         time.Duration // user and system, of all threads and of children that were waited for
}

// stat reads one process; ok is false if it is gone.
func stat(pid int) (p process, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name may contain anything
	if len(f) < 15 {
		return p, false
	}
	p.pid = pid
	p.parent, _ = strconv.Atoi(f[1])
	for _, ticks := range f[11:15] {
		n, _ := strconv.ParseInt(ticks, 10, 64)
		p.cpu += time.Duration(n) * tick
	}
	return p, true
}

// family returns a process and everything that descends from it.
func family(root int) (all []process) {
	children := map[int][]process{}
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		pid, _ := strconv.Atoi(filepath.Base(path))
		p, ok := stat(pid)
		switch {
		case !ok:
		case pid == root:
			all = append(all, p)
		default:
			children[p.parent] = append(children[p.parent], p)
		}
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

// usage is what a server has used by now, with all its processes.
type usage struct {
	cpu  time.Duration
	rest time.Duration // of cpu, that of all processes but the server's own: of plugins
	rss  int64         // bytes; 0 if it is gone
}

// used asks /proc. pid 0 is a server that nobody knows the process of.
func used(pid int) (u usage) {
	if pid == 0 {
		return u
	}
	for _, p := range family(pid) {
		u.cpu += p.cpu
		if p.pid != pid {
			u.rest += p.cpu
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "Rss:" {
				n, _ := strconv.ParseInt(f[1], 10, 64)
				u.rss += n << 10
			}
		}
	}
	return u
}

// own is the CPU time of this process: what the load itself costs.
func own() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
