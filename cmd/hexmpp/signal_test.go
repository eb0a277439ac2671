package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// process is a server in a process of its own.
type process struct {
	cmd *exec.Cmd
	log *bufio.Scanner
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HEXMPP_TEST_MAIN=1")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return &process{cmd, bufio.NewScanner(log)}
}

// line reads the log until a line with this message, and returns its fields.
func (p *process) line(t *testing.T, message string) map[string]any {
	t.Helper()
	var seen []string
	for p.log.Scan() {
		var fields map[string]any
		if err := json.Unmarshal(p.log.Bytes(), &fields); err == nil && fields["msg"] == message {
			return fields
		}
		seen = append(seen, p.log.Text())
	}
	t.Fatalf("the log ended without %q:\n%s", message, strings.Join(seen, "\n"))
	return nil
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait reads what is left of the log and returns the exit code.
func (p *process) wait() int {
	for p.log.Scan() {
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func TestSignals(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			p := startProcess(t, "serve", "--config", configure(t, ""))
			p.line(t, "ready")
			p.signal(t, syscall.SIGHUP)
			p.line(t, "certificates were read again")
			p.signal(t, s)
			p.line(t, "stopping")
			if code := p.wait(); code != exitOK {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// stuck is a server whose Stop takes until it is let go.
type stuck chan struct{}

func (s stuck) Stop() error { <-s; return nil }

// TestSecondSignal: while the server is being stopped, SIGHUP does nothing and
// a second signal to stop ends the process at once.
func TestSecondSignal(t *testing.T) {
	server := make(stuck)
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGHUP
	signals <- syscall.SIGINT
	code := -1
	exit := func(c int) { // os.Exit does not return; this one lets Stop do so
		code = c
		close(server)
	}
	if err := stop(server, signals, &env{exit: exit}); err != nil {
		t.Error(err)
	}
	if code != exitFailed || len(signals) != 0 {
		t.Errorf("exit code %d, %d signals are left", code, len(signals))
	}
}

var errTest = errors.New("the disk is gone")

// watchable is a server that may fail and that counts its reloads.
type watchable struct {
	failed  chan struct{}
	reloads int
}

func (w *watchable) Failed() <-chan struct{}      { return w.failed }
func (w *watchable) Cause() error                 { return errTest }
func (w *watchable) Reload(context.Context) error { w.reloads++; return errors.New("no") }

// TestStorageFails: a server whose storage has stopped writing ends, with an
// error; signals and the end of the context are no errors.
func TestStorageFails(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name    string
		ctx     context.Context
		signals []os.Signal
		fails   bool
		want    error
		reloads int
	}{
		{"the storage fails", t.Context(), nil, true, errTest, 0},
		{"a signal", t.Context(), []os.Signal{syscall.SIGHUP, syscall.SIGTERM}, false, nil, 1},
		{"the end of the context", ended, nil, false, nil, 0},
	} {
		core, logs := observer.New(zap.InfoLevel)
		server := &watchable{failed: make(chan struct{})}
		if row.fails {
			close(server.failed)
		}
		signals := make(chan os.Signal, 2)
		for _, s := range row.signals {
			signals <- s
		}
		if err := watch(row.ctx, server, signals, zap.New(core)); err != row.want || server.reloads != row.reloads {
			t.Errorf("%s: %v, %d reloads", row.name, err, server.reloads)
		}
		if n := logs.FilterMessageSnippet("can't go on").Len(); (n == 1) != row.fails {
			t.Errorf("%s: %d lines in the log", row.name, n)
		}
	}
}
