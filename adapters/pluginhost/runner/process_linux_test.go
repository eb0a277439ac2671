package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

func newSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// host is a server that is going to be killed: it starts a plugin that ignores
// everything, which starts a process, and tells both.
func host(args []string) int {
	r, err := New(Options{Folder: args[0], Guard: helper("guard")}, zap.NewNop())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p, err := r.Start(context.Background(), Spec{Name: "echo", Command: helper("bare", "deaf"), Folder: args[0], Handshake: handshake, Versions: []int{1}, StartTimeout: within})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	below, err := tell(p, "fork")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(p.PID(), below, r.guard.pid())
	select {}
}

// A watched process is known by a descriptor, so that another one with its number is not
// taken for it.
type watched int

func watch(t *testing.T, pid string) watched {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(n, 0)
	if err != nil {
		t.Fatalf("process %d: %v", n, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return watched(fd)
}

// awaitEnd waits for the end of the process.
func (w watched) awaitEnd(t *testing.T, what string) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(w), Events: unix.POLLIN}}, int(within.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != 1 {
			unix.PidfdSendSignal(int(w), unix.SIGKILL, nil, 0)
			t.Fatalf("%s lives on (%d, %v)", what, n, err)
		}
		return
	}
}

func TestNothingSurvivesAKilledHost(t *testing.T) {
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command("/proc/self/exe", "helper=host", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Process.Kill()
		t.Fatal(err, cmd.Wait())
	}
	pids := strings.Fields(line)
	if len(pids) != 3 {
		t.Fatalf("the host said %q", line)
	}
	plugin, below, guard := watch(t, pids[0]), watch(t, pids[1]), watch(t, pids[2])
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // its status is that of a killed process
	plugin.awaitEnd(t, "the plugin")
	below.awaitEnd(t, "the process of the plugin")
	guard.awaitEnd(t, "the guard")

	// What the dead host left is swept by the next one.
	left, err := filepath.Glob(filepath.Join(dir, folderPrefix+"*", "plugin-dir*", "s"))
	if err != nil || len(left) != 1 {
		t.Fatalf("the dead host left %v, %v", left, err)
	}
	newRunner(t, Options{Folder: dir}, zap.NewNop())
	if _, err := os.Stat(left[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket of the dead host: %v", err)
	}
}

func TestAGuardThatEndsIsReplaced(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	r := newRunner(t, Options{Guard: helper("guard")}, zap.New(core))
	p := start(t, r, newSpec(t, helper("bare", "deaf")))
	below := watch(t, order(t, p, "fork"))
	first := watch(t, strconv.Itoa(r.guard.pid()))
	if err := unix.PidfdSendSignal(int(first), unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, logs, "the guard of plugins ended, and was started again")
	// The new one was told what the old one knew: the end of its input is the
	// end of the plugin.
	r.guard.mu.Lock()
	r.guard.in.Close()
	r.guard.mu.Unlock()
	await(t, "the end of the plugin", p.Done())
	below.awaitEnd(t, "the process of the plugin")
	if e := p.Exit(); e.Reason != Ended || e.Signal != "killed" {
		t.Errorf("exit %+v", e)
	}
}

func awaitLog(t *testing.T, logs *observer.ObservedLogs, message string) observer.LoggedEntry {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range int(within / (5 * time.Millisecond)) {
		for _, e := range logs.All() {
			if strings.Contains(e.Message, message) {
				return e
			}
		}
		<-tick.C
	}
	t.Fatalf("no %q in %v", message, logs.All())
	return observer.LoggedEntry{}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	t.Setenv("LC_TIME", "eo")
	t.Setenv("TZ", "Europe/Berlin")
	r := newRunner(t, Options{}, zap.NewNop())
	s := newSpec(t, helper("bare"))
	s.Env = map[string]string{"MODE": "fast"}
	s.Memory = 1 << 40
	p := start(t, r, s)
	var env []string
	if err := json.Unmarshal([]byte(order(t, p, "env")), &env); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR": // as the machine has them
			if value != os.Getenv(name) {
				t.Errorf("%s, and the host has %q", v, os.Getenv(name))
			}
			continue
		}
		if name == "LC_TIME" || !strings.HasPrefix(name, "LC_") {
			names = append(names, name)
		}
	}
	want := []string{"GOMEMLIMIT", "HEXMPP_TEST_COOKIE", "LC_TIME", "MODE", "PLUGIN_MAX_PORT", "PLUGIN_MIN_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", "TZ"}
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("environment %q, want %q", names, want)
	}
	if dir := order(t, p, "dir"); dir != s.Folder {
		t.Errorf("working directory %s, want %s", dir, s.Folder)
	}
}

