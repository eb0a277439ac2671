package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the program itself when a test has started this binary for it.
func TestMain(m *testing.M) {
	if os.Getenv("HEXMPP_TEST_MAIN") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

// hexmpp runs a command in this process, with text on standard input.
func hexmpp(ctx context.Context, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	code := run(ctx, args, &env{in: strings.NewReader(stdin), out: &out, err: &errs,
		exit: func(code int) { panic(fmt.Sprintf("exit %d", code)) }})
	return result{code, out.String(), errs.String()}
}

// configure writes a configuration with a data folder of its own and free
// ports, and returns its path.
func configure(t *testing.T, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := "domains: [a.test, b.test]\nlisten: {c2s: \"127.0.0.1:0\", c2s-tls: \"127.0.0.1:0\"}\n" + more
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// serving is a server in this process.
type serving struct {
	cancel context.CancelFunc
	done   chan result
}

// serve starts a server and waits until it is ready.
func serve(t *testing.T, args ...string) *serving {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{cancel, make(chan result, 1)}
	var out bytes.Buffer
	log := &watched{text: `"ready"`, seen: make(chan struct{})}
	go func() {
		code := run(ctx, append([]string{"serve"}, args...), &env{in: strings.NewReader(""), out: &out, err: log})
		s.done <- result{code, out.String(), log.String()}
	}()
	select {
	case <-log.seen:
	case r := <-s.done:
		t.Fatalf("serve ended: %+v", r)
	}
	return s
}

func (s *serving) stop(t *testing.T) result {
	t.Helper()
	s.cancel()
	r := <-s.done
	if r.code != exitOK {
		t.Errorf("serve: %+v", r)
	}
	return r
}

// watched is a writer that tells when a text has been written to it.
type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen chan struct{}
	once sync.Once
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if strings.Contains(w.buf.String(), w.text) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func TestCommandLine(t *testing.T) {
	file := configure(t, "")
	bad := configure(t, "lisen: {}\nlog: {level: loud}\n")
	for _, c := range []struct {
		args     string
		code     int
		out, err string // regular expressions
	}{
		{"--help", exitOK, "(?s)serve.*user add.*config check", "^$"},
		{"user add --help", exitOK, "--generate", "^$"},
		{"", exitUsage, "^$", "expected one of"},
		{"sreve", exitUsage, "^$", `did you mean "serve"`},
		{"user add", exitUsage, "^$", "<address>"},
		{"user add x@a.test --password a --generate", exitUsage, "^$", "can't be used together"},
		{"version", exitOK, `^hexmpp \S+ go\S+ \S+/\S+\n$`, "^$"},
		{"config check --config " + file, exitOK, "^" + regexp.QuoteMeta(file) + ": ok\n$", "^$"},
		{"config check " + file, exitOK, "ok\n$", "^$"},
		{"config check " + file + " --config " + bad, exitFailed, "^$", "two files are named"},
		{"config check", exitOK, "defaults: ok\n$", "^$"},
		{"config check --config " + bad, exitUsage, "^$",
			"^" + regexp.QuoteMeta(bad) + `:3: unknown key "lisen", did you mean "listen"\?` + "\n" + regexp.QuoteMeta(bad) + ":4: log.level: .*\n$"},
		{"config check --config /nowhere.yaml", exitFailed, "^$", "/nowhere.yaml: no such file"},
		{"config show --config " + file, exitOK, `domains: \[a.test, b.test\] +# ` + regexp.QuoteMeta(file) + ":1", "^$"},
		{"serve --config " + bad, exitUsage, "^$", "did you mean"},
		{"user list --config " + bad, exitUsage, "^$", "did you mean"},
		{"user show nobody@a.test --config " + file, exitFailed, "^$", "there is no account nobody@a.test; hexmpp user add makes it"},
		{"user passwd nobody@a.test --password x --config " + file, exitFailed, "^$", "there is no account nobody@a.test"},
		{"user remove nobody@a.test --config " + file, exitFailed, "^$", "there is no account nobody@a.test"},
		{"user add x@elsewhere.test --password x --config " + file, exitFailed, "^$", "elsewhere.test is not hosted here"},
		{"user add a.test --password x --config " + file, exitFailed, "^$", "is no account"},
		{"user add x@a.test/r --password x --config " + file, exitFailed, "^$", "is no account"},
		{"user add @a.test --password x --config " + file, exitFailed, "^$", "malformed JID"},
		{"user add x@a.test --password= --config " + file, exitFailed, "^$", "must not be empty"},
		{"user list --domain elsewhere.test --config " + file, exitFailed, "^$", "not a hosted domain"},
		{"status --config " + file, exitFailed, "^$", "no server is running on the data folder .*: start it with hexmpp serve"},
		{"reload --config " + file, exitFailed, "^$", "no server is running"},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := hexmpp(t.Context(), "", strings.Fields(c.args)...)
			if r.code != c.code || !regexp.MustCompile(c.out).MatchString(r.out) || !regexp.MustCompile(c.err).MatchString(r.err) {
				t.Errorf("code %d, output %q, errors %q", r.code, r.out, r.err)
			}
		})
	}
}

