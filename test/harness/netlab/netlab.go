// Package netlab is a network of a test's own: hosts in network namespaces on one bridge, with a
// name server and certificates of the test's. Nothing of it is seen outside, and nothing outside is reached.
//
// A TestMain hands over to Main, which runs the test program again in a network and a mount
// namespace of its own; there the tests make hosts.
package netlab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// inside is set in the environment of the program that runs in namespaces of its own.
const inside = "HEXMPP_NETLAB"

// Main runs the tests in namespaces of their own, where that can be done: by root, on Linux. Elsewhere
// New skips the tests.
func Main(m *testing.M) (code int) {
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "netlab:", err)
			return 1
		}
		return m.Run()
	}
	if why() != "" {
		return m.Run()
	}
	program, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
		return 1
	}
	cmd := exec.Command("unshare", append([]string{"--net", "--mount", "--propagation", "private", program}, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() <= 0 {
			fmt.Fprintln(os.Stderr, "netlab:", err)
			return 1
		}
		return cmd.ProcessState.ExitCode()
	}
	return 0
}

// why says what is missing for namespaces.
func why() string {
	switch {
	case runtime.GOOS != "linux":
		return "network namespaces are Linux's"
	case os.Geteuid() != 0:
		return "network namespaces of its own need root"
	}
	for _, program := range []string{"unshare", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not there (Debian: util-linux, iproute2)"
		}
	}
	if out, err := exec.Command("unshare", "--net", "--mount", "--propagation", "private", "ip", "link", "add", bridge, "type", "bridge").CombinedOutput(); err != nil {
		return fmt.Sprintf("network namespaces of its own can't be made here: %v: %s", err, out)
	}
	return ""
}

const (
	bridge  = "lab"
	gateway = "10.66.0.1" // the test program; the name server, too
)

// prepare makes the bridge, and a resolv.conf that names the test's name server.
func prepare() error {
	dir, err := os.MkdirTemp("", "netlab")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // what is mounted stays
	resolv := dir + "/resolv.conf"
	if err := os.WriteFile(resolv, []byte("nameserver "+gateway+"\noptions timeout:1 attempts:2 trust-ad\n"), 0o644); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"mount", "-t", "tmpfs", "netlab", "/run/netns"},
		{"mount", "--bind", resolv, "/etc/resolv.conf"},
		{"ip", "link", "set", "lo", "up"},
		// Its own hardware address: otherwise that is of one of its ports, and changes as hosts come and go.
		{"ip", "link", "add", bridge, "address", "02:00:00:00:00:02", "type", "bridge"},
		{"ip", "addr", "add", gateway + "/24", "dev", bridge},
		{"ip", "link", "set", bridge, "up"},
	} {
		if err := run(args...); err != nil {
			return err
		}
	}
	return nil
}

func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Lab is the network of one test.
type Lab struct {
	Names *Names
	CA    *harness.CA
	Dir   string // that others may pass through: what is in it may be given to another user

	t testing.TB
}

// New makes a network, or skips the test where there can't be one.
func New(t testing.TB) *Lab {
	t.Helper()
	if os.Getenv(inside) == "" {
		if why := why(); why != "" {
			t.Skip(why)
		}
		t.Fatal("netlab: TestMain does not call Main")
	}
	dir, err := os.MkdirTemp("", "lab") // not TempDir: servers run as users of their own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ca, err := harness.NewCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(ca.File, 0o644); err != nil {
		t.Fatal(err)
	}
	return &Lab{Names: serve(t), CA: ca, Dir: dir, t: t}
}

// hosts counts those that were made: no two have the same address, also of tests that ran before.
var hosts atomic.Uint32

// Host is a machine of the network.
type Host struct {
	Name string // of its namespace
	Addr string // IPv4

	l *Lab
}

// Host makes one. It is gone at the end of the test.
func (l *Lab) Host() *Host {
	l.t.Helper()
	n := hosts.Add(1)
	if n > 250 {
		l.t.Fatal("netlab: too many hosts")
	}
	h := &Host{Name: fmt.Sprint("host", n), Addr: fmt.Sprint("10.66.0.", 1+n), l: l}
	link, peer := "lab"+h.Name, "eth0"
	l.t.Cleanup(func() {
		if err := run("ip", "netns", "del", h.Name); err != nil {
			l.t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"ip", "netns", "add", h.Name},
		{"ip", "link", "add", link, "type", "veth", "peer", "name", peer, "netns", h.Name},
		{"ip", "link", "set", link, "master", bridge, "up"},
		{"ip", "-n", h.Name, "addr", "add", h.Addr + "/24", "dev", peer},
		{"ip", "-n", h.Name, "link", "set", peer, "up"},
		{"ip", "-n", h.Name, "link", "set", "lo", "up"},
	} {
		if err := run(args...); err != nil {
			l.t.Fatal("netlab: ", err)
		}
	}
	return h
}

// Command returns a command that runs on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.Name, name}, args...)...)
}

// Cut takes the host off the network, or puts it back: nothing that is sent arrives, and nobody is
// told.
func (h *Host) Cut(off bool) {
	h.l.t.Helper()
	state := "up"
	if off {
		state = "down"
	}
	if err := run("ip", "link", "set", "lab"+h.Name, state); err != nil {
		h.l.t.Fatal("netlab: ", err)
	}
}

// nobody is the hardware address of no host.
const nobody = "02:00:00:00:00:01"

// Mute has what the host sends to another one not arrive, or arrive again, without a word to anybody: the other
// direction stays.
func (h *Host) Mute(to *Host, on bool) {
	h.l.t.Helper()
	args := []string{"ip", "-n", h.Name, "neigh", "del", to.Addr, "dev", "eth0"}
	if on {
		args = []string{"ip", "-n", h.Name, "neigh", "replace", to.Addr, "lladdr", nobody, "nud", "permanent", "dev", "eth0"}
	}
	if err := run(args...); err != nil {
		h.l.t.Fatal("netlab: ", err)
	}
}