// What the server was started with, or opened without care, is not the plugin's.
func TestDescriptorsOfTheHost(t *testing.T) {
	name := filepath.Join(t.TempDir(), "host")
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT, 0o600) // and not O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r := newRunner(t, Options{}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare")))
	open, err := filepath.Glob(procPath(p.PID(), "fd/*"))
	if err != nil || len(open) < 4 {
		t.Fatalf("descriptors %v, %v", open, err)
	}
	for _, link := range open {
		if to, err := os.Readlink(link); err == nil && to == name {
			t.Errorf("%s is the host's", link)
		}
	}
}

func TestInheritedFiles(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	file, err := os.Create(filepath.Join(t.TempDir(), "inherited"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := newSpec(t, helper("bare"))
	s.Inherit, s.InheritNames = []*os.File{file}, []string{"stun"}
	p := start(t, r, s)
	env := order(t, p, "env")
	if !strings.Contains(env, "LISTEN_FDS=1") || !strings.Contains(env, "LISTEN_FDNAMES=stun") {
		t.Errorf("environment %s", env)
	}
	if got, err := os.Readlink(procPath(p.PID(), "fd/3")); err != nil || got != file.Name() {
		t.Errorf("descriptor 3 is %s, %v", got, err)
	}
}

func TestSocketsAreNobodyElses(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare")))
	sockets, err := filepath.Glob(filepath.Join(r.Folder(), "*", "s"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets %v, %v", sockets, err)
	}
	for dir := filepath.Dir(sockets[0]); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
		if dir == r.options.Folder {
			break
		}
	}
	p.Kill()
	if _, err := os.Stat(filepath.Dir(sockets[0])); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
}

func TestStrayOutput(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	r := newRunner(t, Options{}, zap.New(core))
	p := start(t, r, newSpec(t, helper("bare", "stray")))
	if err := p.Health(t.Context()); err != nil {
		t.Error(err)
	}
	awaitEntry(t, p.Logs(), func(e Entry) bool { return e.Message == "after the handshake" })
	var got []string
	for _, e := range p.Logs().Last(logEntries) {
		if e.Level != zap.WarnLevel || e.Source != Stdout || e.PID != p.PID() {
			t.Errorf("entry %+v", e)
		}
		got = append(got, e.Message)
	}
	want := []string{"loading", `\x1b[2Jmodules`, "1|not a handshake|", "100%1", "after the handshake"}
	if !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
	said := logs.FilterMessage("loading").All()
	if len(said) != 1 || said[0].ContextMap()["plugin"] != "echo" {
		t.Errorf("server's log: %v", said)
	}
}

func TestGoPluginsOwnServer(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	s := newSpec(t, helper("go"))
	s.Versions = []int{1, 2}
	p := start(t, r, s)
	if err := p.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if p.Version() != 2 {
		t.Errorf("version %d, want the highest that both know", p.Version())
	}
	awaitEntry(t, p.Logs(), func(e Entry) bool {
		return e.Message == "printed" && e.Source == Stdout && e.Level == zap.WarnLevel
	})
	awaitEntry(t, p.Logs(), func(e Entry) bool {
		return e.Message == "logged" && e.Source == Stderr && e.Level == zap.InfoLevel
	})
	p.Stop(t.Context(), within)
	if e := p.Exit(); e.Reason != Stopped || e.Signal != "terminated" {
		t.Errorf("exit %+v", e)
	}
}

func TestFloodAndPanic(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	r := newRunner(t, Options{}, zap.New(core))
	p := start(t, r, newSpec(t, helper("bare")))
	order(t, p, "flood")
	order(t, p, "panic over and\nout")
	await(t, "the end", p.Done())
	if e := p.Exit(); e.Reason != Ended || e.Code != 2 {
		t.Errorf("exit %+v", e)
	}
	if n := logs.FilterMessage(strings.Repeat("x", 60)).Len(); n == 0 || n > 20*DefaultLinesPerSecond {
		t.Errorf("%d lines of the flood were logged", n)
	}
	if logs.Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, "lines were dropped") }).Len() == 0 {
		t.Error("nothing says that lines were dropped")
	}
	errs := logs.FilterLevelExact(zapcore.ErrorLevel).All()
	if len(errs) != 1 {
		t.Fatalf("errors: %v", errs)
	}
	trace, _ := errs[0].ContextMap()["trace"].(string)
	if errs[0].Message != "panic: over and" || !strings.Contains(trace, "\n\tout") || !strings.Contains(trace, "goroutine ") || !strings.Contains(trace, "main_linux_test.go:") {
		t.Errorf("message %q, trace %s", errs[0].Message, trace)
	}
}

