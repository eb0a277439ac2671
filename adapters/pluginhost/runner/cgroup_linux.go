package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// delegated is a control group (v2) that is ours to divide.
type delegated struct {
	path string
	made atomic.Int64
}

// findDelegated looks for the control group that the service manager gave us: the
// one that this process is in, or the one above it (systemd's DelegateSubgroup=). systemd
// marks it by an attribute; without the mark a group is somebody else's, even if we may
// write to it. nil without an error: there is none.
func findDelegated() (*delegated, error) {
	own, err := ownCgroup("/proc/self/cgroup", "/proc/self/mountinfo")
	if own == "" || err != nil {
		return nil, err
	}
	for _, dir := range []string{own, filepath.Dir(own)} {
		if marked(dir) {
			return divide(dir)
		}
	}
	return nil, nil
}

// marked says whether systemd delegated the group to us.
func marked(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// ownCgroup is the folder of this process's control group, "" if there is no v2.
func ownCgroup(cgroups, mounts string) (string, error) {
	text, err := os.ReadFile(cgroups)
	if err != nil {
		return "", err
	}
	group := ""
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			group = path.Clean(rest)
		}
	}
	if !path.IsAbs(group) { // there is none, or it is outside of what we see
		return "", nil
	}
	if text, err = os.ReadFile(mounts); err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) { // proc_pid_mountinfo(5)
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 5 || len(f) < dash+2 || f[dash+1] != "cgroup2" {
			continue
		}
		root, point := f[3], f[4]
		if root == "/" {
			return filepath.Join(point, group), nil
		}
		if below, ok := strings.CutPrefix(group+"/", root+"/"); ok {
			return filepath.Join(point, below), nil
		}
	}
	return "", nil
}

// divide makes it possible to bound the memory of groups in dir. No process may
// be in dir itself then, so those that are (we) get a group of their own.
func divide(dir string) (*delegated, error) {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	if !slices.Contains(strings.Fields(string(controllers)), "memory") {
		return nil, fmt.Errorf("control group %s: memory is not delegated: Delegate=memory in the unit", dir)
	}
	processes, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	if pids := strings.Fields(string(processes)); len(pids) > 0 {
		server := filepath.Join(dir, "server")
		if err := os.Mkdir(server, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		for _, pid := range pids {
			if err := set(filepath.Join(server, "cgroup.procs"), pid); err != nil && !notThere(err) {
				return nil, err
			}
		}
	}
	if err := set(filepath.Join(dir, "cgroup.subtree_control"), "+memory"); err != nil {
		return nil, err
	}
	return &delegated{path: dir}, nil
}

// set writes a file of a control group, which is there already.
func set(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// notThere says that a process ended while it was looked at.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// A cgroup is the control group of one process of a plugin, and what that
// started. All methods may be called on nil.
type cgroup struct {
	path string
	dir  *os.File
}

// group makes a control group whose memory, without swap, is bounded.
func (d *delegated) group(plugin string, memory int64) (_ *cgroup, err error) {
	g := &cgroup{path: filepath.Join(d.path, "plugin-"+plugin+"-"+strconv.FormatInt(d.made.Add(1), 10))}
	if err := os.Mkdir(g.path, 0o755); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.remove()
		}
	}()
	if err := set(filepath.Join(g.path, "memory.max"), strconv.FormatInt(memory, 10)); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"memory.swap.max": "0", "memory.oom.group": "1"} {
		if err := set(filepath.Join(g.path, name), value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	g.dir, err = os.Open(g.path)
	return g, err
}

func (g *cgroup) file() *os.File {
	if g == nil {
		return nil
	}
	return g.dir
}

// kill ends all processes in the group, also those that left their process
// group. Before Linux 5.14 it does nothing.
func (g *cgroup) kill() {
	if g != nil {
		_ = set(filepath.Join(g.path, "cgroup.kill"), "1")
	}
}

// remove removes the group, and reports whether its limit has killed somebody.
func (g *cgroup) remove() (oom bool) {
	if g == nil {
		return false
	}
	if events, err := os.ReadFile(filepath.Join(g.path, "memory.events")); err == nil {
		for line := range strings.Lines(string(events)) {
			f := strings.Fields(line)
			oom = oom || len(f) == 2 && strings.HasPrefix(f[0], "oom_kill") && f[1] != "0"
		}
	}
	if g.dir != nil {
		g.dir.Close()
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 100 { // processes that were killed take a moment to be gone
		if err := os.Remove(g.path); !errors.Is(err, unix.EBUSY) {
			return oom
		}
		<-tick.C
	}
	return oom
}
