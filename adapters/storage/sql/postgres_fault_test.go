package sql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

var romeo = jid.MustParse("romeo@example.org")

// testNodes has two stores on one database, as two servers would.
func testNodes(t *testing.T, server *pgtest.Server) {
	two := func(t *testing.T) (a, b *Store) {
		t.Helper()
		dsn := newSchema(t, server)
		a, b = openPostgres(t, dsn), openPostgres(t, dsn)
		if err := a.CreateAccount(t.Context(), storage.Account{User: romeo}); err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	// both runs f n times for each store, all at once.
	both := func(n int, a, b *Store, f func(s *Store) error) (errs []error) {
		var wg sync.WaitGroup
		errs = make([]error, 2*n)
		for i := range errs {
			wg.Go(func() { errs[i] = f([]*Store{a, b}[i%2]) })
		}
		wg.Wait()
		return errs
	}
	t.Run("an account that another node removes in between", func(t *testing.T) {
		a, b := two(t)
		err := a.write(t.Context(), "change", func(t *tx) error {
			id, err := t.accountID(romeo)
			if err != nil {
				return err
			}
			if err := b.RemoveAccount(context.Background(), romeo); err != nil {
				return err
			}
			_, err = t.exec(putRosterItem, id, "juliet@example.org", "", "[]", "none", 0, 0, nil, 0)
			return err
		})
		if !errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	})
	t.Run("revisions are compared and swapped over both", func(t *testing.T) {
		a, b := two(t)
		for _, err := range both(8, a, b, func(s *Store) error {
			for n := 0; n < 5; {
				op := storage.Op{Space: "s", Owner: romeo, Key: "n", If: true}
				e, err := s.Get(context.Background(), "s", romeo, "n")
				if err == nil {
					op.Revision = e.Revision
				}
				op.Value = append(e.Value, 'x')
				err = s.Commit(context.Background(), storage.Writes{Ops: []storage.Op{op}})
				if err == nil {
					n++
				} else if !errors.Is(err, storage.ErrConflict) {
					return err
				}
			}
			return nil
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		if e, err := b.Get(t.Context(), "s", romeo, "n"); err != nil || len(e.Value) != 2*8*5 {
			t.Errorf("got %q, %v", e.Value, err)
		}
	})
	t.Run("an archive keeps its order", func(t *testing.T) {
		a, b := two(t)
		testArchiveNodes(t, a, b)
	})
	t.Run("an archive whose owner another node removes", func(t *testing.T) {
		a, b := two(t)
		testArchiveRemoval(t, a, b)
	})
	t.Run("an archive of an extension's own that both remove", func(t *testing.T) {
		a, b := two(t)
		testOwnArchiveNodes(t, a, b)
	})
	t.Run("the versions of a roster too", func(t *testing.T) {
		a, b := two(t)
		won := 0
		for _, err := range both(8, a, b, func(s *Store) error { return s.ChangeRoster(context.Background(), romeo, 0, nil, nil) }) {
			if err == nil {
				won++
			} else if !errors.Is(err, storage.ErrConflict) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	})
	t.Run("a quota is exact, and IDs grow in the order of commits", func(t *testing.T) {
		a, b := two(t)
		const quota = 20
		stored := 0
		for _, err := range both(32, a, b, func(s *Store) error {
			id, err := s.AddOffline(context.Background(), romeo, storage.OfflineMessage{XML: []byte("x")}, quota)
			if err != nil {
				return err
			}
			behind, err := s.OfflineMessages(context.Background(), romeo, id-1, 1)
			if err == nil && (len(behind) != 1 || behind[0].ID != id) {
				err = fmt.Errorf("message %d is not found: %v", id, behind)
			}
			return err
		}) {
			if err == nil {
				stored++
			} else if !errors.Is(err, storage.ErrQuota) {
				t.Error(err)
			}
		}
		if all, err := a.OfflineMessages(t.Context(), romeo, 0, 100); err != nil || len(all) != quota || stored != quota {
			t.Errorf("%d were stored, %d are there, %v; the quota is %d", stored, len(all), err, quota)
		}
	})
	t.Run("a deadlock is broken, and everybody succeeds", func(t *testing.T) {
		a, b := two(t)
		for _, key := range []string{"x", "y"} {
			mustPut(t, a, key)
		}
		var met sync.WaitGroup // when each node has locked its first entry
		met.Add(2)
		cross := func(s *Store, first, second string) []error {
			var once sync.Once
			return together(t, s,
				putJob(first, 1),
				func(tx *tx) error {
					once.Do(func() { met.Done(); met.Wait() })
					return putJob(second, 1)(tx)
				},
				putJob(first+" too", 1))
		}
		var ofB []error
		done := make(chan struct{})
		go func() { defer close(done); ofB = cross(b, "y", "x") }()
		ofA := cross(a, "x", "y")
		<-done
		for i, err := range append(ofA, ofB...) {
			if err != nil {
				t.Errorf("job %d: %v", i, err)
			}
		}
		if !has(t, a, "x too") || !has(t, a, "y too") {
			t.Error("a job is lost")
		}
	})
	t.Run("a statement that takes too long fails alone", func(t *testing.T) {
		s := openTest(t, Options{Driver: Postgres, DSN: newSchema(t, server), StatementTimeout: 500 * time.Millisecond})
		errs := together(t, s,
			putJob("a", 1),
			func(t *tx) error { _, err := t.exec("SELECT pg_sleep(600)"); return err },
			putJob("b", 1))
		unavailable(t, "the long one", errs[1], "longer than a statement may")
		if errs[0] != nil || errs[2] != nil || !has(t, s, "a") || !has(t, s, "b") {
			t.Errorf("the others: %v, %v", errs[0], errs[2])
		}
	})
}

// testLost ends the server, and starts it again.
func testLost(t *testing.T, server *pgtest.Server) {
	defer server.Run()
	for name, end := range map[string]func(){"a stop": server.Stop, "a crash": server.Crash} {
		t.Run(name, func(t *testing.T) {
			s := openPostgres(t, newSchema(t, server))
			mustPut(t, s, "before")
			end()
			for range 50 { // without waiting in between: calls must not hammer at the server
				unavailable(t, "a write", put(s, "meanwhile", 1), "check that it runs")
				_, err := s.Get(t.Context(), "s", jid.JID{}, "before")
				unavailable(t, "a read", err, "check that it runs")
			}
			server.Run()
			works(t, s)
			if !has(t, s, "before") || has(t, s, "meanwhile") {
				t.Error("what was committed is gone, or what was refused is there")
			}
			select {
			case <-s.Stopped():
				t.Error("the writer stopped for good")
			default:
			}
		})
		t.Run(name+" that nobody notices", func(t *testing.T) {
			s := openPostgres(t, newSchema(t, server))
			mustPut(t, s, "before")
			if !has(t, s, "before") {
				t.Error("the entry is gone")
			}
			end()
			server.Run()
			mustPut(t, s, "after")
			if !has(t, s, "before") || !has(t, s, "after") {
				t.Error("an entry is gone")
			}
		})
	}
	t.Run("a store closes without its server", func(t *testing.T) {
		s := openPostgres(t, newSchema(t, server))
		mustPut(t, s, "before")
		server.Stop()
		defer server.Run()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("what was committed survives a crash of the server and of the client", func(t *testing.T) {
		dsn := newSchema(t, server)
		committed := killAfter(t, childDSN+"="+dsn, 300, server.Crash)
		server.Run()
		allThere(t, openPostgres(t, dsn), committed)
	})
	t.Run("what was committed survives a kill of the client", func(t *testing.T) {
		dsn := newSchema(t, server)
		allThere(t, openPostgres(t, dsn), killAfter(t, childDSN+"="+dsn, 300, nil))
	})
	t.Run("a server that says nothing any more", func(t *testing.T) {
		line := newLine(t, server.Socket())
		dsn := newSchema(t, server)
		s := openTest(t, Options{Driver: Postgres, DSN: dsn + " host=" + line.dir,
			StatementTimeout: time.Second, ConnectTimeout: time.Second})
		mustPut(t, s, "before")
		if !has(t, s, "before") {
			t.Error("the entry is gone")
		}
		line.cut()
		unavailable(t, "a write", put(s, "meanwhile", 1), "timeout")
		_, err := s.Get(t.Context(), "s", jid.JID{}, "before")
		unavailable(t, "a read", err, "")
		unavailable(t, "a write that needs a new connection", put(s, "meanwhile", 1), "")
		line.mend()
		works(t, s)
	})
}

// works waits until the store can be written and read again, which is as soon
// as it tries to connect again.
func works(t *testing.T, s *Store) {
	t.Helper()
	for {
		err := put(s, "after", 1)
		if err == nil && has(t, s, "after") {
			return
		}
		if !errors.Is(err, storage.ErrUnavailable) || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// line is a wire to a server that can be cut: what is sent vanishes, and
// nobody hears of it.
type line struct {
	dir    string // the socket of the server as clients see it
	server string

	mu     sync.Mutex
	listen net.Listener
	ends   []net.Conn
	broken bool
	asks   bool // what came last was from a client
	trips  int  // how often a client has spoken, after a server or at first
	all    sync.WaitGroup
}

func newLine(t *testing.T, server string) *line {
	t.Helper()
	dir, err := os.MkdirTemp("", "hexmpp-line-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	l := &line{dir: dir, server: server}
	if l.listen, err = net.Listen("unix", filepath.Join(dir, filepath.Base(server))); err != nil {
		t.Fatal(err)
	}
	l.all.Go(l.accept)
	t.Cleanup(func() {
		l.listen.Close()
		l.mu.Lock()
		for _, c := range l.ends {
			c.Close()
		}
		l.mu.Unlock()
		l.all.Wait()
		os.RemoveAll(dir)
	})
	return l
}

func (l *line) accept() {
	for {
		client, err := l.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", l.server)
		if err != nil {
			client.Close()
			continue
		}
		l.mu.Lock()
		l.ends = append(l.ends, client, server)
		l.mu.Unlock()
		l.all.Go(func() { l.forward(client, server) })
		l.all.Go(func() { l.forward(server, client) })
	}
}

// forward copies until one end closes; what comes while the line is cut is lost.
func (l *line) forward(from, to net.Conn) {
	io.Copy(writerFunc(func(b []byte) (int, error) {
		l.mu.Lock()
		broken := l.broken
		if asks := to.RemoteAddr().String() == l.server; asks != l.asks {
			l.asks = asks
			if asks {
				l.trips++
			}
		}
		l.mu.Unlock()
		if broken {
			return len(b), nil
		}
		return to.Write(b)
	}), from)
	to.Close()
}

// count returns the round trips that f takes.
func (l *line) count(f func()) int {
	read := func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.trips }
	before := read()
	f()
	return read() - before
}

func (l *line) cut()  { l.mu.Lock(); defer l.mu.Unlock(); l.broken = true }
func (l *line) mend() { l.mu.Lock(); defer l.mu.Unlock(); l.broken = false }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
