package pgtest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTime and stopTime bound how long a server may take; a loaded machine
// isn't what tests are about.
const (
	startTime = time.Minute
	stopTime  = time.Minute
)

// Server is a PostgreSQL server with the user and the database "postgres".
// One goroutine at a time may use it.
type Server struct {
	t    testing.TB
	bin  string // the folder of the binaries
	dir  string // holds all that the server has, and its socket
	cred *syscall.Credential

	process *os.Process   // nil: not running
	ended   chan struct{} // closed when the process has ended
	log     tail
}

// Start makes a cluster and starts its server, which ends with the test. If
// PostgreSQL isn't installed, the test is skipped, or fails if
// HEXMPP_REQUIRE_ALL is 1.
//
// PostgreSQL refuses to run as root; then it runs as the user postgres or
// nobody.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, bin: require(t)}
	if os.Geteuid() == 0 {
		s.cred = unprivileged(t)
	}
	dir, err := os.MkdirTemp("", "hexmpp-pg-") // not t.TempDir: only root could enter that
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	t.Cleanup(func() {
		s.end(syscall.SIGQUIT) // what it has in memory is not needed
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	if s.cred != nil {
		if err := os.Chown(dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.init()
	s.Run()
	return s
}

// unprivileged returns the user that the server runs as instead of root.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: true}
	}
	t.Skip("pgtest: PostgreSQL can't run as root, and there is no user postgres or nobody")
	return nil
}

func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	c.Dir = s.dir
	c.Env = []string{"LC_ALL=C", "TZ=UTC"} // neither settings nor languages of whoever runs the tests
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Pdeathsig: syscall.SIGKILL}
	return c
}

// init makes the cluster. Its locale sorts as people do, so that a query that
// leaves the order to it shows.
func (s *Server) init() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	locked(func() {
		out, err := s.command(ctx, "initdb", "--pgdata", s.data(), "--username="+administrator, "--auth=trust", "--encoding=UTF8",
			"--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync").CombinedOutput()
		if err != nil {
			s.t.Errorf("pgtest: initdb: %v\n%s", err, out)
		}
	})
	if s.t.Failed() {
		s.t.FailNow()
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// locked runs f on a thread of its own: a process that was started with
// Pdeathsig is killed when the thread ends that started it.
func locked(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f()
	}()
	<-done
}

// DSN returns the connection string of a database. A schema may be given as
// well; it is where tables are looked for and made.
func (s *Server) DSN(database, schema string) string {
	dsn := connection(s.dir, database)
	if schema != "" {
		dsn += " search_path=" + schema
	}
	return dsn
}

// Folder holds the server's socket, and everything else that it has.
func (s *Server) Folder() string { return s.dir }

// Socket is the path of the server's socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, ".s.PGSQL."+port) }

// Run starts the server, if it doesn't run, and returns when it accepts
// connections. Start has done so already.
func (s *Server) Run() {
	s.t.Helper()
	if s.process != nil {
		return
	}
	var (
		started = make(chan error, 1)
		ready   = make(chan struct{})
		ended   = make(chan struct{})
	)
	go func() { // its thread lives as long as the server
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		c := s.command(context.Background(), "postgres", "-D", s.data(), "-k", s.dir, "-p", port,
			"-c", "listen_addresses=", "-c", "logging_collector=off", "-c", "log_destination=stderr")
		c.SysProcAttr.Pdeathsig = syscall.SIGQUIT // it takes its children with it
		stderr, err := c.StderrPipe()
		if err == nil {
			err = c.Start()
		}
		s.process = c.Process
		started <- err
		if err != nil {
			return
		}
		s.log.follow(stderr, "database system is ready to accept connections", ready)
		c.Wait() // says how it was ended
	}()
	if err := <-started; err != nil {
		s.t.Fatalf("pgtest: start PostgreSQL: %v", err)
	}
	s.ended = ended
	timeout := time.NewTimer(startTime)
	defer timeout.Stop()
	select {
	case <-ready:
	case <-ended:
		s.process = nil
		s.t.Fatalf("pgtest: PostgreSQL ended at once:\n%s", s.log.String())
	case <-timeout.C:
		s.t.Fatalf("pgtest: PostgreSQL is not ready:\n%s", s.log.String())
	}
}

// Stop stops the server in order, as a restart of the service would: clients
// are thrown out, what they committed is on disk.
func (s *Server) Stop() { s.t.Helper(); s.end(syscall.SIGINT) }

// Crash stops the server as a crash would; the next Run recovers.
func (s *Server) Crash() { s.t.Helper(); s.end(syscall.SIGQUIT) }

// end ends the server and waits until it is gone.
func (s *Server) end(signal os.Signal) {
	s.t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("pgtest: %v", err)
	}
	timeout := time.NewTimer(stopTime)
	defer timeout.Stop()
	select {
	case <-s.ended:
	case <-timeout.C:
		s.t.Errorf("pgtest: PostgreSQL doesn't end, so it is killed:\n%s", s.log.String())
		s.process.Kill()
		<-s.ended
	}
	s.process = nil
}

// Log is the end of the server's log.
func (s *Server) Log() string { return s.log.String() }

// tail keeps the last lines of a log.
type tail struct {
	mu    sync.Mutex
	lines []string
}

const tailLines = 200

// follow reads r to its end, and closes seen at the first line with this text.
func (l *tail) follow(r io.Reader, text string, seen chan<- struct{}) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		l.add(line)
		if seen != nil && strings.Contains(line, text) {
			close(seen)
			seen = nil
		}
	}
	io.Copy(io.Discard, r) // behind a line that was too long
}

func (l *tail) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == tailLines {
		l.lines = slices.Delete(l.lines, 0, 1)
	}
	l.lines = append(l.lines, line)
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
