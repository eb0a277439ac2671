package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/hexmpp/hexmpp/cmd/internal/wire"
	"github.com/hexmpp/hexmpp/ports/admin"
)

// TestNamesOfPlugins: `hexmpp plugin NAME` is a command, or a process of a plugin that is
// part of hexmpp, and never both.
func TestNamesOfPlugins(t *testing.T) {
	parser, err := newParser(t.Context(), &env{out: &bytes.Buffer{}, err: &bytes.Buffer{}})
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]bool{}
	for _, n := range parser.Model.Children {
		if n.Name == "plugin" {
			for _, c := range n.Children {
				commands[c.Name] = c.Type == kong.CommandNode
			}
		}
	}
	if len(commands) < 7 || len(wire.Served()) == 0 {
		t.Errorf("commands %v, plugins %v", commands, wire.Served())
	}
	for _, name := range wire.Served() {
		if commands[name] {
			t.Errorf("%s is a plugin and a command", name)
		}
	}
}

// listed is a plugin in the output of `hexmpp plugin list --json`.
func listed(t *testing.T, file, name string) pluginJSON {
	t.Helper()
	r := hexmpp(t.Context(), "", "plugin", "list", "--json", "--config", file)
	var list []pluginJSON
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || r.code != exitOK {
		t.Fatalf("%v: %+v", err, r)
	}
	for _, p := range list {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no %s in %s", name, r.out)
	return pluginJSON{}
}

// TestPlugins is a server with two plugins that are part of hexmpp, each a process of this
// binary.
func TestPlugins(t *testing.T) {
	file := configure(t, "plugins: {announce: {}}\nextensions: {vcard: {run: process}}\n")
	s := serve(t, "--config", file)
	stopped := false
	defer func() {
		if !stopped {
			s.stop(t)
		}
	}()
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"list", exitOK, `(?s)NAME +STATE.*announce +ready.*muc +ready.*vcard +ready`, "^$"},
		{"info announce", exitOK, `(?s)domains: +announce.a.test, announce.b.test\npermissions: +list-accounts, see-presence`, "^$"},
		{"info vcard --json", exitOK, `(?s)"command": \[\s+"hexmpp",\s+"plugin",\s+"vcard"`, "^$"},
		{"info nobody", exitFailed, "^$", `no plugin "nobody" runs in a process of its own; there are: announce, muc, vcard`},
		{"reload vcard", exitOK, `vcard is ready: generation 2, process \d+`, "^$"},
		{"disable vcard", exitOK, "vcard is disabled", "^$"},
		{"reload vcard", exitFailed, "^$", "it is disabled; hexmpp plugin enable starts it"},
		{"list", exitOK, `vcard: an administrator stopped it`, "^$"},
		{"enable vcard", exitOK, `vcard is ready: generation 3`, "^$"},
		{"logs announce", exitOK, ``, "^$"},
	} {
		r := hexmpp(t.Context(), "", append(strings.Fields("plugin "+c.args), "--config", file)...)
		if r.code != c.code || !regexp.MustCompile(c.out).MatchString(r.out) || !regexp.MustCompile(c.err).MatchString(r.err) {
			t.Errorf("%s: code %d, output %q, errors %q", c.args, r.code, r.out, r.err)
		}
	}
	before := listed(t, file, "announce")
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); ; {
		if p := listed(t, file, "announce"); p.State == "ready" && p.PID > 0 && p.PID != before.PID {
			if p.Restarts != 1 || p.Generation != 2 {
				t.Errorf("%+v", p)
			}
			break
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it was not started again")
		}
	}
	pid := listed(t, file, "announce").PID
	stopped = true
	s.stop(t)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		t.Error("the process has outlived the server")
	}
}

