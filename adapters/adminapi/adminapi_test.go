package adminapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// port is a small admin port whose answers can be told apart.
type port struct {
	mu       sync.Mutex
	accounts map[jid.JID]string // with passwords
	reloads  int
	entered  chan struct{} // if set, Reload sends to it and waits for the end of its context
}

var (
	born    = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	started = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
)

func (p *port) set(user jid.JID, password string, must bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, there := p.accounts[user]
	switch {
	case user.Domain() != "a.test":
		return fmt.Errorf("%s is not hosted", user.Domain())
	case password == "":
		return fmt.Errorf("store %s: %w", user, auth.ErrPassword)
	case there && !must:
		return fmt.Errorf("store %s: %w", user, auth.ErrExists)
	case !there && must:
		return fmt.Errorf("store %s: %w", user, auth.ErrNotFound)
	}
	p.accounts[user] = password
	return nil
}

func (p *port) AddUser(_ context.Context, user jid.JID, password string) error {
	return p.set(user, password, false)
}

func (p *port) SetPassword(_ context.Context, user jid.JID, password string) error {
	return p.set(user, password, true)
}

func (p *port) RemoveUser(_ context.Context, user jid.JID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.accounts[user]; !ok {
		return auth.ErrNotFound
	}
	delete(p.accounts, user)
	return nil
}

func (p *port) account(user jid.JID) auth.Account {
	a := auth.Account{User: user, Created: born}
	if p.accounts[user] == "seen" {
		a.LastLogin, a.Disabled = born.Add(time.Hour), true
	}
	return a
}

func (p *port) User(_ context.Context, user jid.JID) (auth.Account, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.accounts[user]; !ok {
		return auth.Account{}, auth.ErrNotFound
	}
	return p.account(user), nil
}

func (p *port) ListUsers(_ context.Context, domain, after string, limit int) ([]auth.Account, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []auth.Account{}
	for user := range p.accounts {
		if user.Domain() == domain && user.Local() > after {
			out = append(out, p.account(user))
		}
	}
	slices.SortFunc(out, func(a, b auth.Account) int { return strings.Compare(a.User.Local(), b.User.Local()) })
	return out[:min(limit, len(out))], nil
}

func (p *port) Status(context.Context) (admin.Status, error) {
	return admin.Status{Version: "v1", Started: started, Domains: []string{"a.test"}, Sessions: 3, Streams: 4, Goroutines: 5, HeapBytes: 1 << 60}, nil
}

func (p *port) Sessions(_ context.Context, user jid.JID) ([]admin.Session, error) {
	full, err := user.WithResource("ä/b c")
	return []admin.Session{{JID: full, Available: true, Priority: -128}}, err
}

func (p *port) Reload(ctx context.Context) error {
	if p.entered != nil {
		p.entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reloads++; p.reloads > 1 {
		return errors.New("certificates: a.pem: no such file")
	}
	return nil
}

// serve starts a Server for p and returns a Client.
func serve(t *testing.T, p *port) (*Client, *Server) {
	t.Helper()
	socket, err := SocketPath(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Socket: socket}, Deps{Users: p, Server: p})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil { // for some tests the second Stop
			t.Error(err)
		}
		os.Remove(filepath.Dir(socket))
	})
	return NewClient(socket), s
}

// TestPort runs the same calls against the port itself and through the socket.
func TestPort(t *testing.T) {
	direct := &port{accounts: map[jid.JID]string{}}
	t.Run("direct", func(t *testing.T) { suite(t, direct, direct) })
	remote := &port{accounts: map[jid.JID]string{}}
	client, _ := serve(t, remote)
	t.Run("socket", func(t *testing.T) { suite(t, client, client) })
	if !reflect.DeepEqual(direct.accounts, remote.accounts) {
		t.Errorf("accounts\n%v directly\n%v through the socket", direct.accounts, remote.accounts)
	}
}