func TestAPluginThatIgnoresSIGTERM(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare", "deaf")))
	p.Stop(t.Context(), time.Millisecond)
	if e := p.Exit(); e.Reason != Stopped || e.Signal != "killed" {
		t.Errorf("exit %+v", e)
	}
	if _, err := p.Usage(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("usage after the end: %v", err)
	}
	if _, err := os.Stat(procPath(p.PID(), "")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a zombie is left: %v", err)
	}
}

// Linux kills a process when the thread that started it ends, and threads of the
// server come and go.
func TestThreadsMayEnd(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare")))
	for range 5 {
		var ended sync.WaitGroup
		together := make(chan struct{})
		for range 32 {
			ended.Go(func() {
				runtime.LockOSThread() // and with this goroutine its thread ends
				<-together
			})
		}
		close(together)
		ended.Wait()
	}
	if err := p.Health(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-p.Done():
		t.Errorf("the plugin %s", p.Exit())
	default:
	}
}

func TestTheLifeLine(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare")))
	p.child.lifeline.Close()
	await(t, "the end", p.Done())
	if e := p.Exit(); e.Reason != Ended || e.Code != 0 || e.String() != "ended by itself" {
		t.Errorf("exit %+v", e)
	}
}

// A process that the plugin started holds its outputs: nobody waits for it.
func TestGrandchildren(t *testing.T) {
	for _, c := range []struct {
		name, fork string
		killed     bool
	}{
		{"in the group", "fork", true},
		{"in a session of its own", "fork session", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRunner(t, Options{}, zap.NewNop())
			p := start(t, r, newSpec(t, helper("bare")))
			below := watch(t, order(t, p, c.fork))
			awaitEntry(t, p.Logs(), func(e Entry) bool { return e.Message == "started" })
			order(t, p, "exit")
			await(t, "the end", p.Done())
			if e := p.Exit(); e.Reason != Ended || e.Code != 3 || e.String() != "exited with status 3" {
				t.Errorf("exit %+v", e)
			}
			if !c.killed { // as it is documented
				if err := unix.PidfdSendSignal(int(below), unix.SIGKILL, nil, 0); err != nil {
					t.Errorf("the process that left the group: %v", err)
				}
			}
			below.awaitEnd(t, "the process of the plugin")
		})
	}
}

func TestMemory(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	r := newRunner(t, Options{Interval: time.Millisecond}, zap.New(core))
	s := newSpec(t, helper("bare"))
	s.Memory, s.MemoryKey = 512<<20, "plugins.echo.limits.memory"
	p := start(t, r, s)
	u, err := p.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if u.PID != p.PID() || u.Processes != 1 || u.RSS < 1<<20 || u.Started.IsZero() {
		t.Errorf("usage %+v", u)
	}
	order(t, p, "grow")
	await(t, "the end", p.Done())
	if e := p.Exit(); e.Reason != OverMemory || e.Peak <= s.Memory || e.Signal != "killed" {
		t.Errorf("exit %+v", e)
	}
	if e := awaitLog(t, logs, "raise plugins.echo.limits.memory"); e.ContextMap()["limit"] != s.Memory {
		t.Errorf("%v", e)
	}
}

func TestMemoryOfAllProcessesCounts(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare")))
	alone, err := p.Usage()
	if err != nil {
		t.Fatal(err)
	}
	order(t, p, "fork")
	awaitEntry(t, p.Logs(), func(e Entry) bool { return e.Message == "started" })
	both, err := p.Usage()
	if err != nil || both.Processes != 2 || both.RSS < alone.RSS+1<<20 {
		t.Errorf("usage %+v, before the second one %+v, %v", both, alone, err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	r := newRunner(t, Options{Guard: helper("guard")}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare", "deaf")))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", p.Done())
	if _, err := os.Stat(r.Folder()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder: %v", err)
	}
	if _, err := r.Start(t.Context(), newSpec(t, helper("bare"))); !errors.Is(err, ErrClosed) {
		t.Errorf("a start after the end: %v", err)
	}
}

// As the first process of a container, the server is the parent of whatever a
// plugin leaves behind; here it is made that by prctl.
func TestOrphansAreWaitedFor(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	r := newRunner(t, Options{}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare", "deaf")))
	below := order(t, p, "fork")
	p.Kill()
	if _, err := os.Stat("/proc/" + below); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the orphan is still there: %v", err)
	}
}

// pid is the guard's process.
func (g *guard) pid() int {
	for p := range processes {
		if p.parent == os.Getpid() && p.pid == p.group && p.state != 'Z' {
			if args, err := os.ReadFile(procPath(p.pid, "cmdline")); err == nil && strings.Contains(string(args), "helper=guard") {
				return p.pid
			}
		}
	}
	return 0
}
