package runner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestFailedStarts(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	for _, c := range []struct {
		name string
		spec func(*Spec)
		want []string
	}{
		{"ends", func(s *Spec) { s.Command = helper("dies") }, []string{"plugin echo: start: it exited with status 3", "no such module: frobnicate"}},
		{"never speaks", func(s *Spec) { s.Command = helper("silent"); s.StartTimeout = 500 * time.Millisecond }, []string{"deadline exceeded", "within 500ms"}},
		{"listens for everybody", func(s *Spec) { s.Command = helper("tcp") }, []string{`listens on tcp "127.0.0.1:1"`, "PLUGIN_UNIX_SOCKET_DIR"}},
		{"says it listens, and ends", func(s *Spec) { s.Command = helper("bare", "brief") }, []string{"plugin echo: start: it exited with status 4"}},
		{"listens, and is no gRPC", func(s *Spec) { s.Command = helper("bare", "mute"); s.StartTimeout = 500 * time.Millisecond }, []string{"deadline exceeded", "or took no connection there"}},
		{"of another version", func(s *Spec) { s.Versions = []int{7} }, []string{"incompatible API version"}},
		{"not there", func(s *Spec) { s.Command = Command{Path: "./no"} }, []string{"no such file"}},
		{"not in PATH", func(s *Spec) { s.Command = Command{Path: "no-such-program-at-all"} }, []string{"no-such-program-at-all", "install it, or give its path"}},
		{"not executable", func(s *Spec) {
			s.Command = Command{Path: "./x"}
			os.WriteFile(filepath.Join(s.Folder, "x"), []byte("#!/bin/sh\n"), 0o600)
		}, []string{"permission denied"}},
		{"a script whose digest is right", func(s *Spec) {
			const script = "#!/bin/sh\necho \"$0 does not work\" >&2\nexit 5\n"
			s.Command = Command{Path: "./x"}
			s.Files = map[string]string{"x": fmt.Sprintf("%x", sha256.Sum256([]byte(script)))}
			os.WriteFile(filepath.Join(s.Folder, "x"), []byte(script), 0o700)
		}, []string{"exited with status 5", "/x does not work"}},
		{"without a name", func(s *Spec) { s.Name = "../x" }, []string{"lower-case letters"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSpec(t, helper("bare"))
			c.spec(&s)
			p, err := r.Start(t.Context(), s)
			if err == nil {
				p.Kill()
				t.Fatal("started")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q, want %q in it", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %q", err)
			}
		})
	}
	if left, err := os.ReadDir(r.Folder()); err != nil || len(left) != 1 { // the lock
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestACancelledStart(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	s := newSpec(t, helper("silent"))
	s.Log = NewLog()
	go func() {
		for range s.Log.Follow(t.Context(), logEntries) {
			cancel() // it has spoken, and not the word
			return
		}
	}()
	if _, err := r.Start(ctx, s); !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), "; its last words: hello") {
		t.Errorf("start: %v", err)
	}
}

// replaced is a server whose file is replaced while it runs. A restart of a
// plugin is of the same version, a reload of what is there now.
func replaced(args []string) int {
	r, err := New(Options{Folder: args[0]}, zap.NewNop())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer r.Close()
	disk, err := os.Executable()
	if err == nil {
		err = os.WriteFile(disk+".new", []byte("#!/bin/sh\nexit 9\n"), 0o700)
	}
	if err == nil {
		err = os.Rename(disk+".new", disk)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s := Spec{Name: "echo", Command: helper("bare"), Folder: args[0], Handshake: handshake, Versions: []int{1}, StartTimeout: within}
	if p, err := r.Start(context.Background(), s); err != nil {
		fmt.Println("the same:", err)
	} else {
		p.Kill()
	}
	s.Command.OnDisk = true
	_, err = r.Start(context.Background(), s)
	fmt.Println("on disk:", err)
	return 0
}

func TestAReplacedServer(t *testing.T) {
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(t.TempDir(), "p")
	copySelf(t, program)
	out, err := exec.Command(program, "helper=replaced", dir).CombinedOutput()
	if err != nil || string(out) != "on disk: plugin echo: start: it exited with status 9 before it was connected; it wrote nothing\n" {
		t.Errorf("%v, %s", err, out)
	}
}

// copySelf makes a program of this test that is a file of its own.
func copySelf(t *testing.T, to string) (digest string) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, self, 0o700); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(self))
}