func suite(t *testing.T, users admin.Users, server admin.Server) {
	ctx := t.Context()
	romeo, strange := jid.MustParse("romeo@a.test"), jid.MustParse("d%2f=+;#ü@a.test")
	absent, elsewhere := jid.MustParse("nobody@a.test"), jid.MustParse("x@b.test")
	for _, c := range []struct {
		name string
		do   func() error
		want error
		text string
	}{
		{"add", func() error { return users.AddUser(ctx, romeo, "seen") }, nil, ""},
		{"add with every kind of character", func() error { return users.AddUser(ctx, strange, " \"\\ü\u2028\U0001F600") }, nil, ""},
		{"add twice", func() error { return users.AddUser(ctx, romeo, "x") }, auth.ErrExists, "store romeo@a.test: auth: account exists"},
		{"add without password", func() error { return users.AddUser(ctx, absent, "") }, auth.ErrPassword, "store nobody@a.test: auth: unusable password"},
		{"add elsewhere", func() error { return users.AddUser(ctx, elsewhere, "x") }, nil, "b.test is not hosted"},
		{"change", func() error { return users.SetPassword(ctx, strange, "y") }, nil, ""},
		{"change of nobody", func() error { return users.SetPassword(ctx, absent, "y") }, auth.ErrNotFound, "store nobody@a.test: auth: no such account"},
		{"remove nobody", func() error { return users.RemoveUser(ctx, absent) }, auth.ErrNotFound, "auth: no such account"},
		{"get nobody", func() error { _, err := users.User(ctx, absent); return err }, auth.ErrNotFound, "auth: no such account"},
		{"reload", func() error { return server.Reload(ctx) }, nil, ""},
		{"reload fails", func() error { return server.Reload(ctx) }, nil, "certificates: a.pem: no such file"},
	} {
		err := c.do()
		if (err != nil) != (c.text != "") || err != nil && err.Error() != c.text {
			t.Errorf("%s: error %v, want %q", c.name, err, c.text)
		}
		for _, known := range []error{auth.ErrExists, auth.ErrNotFound, auth.ErrPassword, auth.ErrDenied, jid.ErrMalformed} {
			if got, want := errors.Is(err, known), known == c.want; got != want {
				t.Errorf("%s: error %v is %v: %v", c.name, err, known, got)
			}
		}
	}

	account, err := users.User(ctx, romeo)
	want := auth.Account{User: romeo, Created: born, LastLogin: born.Add(time.Hour), Disabled: true}
	if err != nil || account != want {
		t.Errorf("User: %+v, %v, want %+v", account, err, want)
	}
	account, err = users.User(ctx, strange)
	if err != nil || account != (auth.Account{User: strange, Created: born}) {
		t.Errorf("User: %+v, %v", account, err)
	}
	for _, c := range []struct {
		domain, after string
		limit         int
		want          []jid.JID
	}{
		{"a.test", "", 10, []jid.JID{strange, romeo}},
		{"a.test", "", 1, []jid.JID{strange}},
		{"a.test", strange.Local(), 10, []jid.JID{romeo}},
		{"b.test", "", 10, []jid.JID{}},
	} {
		page, err := users.ListUsers(ctx, c.domain, c.after, c.limit)
		got := []jid.JID{}
		for _, a := range page {
			got = append(got, a.User)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("ListUsers %+v: %v, %v", c, got, err)
		}
	}
	status, err := server.Status(ctx)
	if want := (admin.Status{Version: "v1", Started: started, Domains: []string{"a.test"}, Sessions: 3, Streams: 4, Goroutines: 5, HeapBytes: 1 << 60}); err != nil || !reflect.DeepEqual(status, want) {
		t.Errorf("Status: %+v, %v", status, err)
	}
	sessions, err := server.Sessions(ctx, strange)
	full, _ := strange.WithResource("ä/b c")
	if err != nil || len(sessions) != 1 || sessions[0] != (admin.Session{JID: full, Available: true, Priority: -128}) {
		t.Errorf("Sessions: %+v, %v", sessions, err)
	}
	if err := users.RemoveUser(ctx, romeo); err != nil {
		t.Error(err)
	}
}

func TestPasswordThatIsNoText(t *testing.T) {
	p := &port{accounts: map[jid.JID]string{}}
	c, _ := serve(t, p)
	if err := c.AddUser(t.Context(), jid.MustParse("x@a.test"), "a\xff"); !errors.Is(err, auth.ErrPassword) {
		t.Errorf("error %v", err)
	}
	if len(p.accounts) > 0 {
		t.Error("an account with another password was made")
	}
}

// TestBadRequests sends what no Client sends.
func TestBadRequests(t *testing.T) {
	p := &port{accounts: map[jid.JID]string{}}
	c, _ := serve(t, p)
	for _, bad := range []struct {
		name, method, target, body string
		status                     int
		contains                   string
	}{
		{"unknown path", "GET", "/v1/nothing", "", 404, "not found"},
		{"wrong method", "PATCH", "/v1/user", "", 405, ""},
		{"no user", "GET", "/v1/user", "", 400, "malformed"},
		{"malformed user", "DELETE", "/v1/user?user=@a.test", "", 400, "malformed"},
		{"no JSON", "POST", "/v1/user?user=x@a.test", "hunter2", 400, "not JSON"},
		{"wrong type", "POST", "/v1/user?user=x@a.test", `{"password": 7}`, 400, "not JSON"},
		{"large body", "POST", "/v1/user?user=x@a.test", `{"password": "` + strings.Repeat("x", maxBody) + `"}`, 400, "too large"},
		{"large header", "GET", "/v1/user?user=" + strings.Repeat("x", maxHeader+8192), "", 431, ""},
		{"no limit", "GET", "/v1/users?domain=a.test", "", 400, "limit"},
		{"negative limit", "GET", "/v1/users?domain=a.test&limit=-1", "", 400, "limit"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), bad.method, "http://x"+bad.target, strings.NewReader(bad.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != bad.status || !strings.Contains(string(body), bad.contains) {
				t.Errorf("%s: %s", resp.Status, body)
			}
			if strings.Contains(string(body), "hunter2") {
				t.Error("the answer quotes the body, which may be a password")
			}
		})
	}
	if len(p.accounts) > 0 {
		t.Errorf("accounts %v", p.accounts)
	}
}

