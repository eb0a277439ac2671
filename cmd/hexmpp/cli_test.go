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

	"github.com/hexmpp/hexmpp/api/plugin/handshake"
	"github.com/hexmpp/hexmpp/cmd/internal/wire"
)

// TestMain runs the program itself when a test has started this binary for it, or the
// server in a test has started it as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("HEXMPP_TEST_MAIN") != "" || os.Getenv(handshake.CookieKey) != "" || len(os.Args) == 2 && os.Args[1] == wire.GuardCommand {
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
	if r := hexmpp(t.Context(), "", "user", "add", "somebody@a.test", "--generate", "--config", file); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	empty := configure(t, "")
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
		{"config check --config /nowhere.yaml", exitFailed, "^$", "there is no configuration file /nowhere.yaml: .*--config"},
		{"config show --config " + file, exitOK, `domains: \[a.test, b.test\] +# ` + regexp.QuoteMeta(file) + ":1", "^$"},
		{"serve --config " + bad, exitUsage, "^$", "did you mean"},
		{"user list --config " + bad, exitUsage, "^$", "did you mean"},
		{"user show nobody@a.test --config " + file, exitFailed, "^$", "there is no account nobody@a.test; hexmpp user add makes it"},
		{"user passwd nobody@a.test --password x --config " + file, exitFailed, "^$", "there is no account nobody@a.test"},
		{"user remove nobody@a.test --config " + file, exitFailed, "^$", "there is no account nobody@a.test"},
		{"user add x@elsewhere.test --password x --config " + file, exitFailed, "^$", "elsewhere.test is not hosted here"},
		{"user add a.test --password x --config " + file, exitFailed, "^$", "is no account: want an address"},
		{"user list --config " + empty, exitFailed, "^$", "there is no hexmpp data in .*hexmpp-data: is .* the right configuration"},
		{"user show x@a.test --config " + empty, exitFailed, "^$", "there is no hexmpp data"},
		{"user passwd x@a.test --password x --config " + empty, exitFailed, "^$", "there is no hexmpp data"},
		{"user remove x@a.test --config " + empty, exitFailed, "^$", "there is no hexmpp data"},
		{"user add x@a.test/r --password x --config " + file, exitFailed, "^$", "is no account"},
		{"user add @a.test --password x --config " + file, exitFailed, "^$", "is no account: before the @"},
		{"user add a&b@a.test --password x --config " + file, exitFailed, "^$", "none of \" &"},
		{"user add x@a.test --password= --config " + file, exitFailed, "^$", "^hexmpp: this password can't be used: it must not be empty"},
		{"user list --domain elsewhere.test --config " + file, exitFailed, "^$", "not a hosted domain"},
		{"status --config " + file, exitFailed, "^$", "no server is running on the data folder .*: start it with hexmpp serve"},
		{"reload --config " + file, exitFailed, "^$", "no server is running"},
		{"plugin", exitUsage, "^$", "expected one of"},
		{"plugin list --config " + file, exitFailed, "^$", "no server is running"},
		{"plugin reload x --config " + file, exitFailed, "^$", "no server is running"},
		{"plugin logs x -n 3 --config " + file, exitFailed, "^$", "no server is running"},
		{"plugin describe nobody", exitFailed, "^$", "neither the name of a plugin that is part of hexmpp nor the path of a program: write ./nobody"},
		{"plugin describe /nonexistent/x", exitFailed, "^$", "nonexistent"},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := hexmpp(t.Context(), "", strings.Fields(c.args)...)
			if _, err := os.Stat(filepath.Join(filepath.Dir(empty), "hexmpp-data")); err == nil {
				t.Error("a data folder was made")
			}
			if r.code != c.code || !regexp.MustCompile(c.out).MatchString(r.out) || !regexp.MustCompile(c.err).MatchString(r.err) {
				t.Errorf("code %d, output %q, errors %q", r.code, r.out, r.err)
			}
		})
	}
}

