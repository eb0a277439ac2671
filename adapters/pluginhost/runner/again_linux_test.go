package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// TestAgain: what ran is run again, whatever has its path by then.
func TestAgain(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	for _, pinned := range []bool{false, true} {
		t.Run(fmt.Sprintf("pinned=%v", pinned), func(t *testing.T) {
			s := newSpec(t, Command{Path: "./p", Args: []string{"helper=bare"}})
			program := filepath.Join(s.Folder, "p")
			digest := copySelf(t, program)
			if pinned {
				s.Files = map[string]string{"p": digest}
			}
			p := start(t, r, s)
			again, exact := p.Again()
			if !exact || again.Program == nil {
				t.Fatalf("%+v, %v", again, exact)
			}
			defer again.Program.Close()
			p.Kill()
			other := filepath.Join(s.Folder, "other")
			if err := os.WriteFile(other, []byte("#!/bin/sh\nexit 9\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(other, program); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Start(t.Context(), s); err == nil {
				t.Error("the other one is started")
			}
			s.Command = again
			for range 2 {
				p := start(t, r, s)
				if err := p.Health(t.Context()); err != nil {
					t.Error(err)
				}
				args, err := os.ReadFile(procPath(p.PID(), "cmdline"))
				if err != nil || !strings.HasPrefix(string(args), "./p\x00helper=bare\x00") {
					t.Errorf("its arguments are %q, %v", args, err)
				}
				if same, exact := p.Again(); !exact || same.Program != again.Program {
					t.Errorf("%+v, %v", same, exact)
				}
				p.Kill()
			}
			if pinned { // the digest counts as ever
				s.Files = map[string]string{"p": strings.Repeat("0", 64)}
				if _, err := r.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), program+" has SHA-256 "+digest) {
					t.Error(err)
				}
			}
		})
	}
}

// TestNotAgain: what can't be run again as it was says so.
func TestNotAgain(t *testing.T) {
	r := newRunner(t, Options{}, zap.NewNop())
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := newSpec(t, Command{Path: "./p", Args: []string{"helper=bare", "code"}})
	program, code := filepath.Join(s.Folder, "p"), filepath.Join(s.Folder, "code")
	copySelf(t, program)
	write(code, "1")
	p := start(t, r, s)
	again, _ := p.Again()
	defer again.Program.Close()
	p.Kill()
	s.Command = again
	write(code, "other")
	if _, err := r.Start(t.Context(), s); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), code) {
		t.Error(err)
	}

	s = newSpec(t, Command{Path: "./p", Args: []string{"helper=bare"}})
	program = filepath.Join(s.Folder, "p")
	copySelf(t, program)
	p = start(t, r, s)
	again, _ = p.Again()
	defer again.Program.Close()
	p.Kill()
	s.Command = again
	f, err := os.OpenFile(program, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("x"); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), s); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "mv or install") {
		t.Error(err)
	}

	// A script, though it becomes a program.
	write(filepath.Join(s.Folder, "s"), "#!/bin/sh\nexec ./p \"$@\"\n")
	s.Command = Command{Path: "./s", Args: []string{"helper=bare"}}
	p = start(t, r, s)
	if again, exact := p.Again(); exact || again.Program != nil || again.Path != "./s" {
		t.Errorf("%+v, %v", again, exact)
	}
	p.Kill()

	s.Command = helper("bare")
	if again, exact := start(t, r, s).Again(); !exact || again.Program != nil {
		t.Errorf("%+v, %v", again, exact)
	}
}
