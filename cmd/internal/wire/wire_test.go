package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/fx"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/hexmpp/hexmpp/adapters/metrics"
	"github.com/hexmpp/hexmpp/adapters/pluginhost"
	"github.com/hexmpp/hexmpp/adapters/spool"
	"github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/adapters/storage/sql"
	"github.com/hexmpp/hexmpp/api/plugin/handshake"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/cmd/internal/datadir"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// TestMain runs no tests where a server has started this binary as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv(handshake.CookieKey) != "" || len(os.Args) == 2 && os.Args[1] == GuardCommand {
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// setup returns options with a configuration of its own folder, free ports and
// a log that can be looked at.
func setup(t *testing.T, yaml string) (Options, *observer.ObservedLogs, *bytes.Buffer) {
	t.Helper()
	c, err := config.Parse(filepath.Join(t.TempDir(), "c.yaml"), []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Plugins["muc"]; p != nil && p.Run != config.RunInside {
		delete(c.Plugins, "muc") // this program can't be its process
	}
	core, logs := observer.New(zap.DebugLevel)
	out := &bytes.Buffer{}
	return Options{Config: c, Version: "v1", Stdout: out, Log: zap.New(core)}, logs, out
}

const loopback = "listen: {c2s: \"127.0.0.1:0\", c2s-tls: \"127.0.0.1:0\"}\n"

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func TestGraphIsComplete(t *testing.T) {
	o, _, _ := setup(t, loopback)
	if err := fx.ValidateApp(modules(t.Context(), o, memory.New(), &spool.Spool{}, &processes{}, metrics.New("test"), &parts{})); err != nil {
		t.Error(err)
	}
}

// TestExtensions: each extension that can be configured is wired under the same
// name, and registers itself under it.
func TestExtensions(t *testing.T) {
	o, _, _ := setup(t, loopback)
	x, err := newExtensions(o, &processes{})
	if err != nil {
		t.Fatal(err)
	}
	names := func(all []extension.Registration) (out []string) {
		for _, r := range all {
			out = append(out, r.Name)
		}
		slices.Sort(out)
		return out
	}
	var known []string
	for _, k := range config.Known {
		known = append(known, k.Name)
	}
	slices.Sort(known)
	if got := names(x.Registrations); !slices.Equal(got, known) {
		t.Errorf("registrations %v, configuration has %v", got, known)
	}

	o, _, _ = setup(t, "extensions: {ping: {enabled: false}, version: {enabled: false}}")
	if x, err = newExtensions(o, &processes{}); err != nil {
		t.Fatal(err)
	}
	if got := names(x.Registrations); !slices.Equal(got, []string{"blocking", "carbons", "contact", "csi", "lastactivity", "mam", "private", "register", "time", "vcard"}) {
		t.Errorf("registrations %v", got)
	}
}

// TestOrderHoldsEveryStage: who sees stanzas has its place in extensions.go.
func TestOrderHoldsEveryStage(t *testing.T) {
	o, _, _ := setup(t, loopback)
	x, err := newExtensions(o, &processes{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range x.Registrations {
		for _, h := range r.Stages {
			if !slices.Contains(x.Order[h.Stage], r.Name) {
				t.Errorf("%s has a handler for stage %v, but no place in order", r.Name, h.Stage)
			}
		}
	}
}

// greet opens a stream and reads until text comes.
func greet(t *testing.T, address, domain, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "<stream:stream to='%s' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", domain); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	var got strings.Builder
	for !strings.Contains(got.String(), text) {
		part, err := r.ReadString('>')
		got.WriteString(part)
		if err != nil {
			t.Fatalf("read %q, then %v; want %s", got.String(), err, text)
		}
	}
	return conn, r
}

// TestServe starts a whole server, talks to it, and stops it under a client.
func TestServe(t *testing.T) {
	o, logs, out := setup(t, loopback+"domains: [a.test]\nregistration: {mode: open}\n")
	s := start(t, o)
	c2s, c2sTLS := s.Addrs()
	if len(c2s) != 1 || len(c2sTLS) != 1 {
		t.Fatalf("addresses %v, %v", c2s, c2sTLS)
	}
	s.Ready()
	ready := logs.FilterMessage("ready").All()
	if len(ready) != 1 || fmt.Sprint(ready[0].ContextMap()["c2s"]) != fmt.Sprint(c2s) || fmt.Sprint(ready[0].ContextMap()["c2s-tls"]) != fmt.Sprint(c2sTLS) {
		t.Errorf("ready: %+v", ready)
	}
	if out.Len() > 0 {
		t.Errorf("with a configuration file, standard output has %q", out)
	}
	if n := logs.FilterMessageSnippet("hexmpp user add admin@a.test --config " + o.Config.File).Len(); n != 1 {
		t.Errorf("%d lines say how to make an account", n)
	}
	_, r := greet(t, c2s[0], "a.test", "</stream:features>")

	_, err := Start(t.Context(), o)
	var held *datadir.Held
	if !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("a second server on the same folder: %v", err)
	}

	if err := s.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	stop(t, s)
	rest, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(rest), "system-shutdown") || !strings.HasSuffix(string(rest), "</stream:stream>") {
		t.Errorf("RFC 6120 4.9.3.20: the client read %q, %v", rest, err)
	}
	if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n > 0 {
		t.Errorf("errors were logged: %v", logs.FilterLevelExact(zap.ErrorLevel).All())
	}
	for _, name := range []string{"lock", "run"} { // nothing stale but the empty lock
		text, err := os.ReadFile(filepath.Join(o.Config.Data, name))
		if err == nil && len(text) > 0 {
			t.Errorf("%s is left with %q", name, text)
		}
	}

	// The same folder again: everything is closed.
	s = start(t, o)
	stop(t, s)
}