func TestTooManyRequests(t *testing.T) {
	p := &port{accounts: map[jid.JID]string{}}
	_, s := serve(t, p)
	for range maxRunning {
		s.running <- struct{}{}
	}
	rec := httptest.NewRecorder()
	s.handler().ServeHTTP(rec, httptest.NewRequest("GET", pathStatus, nil))
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", rec.Code)
	}
	for range maxRunning {
		<-s.running
	}
	rec = httptest.NewRecorder()
	s.handler().ServeHTTP(rec, httptest.NewRequest("GET", pathStatus, nil))
	if rec.Code != http.StatusOK {
		t.Errorf("status %d", rec.Code)
	}
}

// TestStopCutsOff: a request that does not end in time is cut off.
func TestStopCutsOff(t *testing.T) {
	p := &port{accounts: map[jid.JID]string{}, entered: make(chan struct{})}
	c, s := serve(t, p)
	answered := make(chan error, 1)
	go func() { answered <- c.Reload(context.Background()) }()
	<-p.entered
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Stop(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop with a context that has ended: %v", err)
	}
	if err := <-answered; err == nil {
		t.Error("the request that was cut off has an answer")
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Stop: %v", err)
	}
}

// TestStopAnswers: whoever asks while the server stops gets an answer, or is
// told that no server is running; nothing is done without an answer.
func TestStopAnswers(t *testing.T) {
	for range 5 {
		p := &port{accounts: map[jid.JID]string{}}
		c, s := serve(t, p)
		var wg sync.WaitGroup
		var mu sync.Mutex
		added := 0
		first := make(chan struct{}, 8)
		for g := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					err := c.AddUser(context.Background(), jid.MustParse(fmt.Sprintf("u%d-%d@a.test", g, i)), "x")
					if i == 0 {
						first <- struct{}{}
					}
					if errors.Is(err, ErrNotRunning) {
						return
					}
					if err != nil {
						t.Errorf("neither an answer nor ErrNotRunning: %v", err)
						return
					}
					mu.Lock()
					added++
					mu.Unlock()
				}
			})
		}
		<-first
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if added != len(p.accounts) {
			t.Errorf("%d accounts were made, %d answers told so", len(p.accounts), added)
		}
	}
}

func TestNotRunning(t *testing.T) {
	folder := t.TempDir()
	socket := filepath.Join(folder, "run", "admin.sock")
	c := NewClient(socket)
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no folder: %v", err)
	}
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	// A socket that a killed server left behind.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket that is left over: %v", err)
	}
	p := &port{accounts: map[jid.JID]string{}}
	s, err := New(Options{Socket: socket}, Deps{Users: p, Server: p})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatalf("start over a socket that is left over: %v", err)
	}
	defer s.Stop(context.Background())
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFolders: the socket is for its owner, and a folder that others can write
// to is used by neither end.
func TestFolders(t *testing.T) {
	p := &port{accounts: map[jid.JID]string{}}
	c, s := serve(t, p)
	for path, want := range map[string]os.FileMode{c.socket: 0o600, filepath.Dir(c.socket): 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	if err := os.Chmod(filepath.Dir(c.socket), 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("client: %v", err)
	}
	again, err := New(s.options, s.deps)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Start(); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("server: %v", err)
	}
	if err := again.Stop(t.Context()); err != nil {
		t.Errorf("Stop after a failed Start: %v", err)
	}
}

func TestSocketPath(t *testing.T) {
	short, err := SocketPath("/srv/hexmpp")
	if err != nil || short != "/srv/hexmpp/run/admin.sock" {
		t.Errorf("%q, %v", short, err)
	}
	long := "/" + strings.Repeat("long/", 30)
	a, err := SocketPath(long)
	if err != nil {
		t.Fatal(err)
	}
	b, err := SocketPath(long + "x")
	if err != nil {
		t.Fatal(err)
	}
	if len(a) > maxSocketPath || a == b || filepath.Dir(filepath.Dir(a)) != filepath.Clean(os.TempDir()) {
		t.Errorf("paths of long folders: %q, %q", a, b)
	}
	if _, err := New(Options{Socket: long + "admin.sock"}, Deps{Users: &port{}, Server: &port{}}); err == nil {
		t.Error("a path that no socket can have is accepted")
	}
}