// TestUsers runs the same commands with and without a running server.
func TestUsers(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			file := configure(t, "")
			sessions := "sessions: the server is not running"
			if running {
				defer serve(t, "--config", file).stop(t)
				sessions = "sessions: 0"
			}
			do := func(stdin, want string, args ...string) string {
				t.Helper()
				r := hexmpp(t.Context(), stdin, append(append([]string{"user"}, args...), "--config", file)...)
				if r.code != exitOK || r.err != "" || !regexp.MustCompile(want).MatchString(r.out) {
					t.Errorf("%v: %+v", args, r)
				}
				return strings.TrimSpace(r.out)
			}
			do("", "^$", "list")
			do("", "^$", "add", "Romeo@A.test", "--password", "secret")
			do("from a pipe\n", "^$", "add", "juliet@b.test")
			password := do("", `^[A-Z2-7]{26}\n$`, "add", "nurse@a.test", "--generate")
			do("", `^nurse@a.test +created 2\S+  last login never\nromeo@a.test +created \S+  last login never\njuliet@b.test `, "list")
			do("", `^juliet@b.test [^\n]*\n$`, "list", "--domain", "b.test")
			do("", "(?s)^address: romeo@a.test\ncreated: .*\nlast login: never\n"+sessions+"\n$", "show", "romeo@a.test")
			do("", "^$", "passwd", "romeo@a.test", "--password", password)
			if again := do("", `^[A-Z2-7]{26}\n$`, "passwd", "nurse@a.test", "--generate"); again == password {
				t.Error("a generated password comes twice")
			}
			r := hexmpp(t.Context(), "", "user", "add", "romeo@a.test", "--password", "x", "--config", file)
			if r.code != exitFailed || !strings.Contains(r.err, "there is an account romeo@a.test already") {
				t.Errorf("add twice: %+v", r)
			}
			do("", "^$", "remove", "romeo@a.test")
			do("", `^nurse@a.test [^\n]*\njuliet@b.test [^\n]*\n$`, "list")
		})
	}
}

// TestListPages has more accounts than one question returns.
func TestListPages(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes many accounts: run it without -short")
	}
	was := page
	page = 2
	defer func() { page = was }()
	file := configure(t, "")
	for i := range 5 {
		if r := hexmpp(t.Context(), "", "user", "add", fmt.Sprintf("u%d@a.test", i), "--password", "x", "--config", file); r.code != exitOK {
			t.Fatalf("%+v", r)
		}
	}
	r := hexmpp(t.Context(), "", "user", "list", "--config", file)
	if n := strings.Count(r.out, "@a.test"); n != 5 {
		t.Errorf("%d accounts are listed: %+v", n, r)
	}
}

func TestStatusAndReload(t *testing.T) {
	file := configure(t, "")
	s := serve(t, "--config", file)
	if r := hexmpp(t.Context(), "", "status", "--config", file); r.code != exitOK || !strings.Contains(r.out, "domains: a.test, b.test\nsessions: 0\n") {
		t.Errorf("status: %+v", r)
	}
	if r := hexmpp(t.Context(), "", "reload", "--config", file); r.code != exitOK {
		t.Errorf("reload: %+v", r)
	}
	if r := hexmpp(t.Context(), "", "serve", "--config", file); r.code != exitFailed ||
		!strings.Contains(r.err, fmt.Sprintf("in use by process %d (hexmpp serve)", os.Getpid())) {
		t.Errorf("a second server: %+v", r)
	}
	s.stop(t)
}

// TestAnyMoment adds accounts while a server starts and stops again and again:
// each command finds the server or the lock, whatever happens in between.
func TestAnyMoment(t *testing.T) {
	file := configure(t, "")
	const workers, each = 3, 4
	var wg sync.WaitGroup
	done := make(chan struct{})
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				user := fmt.Sprintf("u%d-%d@a.test", w, i)
				if r := hexmpp(context.Background(), "", "user", "add", user, "--password", "x", "--config", file); r.code != exitOK {
					t.Errorf("%s: %+v", user, r)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		serve(t, "--config", file).stop(t)
		select {
		case <-done:
			running = false
		default:
		}
	}
	r := hexmpp(t.Context(), "", "user", "list", "--config", file)
	if n := strings.Count(r.out, "@a.test"); n != workers*each {
		t.Errorf("%d accounts, want %d:\n%s", n, workers*each, r.out)
	}
}

func TestPasswordFromStandardInput(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"pw\n", "pw", ""}, {"pw", "pw", ""}, {"pw\r\nmore\n", "pw", ""}, {" p w \n", " p w ", ""}, {"\n", "", ""},
		{"", "", "EOF"}, {strings.Repeat("x", maxLine+1), "", "longer"},
	} {
		got, err := readLine(strings.NewReader(c.in))
		if got != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%.20q: %q, %v", c.in, got, err)
		}
	}
}