// TestCheckIsWhatServeDoes: what only the parts can tell is found by check, with
// its line, in the same words as at a start, and nothing is made by either.
func TestCheckIsWhatServeDoes(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"no folder of certificates": {"tls: {certificates: ./none}", []string{":3: tls.certificates: there is no folder .*/none: make it, or leave the key out"}},
		"contacts that are no URIs": {"extensions: {contact: {options: {abuse: [mallory]}}}", []string{":3: extensions.contact.options: .*mallory"}},
		"a DSN without sslmode":     {"storage: {driver: postgres, dsn: \"host=127.0.0.1 dbname=x\"}", []string{":3: storage.dsn: .*sslmode must be named"}},
		"a DSN that can't be read":  {"storage: {driver: postgres, dsn: \"postgres://a:secret@[/\"}", []string{":3: storage.dsn: it can't be read"}},
		"no folder of the database": {"storage: {dsn: /nonexistent/x.db}", []string{":3: storage.dsn: there is no folder /nonexistent"}},
		"all of it at once": {"tls: {certificates: ./none}\nstorage: {dsn: /nonexistent/x.db}",
			[]string{":3: tls.certificates: ", ":4: storage.dsn: "}},
	} {
		t.Run(name, func(t *testing.T) {
			file := configure(t, c.text+"\n")
			var said [2]string
			for i, args := range [][]string{{"config", "check", file}, {"serve", "--config", file}} {
				r := hexmpp(t.Context(), "", args...)
				said[i] = r.err
				for _, want := range c.want {
					if r.code != exitUsage || strings.Contains(r.err, "secret") || !regexp.MustCompile("(?m)^"+regexp.QuoteMeta(file)+want).MatchString(r.err) {
						t.Errorf("%v: %+v, want %s", args, r, want)
					}
				}
			}
			if said[0] != said[1] {
				t.Errorf("check says %s\nserve says %s", said[0], said[1])
			}
			if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
				t.Errorf("%v, %v", left, err)
			}
		})
	}
	t.Run("a pair that is none", func(t *testing.T) {
		file := configure(t, "tls: {certificates: .}\n")
		for _, f := range []string{"a.test.crt", "a.test.key"} {
			if err := os.WriteFile(filepath.Join(filepath.Dir(file), f), []byte("no PEM"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if r := hexmpp(t.Context(), "", "config", "check", file); r.code != exitUsage || !strings.Contains(r.err, "a.test.crt") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("each wrong domain has its line", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte("domains:\n  - a b\n  - \"[::1]\"\n  - right.test\n  - romeo@a.test\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := hexmpp(t.Context(), "", "config", "check", file)
		for _, want := range []string{`:2: domains: "a b" is no domain`, `:3: domains: "[::1]" is no name that DNS can have`, `:5: domains: "romeo@a.test" is an address, not a domain`} {
			if r.code != exitUsage || !strings.Contains(r.err, file+want) {
				t.Errorf("%+v, want %s", r, want)
			}
		}
	})
}

// TestUsers runs the same commands with and without a running server.
func TestUsers(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			file := configure(t, "")
			sessions, where := "sessions: the server is not running", "in "+filepath.Join(filepath.Dir(file), "hexmpp-data", "hexmpp.db")
			if running {
				defer serve(t, "--config", file).stop(t)
				sessions, where = "sessions: 0", "by the running server, whose data is in "+filepath.Join(filepath.Dir(file), "hexmpp-data")
			}
			do := func(stdin, want string, args ...string) string {
				t.Helper()
				r := hexmpp(t.Context(), stdin, append(append([]string{"user"}, args...), "--config", file)...)
				said := ""
				switch args[0] {
				case "add":
					said = "the account " + strings.ToLower(args[1]) + " was made " + where + "\n"
				case "passwd":
					said = "the password of " + args[1] + " was changed " + where
					if running {
						said += "; clients that are logged in stay so"
					}
					said += "\n"
				case "remove":
					said = "the account " + args[1] + " was removed with all its data " + where + "\n"
				}
				if r.code != exitOK || r.err != said || !regexp.MustCompile(want).MatchString(r.out) {
					t.Errorf("%v: %+v", args, r)
				}
				return strings.TrimSpace(r.out)
			}
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
	done, added := make(chan struct{}), make(chan struct{}, workers*each)
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				user := fmt.Sprintf("u%d-%d@a.test", w, i)
				if r := hexmpp(context.Background(), "", "user", "add", user, "--password", "x", "--config", file); r.code != exitOK {
					t.Errorf("%s: %+v", user, r)
				}
				added <- struct{}{}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for n, running := 0, true; running; n++ {
		s := serve(t, "--config", file)
		if n%3 == 2 { // or a command that is slow would miss one server after the other, for as long as it waits
			for len(added) > 0 {
				<-added
			}
			select {
			case <-added:
			case <-done:
			}
		}
		s.stop(t)
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
		{"", "", "--generate"}, {strings.Repeat("x", maxLine+1), "", "longer"},
	} {
		got, err := readLine(strings.NewReader(c.in))
		if got != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%.20q: %q, %v", c.in, got, err)
		}
	}
}
