package runner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func writeAll(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOwnCgroup(t *testing.T) {
	const v1 = "25 1 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	const v2 = "26 1 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
	for _, c := range []struct{ name, cgroups, mounts, want string }{
		{"of a service", "0::/system.slice/hexmpp.service\n", v1 + v2, "/sys/fs/cgroup/system.slice/hexmpp.service"},
		{"beside v1", "4:memory:/a\n1:name=systemd:/b\n0::/c\n", v1 + strings.ReplaceAll(v2, "/sys/fs/cgroup ", "/sys/fs/cgroup/unified "), "/sys/fs/cgroup/unified/c"},
		{"v1 only", "4:memory:/a\n", v1, ""},
		{"not mounted", "0::/a\n", v1, ""},
		{"a part is mounted", "0::/docker/x/y\n", "26 1 0:23 /docker/x /cg rw - cgroup2 cgroup2 rw\n", "/cg/y"},
		{"the part above", "0::/docker/x\n", "26 1 0:23 /docker/x /cg rw - cgroup2 cgroup2 rw\n", "/cg"},
		{"another part is mounted", "0::/docker/xy\n", "26 1 0:23 /docker/x /cg rw - cgroup2 cgroup2 rw\n", ""},
		{"outside of the namespace", "0::/../x\n", v2, "/sys/fs/cgroup/x"},
		{"nonsense", "0::\nx", "a b c\n- cgroup2\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeAll(t, dir, map[string]string{"cgroup": c.cgroups, "mountinfo": c.mounts})
			got, err := ownCgroup(filepath.Join(dir, "cgroup"), filepath.Join(dir, "mountinfo"))
			if err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// The files of a control group, without a kernel behind them: what is written where.
func TestDivide(t *testing.T) {
	dir := t.TempDir()
	writeAll(t, dir, map[string]string{"cgroup.controllers": "cpu memory pids\n", "cgroup.procs": "12\n34\n", "cgroup.subtree_control": "", "server/cgroup.procs": ""})
	d, err := divide(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"server/cgroup.procs": "34", "cgroup.subtree_control": "+memory"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	// Without a kernel a new group has no files, so its limit can't be set, and
	// nothing of it is left.
	if g, err := d.group("echo", 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("group %+v, %v", g, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "plugin-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	writeAll(t, dir, map[string]string{"cgroup.controllers": "cpu pids\n"})
	if _, err := divide(dir); err == nil || !strings.Contains(err.Error(), "Delegate=memory") {
		t.Errorf("without the controller: %v", err)
	}
}

func TestOOMKillIsSeen(t *testing.T) {
	for events, want := range map[string]bool{
		"low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n": true,
		"low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\noom_group_kill 0\n": false,
		"": false,
	} {
		dir := t.TempDir()
		writeAll(t, dir, map[string]string{"memory.events": events})
		if got := (&cgroup{path: dir}).remove(); got != want {
			t.Errorf("%q: %v", events, got)
		}
	}
}

// In a control group of the kernel's even a process that left its process group
// ends with the plugin. It needs no memory controller, and a group that we may make.
func TestControlGroup(t *testing.T) {
	own, err := ownCgroup("/proc/self/cgroup", "/proc/self/mountinfo")
	if err != nil || own == "" {
		t.Skipf("no control groups of version 2 here: %v", err)
	}
	path, err := os.MkdirTemp(own, "hexmpp-test-")
	if err != nil {
		t.Skipf("no control group can be made: run this as root, or in a delegated group: %v", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, Options{}, zap.NewNop())
	r.limit = func(*Spec) *cgroup { return &cgroup{path: path, dir: dir} }
	s := newSpec(t, helper("bare"))
	s.Memory = 1 << 40
	p := start(t, r, s)
	if in, err := os.ReadFile(procPath(p.PID(), "cgroup")); err != nil || !strings.Contains(string(in), filepath.Base(path)) {
		t.Errorf("the plugin is in %s, %v", in, err)
	}
	below := watch(t, order(t, p, "fork session"))
	p.Kill()
	below.awaitEnd(t, "the process that left its group")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the control group is left: %v", err)
	}
}