// TestFirstAccount: without a file an account is made, once, and its password
// is the one that was printed.
func TestFirstAccount(t *testing.T) {
	o, _, out := setup(t, loopback+"domains: [localhost]\n")
	o.Config.File = "" // as config.Load("") has it
	s := start(t, o)
	var address, password string
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "address" {
			address = f[1]
		} else if len(f) == 2 && f[0] == "password" {
			password = f[1]
		}
	}
	if address != "admin@localhost" || len(password) < 20 {
		t.Errorf("printed %q", out)
	}
	if err := s.parts.Auth.VerifyPassword(t.Context(), jid.MustParse("admin@localhost"), password); err != nil {
		t.Errorf("the printed password: %v", err)
	}
	stop(t, s)
	out.Reset()
	s = start(t, o)
	if out.Len() > 0 {
		t.Errorf("the second start prints %q", out)
	}
	stop(t, s)
}

// TestNothingIsMadeBeforeAFailure: the password of a first account is not printed
// by a start that fails behind it, and lost with it.
func TestNothingIsMadeBeforeAFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o, _, out := setup(t, fmt.Sprintf("listen: {c2s: %q}", l.Addr()))
	o.Config.File = ""
	if _, err = Start(t.Context(), o); err == nil || out.Len() > 0 {
		t.Errorf("error %v, printed %q", err, out)
	}
	o.Config.Listen.C2S = []string{"127.0.0.1:0"}
	s := start(t, o)
	if !strings.Contains(out.String(), "admin@localhost") {
		t.Errorf("printed %q", out)
	}
	stop(t, s)
}

// TestDomainsThatWere: accounts of a domain that was taken out of the
// configuration are told of.
func TestDomainsThatWere(t *testing.T) {
	o, logs, _ := setup(t, loopback+"domains: [a.test, b.test]\n")
	s := start(t, o)
	for _, user := range []string{"romeo@a.test", "juliet@b.test", "nurse@b.test"} {
		if err := s.parts.Admin.AddUser(t.Context(), jid.MustParse(user), "pw"); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, s)
	const warning = "accounts of a domain that is not hosted"
	if n := logs.FilterMessageSnippet(warning).Len(); n > 0 {
		t.Errorf("%d warnings though all are hosted", n)
	}
	o.Config.Domains = []string{"a.test"}
	stop(t, start(t, o))
	if told := logs.FilterMessageSnippet(warning).All(); len(told) != 1 || told[0].ContextMap()["domain"] != "b.test" || told[0].ContextMap()["accounts"] != int64(2) {
		t.Errorf("warnings: %v", told)
	}
	if n := logs.FilterMessage("stopped").Len(); n != 2 {
		t.Errorf("%d lines say that it has stopped", n)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o, _, _ := setup(t, fmt.Sprintf("listen: {c2s: %q, c2s-tls: \"127.0.0.1:0\"}", l.Addr()))
	_, err = Start(t.Context(), o)
	if err == nil || !strings.HasPrefix(err.Error(), "listen.c2s: "+l.Addr().String()+" is in use by another program") {
		t.Fatalf("error %v", err)
	}
	// All that was started has been stopped: the folder can be used.
	o.Config.Listen.C2S = nil
	stop(t, start(t, o))
}

// TestOneServerForADatabase: another data folder does not make another database.
func TestOneServerForADatabase(t *testing.T) {
	o, _, _ := setup(t, loopback)
	s := start(t, o)
	other, _, _ := setup(t, loopback+fmt.Sprintf("storage: {dsn: %q}\n", o.Config.Storage.DSN))
	if _, err := Start(t.Context(), other); !errors.Is(err, sql.ErrInUse) {
		t.Errorf("a second server: %v", err)
	}
	if _, _, err := OpenUsers(t.Context(), other.Config, true, other.Log); !errors.Is(err, sql.ErrInUse) {
		t.Errorf("a command: %v", err)
	}
	stop(t, s)
	stop(t, start(t, other))
}

// TestMissingFamily: an address that the machine does not have is a warning as
// long as another one of the key is there. 192.0.2.0/24 is for documentation.
func TestMissingFamily(t *testing.T) {
	o, logs, _ := setup(t, `listen: {c2s: ["127.0.0.1:0", "192.0.2.1:0"]}`)
	s := start(t, o)
	if c2s, _ := s.Addrs(); len(c2s) != 1 {
		t.Errorf("listens on %v", c2s)
	}
	if n := logs.FilterMessage("an address is not listened on").Len(); n != 1 {
		t.Errorf("%d warnings", n)
	}
	stop(t, s)

	o, _, _ = setup(t, `listen: {c2s: ["127.0.0.1:0"], c2s-tls: ["192.0.2.1:0"]}`)
	if _, err := Start(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), "listen.c2s-tls: this machine does not have the address 192.0.2.1:0") {
		t.Errorf("error %v", err)
	}
}

