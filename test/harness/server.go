package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

// Deadlines of the harness. They are generous: the race detector on a busy
// machine of two cores is slow, and no test asserts on time.
const (
	readyWithin = 60 * time.Second
	stopWithin  = 30 * time.Second
)

// Server is a running hexmpp.
type Server struct {
	Domain  string // the first of its domains
	Domains []string
	C2S     string // address of the listener with STARTTLS
	C2STLS  string // address of the listener with direct TLS
	HTTP    string // address of the listener of HTTP
	HTTPS   string // address of the listener of HTTP over TLS
	File    string // configuration
	Certs   string // folder of the certificates
	Dir     string // folder of everything
	CA      *CA
	Log     *Log // standard output and error, of all runs

	cfg    Config
	binary string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	result error         // of Wait; valid once exited is closed
}

// Start runs a server until the test ends. The test fails if the server
// doesn't come up, doesn't end in good order, or reports a race or a panic.
// The log is shown with a failing test.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Prepare(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		s.ShowLog(t)
	})
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	return s
}

// ShowLog attaches the server's log to a test that failed.
func (s *Server) ShowLog(t testing.TB) {
	if t.Failed() {
		t.Logf("log of the server:\n%s", s.Log)
	}
}

// Launch runs a server for a TestMain, which calls Stop.
func Launch(dir string, cfg Config) (*Server, error) {
	s, err := Prepare(dir, cfg)
	if err != nil {
		return nil, err
	}
	if err := s.Run(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, s.Log)
	}
	return s, nil
}

// Prepare writes configuration and certificates below dir and picks the ports,
// but starts nothing: the command line can be used before the first Run.
func Prepare(dir string, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	var err error
	if cfg.Postgres == "" && !cfg.SQLite && OnPostgres() {
		if cfg.Postgres, err = pgtest.NewDatabase(onPostgres); err != nil {
			return nil, err
		}
	}
	s := &Server{
		Domain: cfg.Domains[0], Domains: cfg.Domains,
		File: filepath.Join(dir, "hexmpp.yaml"), Certs: filepath.Join(dir, "certs"),
		Dir: dir, Log: NewLog(), cfg: cfg,
	}
	if s.binary, err = binary(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Certs, 0o700); err != nil {
		return nil, fmt.Errorf("harness: %w", err)
	}
	if s.CA, err = NewCA(dir); err != nil {
		return nil, err
	}
	if !cfg.SelfSigned {
		for _, domain := range cfg.Domains {
			if _, err := s.CA.Issue(s.Certs, domain); err != nil {
				return nil, err
			}
		}
	}
	addrs, err := FreePorts(4)
	if err != nil {
		return nil, err
	}
	s.C2S, s.C2STLS, s.HTTP, s.HTTPS = addrs[0], addrs[1], addrs[2], addrs[3]
	text := cfg.yaml(filepath.Join(dir, "data"), s.Certs, listeners{c2s: s.C2S, c2sTLS: s.C2STLS, http: s.HTTP, https: s.HTTPS})
	if err := os.WriteFile(s.File, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("harness: %w", err)
	}
	return s, s.prepareProsody()
}

// Run starts the process and returns when it accepts connections. After Stop
// or Kill it may be called again: same ports, same data.
func (s *Server) Run() error {
	if s.cmd != nil {
		return errors.New("harness: the server runs already")
	}
	cmd := s.command()
	cmd.Stdout, cmd.Stderr = s.Log, s.Log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("harness: start: %w", err)
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func() { // ends with the process, which Stop and Kill wait for
		s.result = cmd.Wait()
		close(s.exited)
	}()
	if err := s.awaitReady(); err != nil {
		s.Kill()
		return err
	}
	return nil
}

func (s *Server) command() *exec.Cmd {
	if againstProsody {
		return s.prosodyCommand()
	}
	cmd := exec.Command(s.binary, "serve", "--config", s.File)
	cmd.Dir = s.Dir
	return cmd
}

// awaitReady tries to connect whenever the server has logged something: it
// logs that it is ready after its listeners are open.
func (s *Server) awaitReady() error {
	deadline := time.NewTimer(readyWithin)
	defer deadline.Stop()
	for {
		grown := s.Log.next()
		if s.accepts() {
			return nil
		}
		select {
		case <-grown:
		case <-s.exited:
			return fmt.Errorf("harness: the server ended at its start: %v\n%s", s.result, s.Log)
		case <-deadline.C:
			return fmt.Errorf("harness: the server isn't ready after %v\n%s", readyWithin, s.Log)
		}
	}
}

func (s *Server) accepts() bool {
	for _, addr := range []string{s.C2S, s.C2STLS} {
		conn, err := net.DialTimeout("tcp", addr, readyWithin)
		if err != nil {
			return false
		}
		conn.Close()
	}
	return true
}

// Signal sends a signal to the process.
func (s *Server) Signal(sig os.Signal) error {
	if s.cmd == nil {
		return errors.New("harness: the server doesn't run")
	}
	return s.cmd.Process.Signal(sig)
}

// Stop asks the server to end (SIGTERM) and waits for it. The error says what
// wasn't in order: a status other than 0, no end in time, a race, a panic. A
// server that was stopped before is no error.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("harness: stop: %w", err)
	}
	return s.Wait()
}

// Wait waits for a process that was told to end, or kills it at the deadline.
// Errors are those of Stop.
func (s *Server) Wait() error {
	if s.cmd == nil {
		return nil
	}
	deadline := time.NewTimer(stopWithin)
	defer deadline.Stop()
	select {
	case <-s.exited:
	case <-deadline.C:
		s.Kill()
		return fmt.Errorf("harness: the server didn't end within %v", stopWithin)
	}
	s.cmd = nil
	if s.result != nil {
		return fmt.Errorf("harness: the server's end: %w", s.result)
	}
	return s.complaint()
}

// Kill ends the process as a crash would (SIGKILL) and waits for it.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill() // fails only if the process has ended
	<-s.exited
	s.cmd = nil
}

// complaint finds in the log what must never be there.
func (s *Server) complaint() error {
	for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if strings.Contains(s.Log.String(), bad) {
			return fmt.Errorf("harness: the server's log has %q", bad)
		}
	}
	return nil
}

// FreePorts returns n loopback addresses that nobody listens on right now.
func FreePorts(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("harness: free port: %w", err)
		}
		defer ln.Close() // all are held until all are known, so they differ
		addrs[i] = ln.Addr().String()
	}
	return addrs, nil
}

func binary() (string, error) {
	if againstProsody {
		return "", nil
	}
	return Binary()
}