// TestPluginsThatCanNotStart: the server says why, with the line of the configuration.
func TestPluginsThatCanNotStart(t *testing.T) {
	for text, want := range map[string]string{
		"plugins: {announce: {permissions: [list-accounts]}}":                                 `c.yaml:3: plugins.announce.permissions: .*asks for see-presence.*permissions: \[list-accounts, see-presence\]`,
		"plugins: {announce: {domains: [vcard.a.test, x.a.test, vcard.a.test]}}":              `vcard.a.test is there twice`,
		"plugins:\n  announce: {domains: [x.a.test]}\n  other: {command: /nonexistent/other}": "",
	} {
		t.Run(text, func(t *testing.T) {
			file := configure(t, text+"\n")
			if want == "" {
				// A plugin from elsewhere that can't be started stops no server.
				s := serve(t, "--config", file)
				if p := listed(t, file, "other"); p.State != "failed" || !strings.Contains(p.Detail, "nonexistent") {
					t.Errorf("%+v", p)
				}
				s.stop(t)
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if r := hexmpp(ctx, "", "serve", "--config", file); r.code == exitOK || !regexp.MustCompile(want).MatchString(r.err) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	r := hexmpp(t.Context(), "", "plugin", "describe", "announce")
	var m struct{ Name, OptionsSchema string }
	if err := json.Unmarshal([]byte(r.out), &m); err != nil || r.code != exitOK || m.Name != "announce" || m.OptionsSchema == "" {
		t.Errorf("%v: %+v", err, r)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if r := hexmpp(t.Context(), "", "plugin", "describe", exe, "plugin", "vcard"); r.code != exitOK || !strings.Contains(r.out, `"vcard-temp"`) {
		t.Errorf("%+v", r)
	}
}

// TestKilledServer: no process of a plugin outlives a server that is killed.
func TestKilledServer(t *testing.T) {
	file := configure(t, "plugins: {announce: {}}\nextensions: {ping: {run: process}}\n")
	p := startProcess(t, "serve", "--config", file)
	p.line(t, "ready")
	var pids []int
	for _, name := range []string{"announce", "ping"} {
		pids = append(pids, listed(t, file, name).PID)
	}
	p.signal(t, syscall.SIGKILL)
	p.wait()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); ; {
		left := 0
		for _, pid := range pids {
			if syscall.Kill(pid, 0) == nil {
				left++
			}
		}
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%d processes of plugins are left", left)
		}
	}
}

// TestConfigCheckAsksPlugins: what plugins say is compared with the configuration, with all
// else that is wrong.
func TestConfigCheckAsksPlugins(t *testing.T) {
	file := configure(t, "plugins:\n  announce: {permissions: []}\n  other:\n    command: [./none]\nstorage: {dsn: /nonexistent/x.db}\n")
	r := hexmpp(t.Context(), "", "config", "check", file)
	for _, want := range []string{
		`:4: plugins.announce.permissions: the plugin announce asks for list-accounts, see-presence, which it is not granted; this line grants it: permissions: \[list-accounts, see-presence\]`,
		`:5: plugins.other: it can't be started: .*/none: no such file`,
		`:7: storage.dsn: there is no folder /nonexistent`,
	} {
		if r.code != exitUsage || r.out != "" || !regexp.MustCompile("(?m)^"+regexp.QuoteMeta(file)+want).MatchString(r.err) {
			t.Errorf("%+v, want %s", r, want)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	file = configure(t, "plugins: {announce: {permissions: []}}\n")
	if r := hexmpp(t.Context(), "", "config", "check", file, "--no-plugins"); r.code != exitOK {
		t.Errorf("%+v", r)
	}
}

// TestUptime: a process that has just ended has no start.
func TestUptime(t *testing.T) {
	var out bytes.Buffer
	if err := printPlugins(&out, []admin.Plugin{{Name: "x", State: admin.PluginReady, PID: 7}}, time.Now()); err != nil || !regexp.MustCompile(`x +ready +- +0 +7 +- +0`).MatchString(out.String()) {
		t.Errorf("%v, %s", err, &out)
	}
}