// TestFailed: the server tells that its storage has stopped by itself.
func TestFailed(t *testing.T) {
	o, _, _ := setup(t, loopback)
	s := start(t, o)
	if s.Failed() == nil {
		t.Error("nobody would learn that the storage has failed")
	}
	select {
	case <-s.Failed():
		t.Error("a storage that works has failed")
	default:
	}
	stop(t, s)
	if failed(memory.New()) != nil {
		t.Error("a storage that can't fail does")
	}
}

func TestWarningsAreLogged(t *testing.T) {
	o, logs, _ := setup(t, "listen: {c2s: \"127.0.0.1:0\", https: \"127.0.0.1:0\", s2s: \"127.0.0.1:0\"}\ns2s: {mode: none}\nadmins: [a@localhost]\nplugins: {announce: {enabled: false}}\n")
	stop(t, start(t, o))
	if n := logs.FilterLevelExact(zap.WarnLevel).FilterMessageSnippet("no effect").Len(); n != 2 {
		t.Errorf("%d warnings: %v", n, logs.FilterLevelExact(zap.WarnLevel).All())
	}
}

// TestProcesses: what is configured to run in a process of its own becomes a plugin of the
// host, with what the file says.
func TestProcesses(t *testing.T) {
	o, _, _ := setup(t, "extensions:\n  ping: {run: process}\n  vcard: {run: process, options: {max-bytes: 2048}}\n  private: {enabled: false, run: process}\n"+
		"plugins:\n  announce: {domains: [news.$domain], permissions: []}\n  x: {command: [./x, a], files: {./x: "+strings.Repeat("0", 64)+"}, options: {n: 1}, limits: {memory: 64MiB, grace-time: 0s, queue: 7}}\n  y: {command: /y, enabled: false}\n")
	folder := filepath.Dir(o.Config.File)
	if err := Check(o.Config); err != nil {
		t.Fatal(err)
	}
	list, err := plugins(o.Config)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	of := map[string]pluginhost.Plugin{}
	for _, p := range list {
		names = append(names, p.Key)
		of[p.Name] = p
		if p.Bundled && !isServed(p.Name) {
			t.Errorf("this program can't be a process of %s", p.Name)
		}
	}
	if want := []string{"extensions.ping", "extensions.vcard", "plugins.announce", "plugins.s2s", "plugins.x"}; !slices.Equal(names, want) {
		t.Fatalf("%v, want %v", names, want)
	}
	if p := of["vcard"]; !p.Bundled || !p.Command.Self || !slices.Equal(p.Command.Args, []string{"plugin", "vcard"}) || string(p.Options) != `{"max-bytes":2048}` || p.Permissions != nil {
		t.Errorf("%+v", p)
	}
	if p := of["announce"]; !p.Bundled || p.Permissions == nil || !slices.Equal(p.Domains, []string{"news.$domain"}) || !strings.Contains(string(p.Options), `"max-bytes":10240`) {
		t.Errorf("%+v", p)
	}
	x := of["x"]
	if x.Bundled || x.Command.Path != filepath.Join(folder, "x") || !slices.Equal(x.Command.Args, []string{"a"}) || len(x.Files) != 1 || string(x.Options) != `{"n":1}` {
		t.Errorf("%+v", x)
	}
	if x.Limits.Memory != 64<<20 || x.Limits.GraceTime >= 0 || x.Limits.Queue != 7 || x.Limits.StartTime != 10*time.Second || x.Folder != folder {
		t.Errorf("%+v", x)
	}
	x2, err := newExtensions(o, &processes{registrations: []extension.Registration{{Name: "x", Stages: []extension.StageHandler{{Stage: extension.Submit}, {Stage: extension.Undelivered}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(x2.Order[extension.Submit], x2.Order[extension.Undelivered]); got != "[blocking x mam carbons] [x]" {
		t.Errorf("order %s", got)
	}
	for _, r := range x2.Registrations {
		if r.Name == "ping" || r.Name == "vcard" {
			t.Errorf("%s runs inside, too", r.Name)
		}
	}
}

// TestConfiguredNow: digests of a plugin's files, and options, are read again from the file of the configuration.
func TestConfiguredNow(t *testing.T) {
	text := func(digit, more string) string {
		return "plugins:\n  x: {command: ./x, options: {n: " + digit + "}, files: {./x: " + strings.Repeat(digit, 64) + "}}\n" + more
	}
	o, _, _ := setup(t, text("0", ""))
	x := filepath.Join(filepath.Dir(o.Config.File), "x")
	write := func(text string) {
		if err := os.WriteFile(o.Config.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text("1", "s2s: {mode: open, deny: far.test}\nextensions: {vcard: {run: process, options: {max-bytes: 2048}}}\n"))
	if now, err := configuredNow(o.Config, "x"); err != nil || now.Files[x] != strings.Repeat("1", 64) || string(now.Options) != `{"n":1}` {
		t.Errorf("%v, %v", now, err)
	}
	for name, want := range map[string]string{"s2s": `"deny":["far.test"]`, "muc": `"create":"local"`, "vcard": `{"max-bytes":2048}`} { // these are of the server's program
		if now, err := configuredNow(o.Config, name); err != nil || len(now.Files) > 0 || !strings.Contains(string(now.Options), want) {
			t.Errorf("%s: %v, %v", name, now, err)
		}
	}
	write(text("1", "nonsense: 1\n"))
	if _, err := configuredNow(o.Config, "x"); err == nil || !strings.Contains(err.Error(), ":3: ") {
		t.Error(err)
	}
	write("plugins: {}\n")
	if _, err := configuredNow(o.Config, "x"); err == nil || !strings.Contains(err.Error(), "no process of x any more") {
		t.Error(err)
	}
}

// TestLocated: what a plugin finds wrong in its configuration has the line of the file.
func TestLocated(t *testing.T) {
	o, _, _ := setup(t, "plugins:\n  x:\n    command: /x\n    options:\n      rooms:\n        max: many\n")
	err := located(o.Config, errors.Join(
		fmt.Errorf("around: %w", &pluginhost.ConfigError{Key: "plugins.x.options.rooms.max", Err: errors.New("no number")}),
		errors.Join(&pluginhost.ConfigError{Key: "plugins.x.permissions", Err: errors.New("missing")})))
	var wrong config.Errors
	if !errors.As(err, &wrong) || len(wrong) != 2 || wrong[0].Line != 2 || wrong[1].Line != 6 || wrong[1].Text != "plugins.x.options.rooms.max: no number" {
		t.Errorf("%+v", err)
	}
	if err := located(o.Config, errors.Join(errors.New("crash"), &pluginhost.ConfigError{Key: "plugins.x", Err: errors.New("b")})); !strings.Contains(err.Error(), "crash") || !strings.Contains(err.Error(), "plugins.x: b") {
		t.Error(err)
	}
}

// TestPluginsInside: each plugin that is part of hexmpp is wired under the name that it
// has in the configuration, and runs where, and as what, that says.
func TestPluginsInside(t *testing.T) {
	for _, b := range config.Bundled {
		if !isServed(b.Name) {
			t.Errorf("%s can't be a process", b.Name)
		}
	}
	for text, want := range map[string]string{
		"":                        "",
		"announce: {run: inside}": "announce.$domain",
		"muc: {run: inside}":      "conference.$domain",
		"announce: {run: inside, enabled: false}":                            "",
		"announce: {run: inside, domains: [news.$domain, news.example.org]}": "news.$domain news.example.org",
	} {
		o, _, _ := setup(t, loopback+"plugins: {"+text+"}\n")
		if err := Check(o.Config); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		x, err := newExtensions(o, &processes{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var got []string
		for _, r := range x.Registrations {
			for _, c := range r.Components {
				got = append(got, c.Domain)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: domains %q, want %q", text, got, want)
		}
	}
	o, _, _ := setup(t, "plugins:\n  announce:\n    run: inside\n    permissions: [list-accounts]\n")
	if err := Check(o.Config); err == nil || !strings.Contains(err.Error(), "c.yaml:4: plugins.announce.permissions: announce needs see-presence") {
		t.Errorf("permissions: %v", err)
	}
}

// TestOffline: accounts without a server are the same accounts.
func TestOffline(t *testing.T) {
	o, _, _ := setup(t, loopback+"domains: [a.test]\n")
	if err := os.MkdirAll(o.Config.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	romeo := jid.MustParse("romeo@a.test")
	ctx := t.Context()
	users, closeUsers, err := OpenUsers(ctx, o.Config, true, o.Log)
	if err != nil {
		t.Fatal(err)
	}
	if err := users.AddUser(ctx, romeo, "pw"); err != nil {
		t.Error(err)
	}
	if err := users.AddUser(ctx, jid.MustParse("x@b.test"), "pw"); err == nil {
		t.Error("an account of a domain that is not hosted was made")
	}
	if _, err := users.ListUsers(ctx, "b.test", "", 10); err == nil {
		t.Error("accounts of a domain that is not hosted were listed")
	}
	if err := closeUsers(); err != nil {
		t.Error(err)
	}
	s := start(t, o)
	defer stop(t, s)
	if err := s.parts.Auth.VerifyPassword(ctx, romeo, "pw"); err != nil {
		t.Error(err)
	}
	if err := s.parts.Admin.RemoveUser(ctx, romeo); err != nil {
		t.Error(err)
	}
}

func TestLog(t *testing.T) {
	for _, c := range []struct {
		format   string
		terminal bool
		json     bool
	}{{"auto", true, false}, {"auto", false, true}, {"console", false, false}, {"json", true, true}} {
		var out syncBuffer
		log, err := NewLog(config.Log{Level: "info", Format: c.format}, &out, c.terminal)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("hidden")
		log.Info("shown", zap.Duration("took", time.Second))
		var line map[string]any
		isJSON := json.Unmarshal(out.Bytes(), &line) == nil
		if isJSON != c.json || !strings.Contains(out.String(), "shown") || strings.Contains(out.String(), "hidden") {
			t.Errorf("%+v: %s", c, out.String())
		}
		if isJSON && (line["msg"] != "shown" || line["level"] != "info" || line["took"] != "1s") {
			t.Errorf("line %v", line)
		}
	}
	if _, err := NewLog(config.Log{Level: "loud"}, io.Discard, false); err == nil {
		t.Error("an unknown level is accepted")
	}
}

// What clients can cause again and again does not fill the log, nor hide the rest.
func TestLogOfTrouble(t *testing.T) {
	var out syncBuffer
	log, err := NewLog(config.Log{Level: "info", Format: "json"}, &out, false)
	if err != nil {
		t.Fatal(err)
	}
	const times = 2 * troubleRest
	for n := range times {
		log.Error("no database", zap.Int("n", n))
		log.Info("login failed")
	}
	log.Error("no disk")
	for text, want := range map[string]int{"no database": troubleLines + 1, "no disk": 1, "login failed": times} {
		// A period of the sampler may end meanwhile, and the next one begins anew.
		if got := strings.Count(out.String(), text); got < want || got > want+2*troubleLines {
			t.Errorf("%q is there %d times, want %d", text, got, want)
		}
	}
}

type syncBuffer struct {
	sync.Mutex
	bytes.Buffer
}

// TestExtensionLimits: what the kernel keeps for a plugin is bounded as the configuration says.
func TestExtensionLimits(t *testing.T) {
	o, _, _ := setup(t, loopback+"plugins: {announce: {run: inside, limits: {kept-memory: 2MiB, groups: 3, members: 5, group-members: 4}}}\n")
	got := kernelOptions(o.Config, "test").Extensions["announce"]
	if want := (core.ExtensionLimits{Memory: 2 << 20, Groups: 3, Members: 5, GroupMembers: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	o, _, _ = setup(t, loopback+"plugins: {announce: {}}\n")
	got = kernelOptions(o.Config, "test").Extensions["announce"]
	if want := (core.ExtensionLimits{Memory: 64 << 20, Groups: 100_000, Members: 500_000, GroupMembers: 20_000}); got != want {
		t.Errorf("got %+v, want the kernel's own: %+v", got, want)
	}
}