func TestPinnedProgram(t *testing.T) {
	core, _ := observer.New(zap.DebugLevel)
	r := newRunner(t, Options{}, zap.New(core))
	s := newSpec(t, Command{Path: "./p", Args: []string{"helper=bare"}})
	program := filepath.Join(s.Folder, "p")
	s.Files = map[string]string{"p": copySelf(t, program)}

	// Between check and start somebody puts another program there.
	other := filepath.Join(s.Folder, "other")
	if err := os.WriteFile(other, []byte("#!/bin/sh\nexit 9\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.checked = func() {
		if err := os.Rename(other, program); err != nil {
			t.Error(err)
		}
	}
	p := start(t, r, s)
	if err := p.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if exe, err := os.Readlink(procPath(p.PID(), "exe")); err != nil || !strings.HasPrefix(exe, program+" ") {
		t.Errorf("it runs %s, %v", exe, err)
	}
	args, err := os.ReadFile(procPath(p.PID(), "cmdline"))
	if err != nil || !strings.HasPrefix(string(args), "./p\x00helper=bare\x00") {
		t.Errorf("its arguments are %q, %v", args, err)
	}
	p.Kill()

	// The next start sees what is there now.
	r.checked = nil
	_, err = r.Start(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), program+" has SHA-256 ") || !strings.Contains(err.Error(), s.Files["p"]) {
		t.Errorf("start of another program: %v", err)
	}
}

// TestGuardThatDies: a guard that does not stay is not started without end, and is not given
// up for ever.
func TestGuardThatDies(t *testing.T) {
	g := newGuard(helper("dies"), zap.NewNop())
	defer g.stop()
	var now atomic.Int64
	g.now = func() time.Time { return time.Unix(now.Load(), 0) }
	for range 3 {
		now.Add(int64(guardSteady / time.Second))
		if err := g.ready(); err != nil {
			t.Fatal(err)
		}
		g.wait.Wait() // until it is not started any more
		if err := g.ready(); err == nil || !strings.Contains(err.Error(), "does not stay") {
			t.Fatal(err)
		}
	}
}

// TestOneThatDoesNotEnd: nobody waits without a bound for a process that the system does not
// end, as one is that waits for a broken disk.
func TestOneThatDoesNotEnd(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	r, err := New(Options{Folder: dir}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	r.patience, r.held = 20*time.Millisecond, func() { <-release }
	p, err := r.Start(t.Context(), newSpec(t, helper("bare")))
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if e := p.Exit(); e.Reason != Stopped || e.Code != -1 {
		t.Errorf("%+v", e)
	}
	p.Stop(t.Context(), time.Millisecond)
	s := newSpec(t, helper("silent"))
	s.StartTimeout = 100 * time.Millisecond
	if _, err := r.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "does not end") {
		t.Error(err)
	}
	if n := logs.FilterMessageSnippet("does not end: look at what it waits for").Len(); n != 3 {
		t.Errorf("it was said %d times", n)
	}
	if err := r.Close(); err == nil || !strings.Contains(err.Error(), "do not end") {
		t.Error(err)
	}
	close(release)
	<-p.Done()
	r.work.Wait()
	if err := r.folder.remove(); err != nil {
		t.Error(err)
	}
}

// TestFolderCleanedAway: what cleans folders for temporary files does not keep plugins from
// being started.
func TestFolderCleanedAway(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	p := start(t, r, newSpec(t, helper("bare")))
	before := r.Folder()
	if err := os.RemoveAll(r.options.Folder); err != nil {
		t.Fatal(err)
	}
	if err := p.Health(t.Context()); err != nil {
		t.Error(err)
	}
	other := start(t, r, newSpec(t, helper("bare")))
	if err := other.Health(t.Context()); err != nil || r.Folder() == before {
		t.Errorf("%v, %s", err, r.Folder())
	}
	p.Kill()
	if err := makeAnother(r.options.Folder); err != nil { // and sweeps
		t.Error(err)
	}
	if _, err := os.Stat(r.Folder()); err != nil {
		t.Error(err)
	}
}

func makeAnother(base string) error {
	f, err := makeFolder(base)
	if err != nil {
		return err
	}
	return f.remove()
}

// TestFilesOfACancelledStart: nobody reads on when the start was given up.
func TestFilesOfACancelledStart(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	s := newSpec(t, Command{Path: "./p", Args: []string{"helper=bare"}})
	s.Files = map[string]string{"p": copySelf(t, filepath.Join(s.Folder, "p"))}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Start(ctx, s); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "files: ") {
		t.Error(err)
	}
}
