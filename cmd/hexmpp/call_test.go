package main

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// TestCalls is a server whose federation is asked, in a process of its own.
func TestCalls(t *testing.T) {
	file := configure(t, "s2s: {mode: open, overrides: {far.test: \"127.0.0.1:1\"}}\n")
	s := serve(t, "--config", file)
	defer s.stop(t)
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"plugin call s2s", exitOK, `(?m)^list +the streams.*\nprobe DOMAIN \[FROM\] +opens .*\nclose DOMAIN +ends `, "^$"},
		{"plugin call s2s --json", exitOK, `(?s)"name": "list".*"arguments": \[\].*"name": "from",\s+"optional": true`, "^$"},
		{"plugin call s2s list", exitOK, "^no streams\n$", "^$"},
		{"plugin call s2s list x", exitFailed, "^$", "s2s list: 1 arguments; it is called as: list"},
		{"plugin call s2s nothing", exitFailed, "^$", `no such call: s2s has no "nothing"`},
		{"plugin call muc", exitOK, "^muc can't be asked anything\n$", "^$"},
		{"plugin call nobody", exitFailed, "^$", `no such plugin: "nobody"; those that can be asked something are: s2s`},
		{"plugin call s2s list --timeout 6m", exitFailed, "^$", "--timeout: between 0 and 5m0s"},
		{"s2s list", exitOK, "^no streams\n$", "^$"},
		{"s2s close far.test", exitOK, "^0 streams with far.test are closed\n$", "^$"},
		{"s2s probe far.test", exitFailed, "from a.test to far.test\n", "s2s probe: .*refused"},
		{"s2s probe --from b.test far.test", exitFailed, "from b.test to far.test\n", "s2s probe: .*refused"},
		{"s2s probe --from c.test far.test", exitFailed, "^$", "c.test is no domain of this server"},
		{"s2s probe a.test", exitFailed, "^$", "a.test is a domain of this server"},
		{"plugin disable s2s", exitOK, "", "^$"},
		{"s2s list", exitFailed, "^$", "s2s list: no process of it is ready now: it is disabled: an administrator stopped it"},
	} {
		r := hexmpp(t.Context(), "", append(strings.Fields(c.args), "--config", file)...)
		if r.code != c.code || !regexp.MustCompile(c.out).MatchString(r.out) || !regexp.MustCompile(c.err).MatchString(r.err) {
			t.Errorf("%s: code %d, output %q, errors %q", c.args, r.code, r.out, r.err)
		}
	}
	r := hexmpp(t.Context(), "", "s2s", "list", "--json", "--config", file)
	var answer answerJSON
	if err := json.Unmarshal([]byte(r.out), &answer); err != nil || r.code != exitFailed || answer.Text != "" || !strings.Contains(answer.Error, "disabled") || !strings.Contains(r.err, "disabled") {
		t.Errorf("%v: %+v", err, r)
	}
}

// TestCallsOfNobody: there is no server, no federation, or a plugin that could not be started.
func TestCallsOfNobody(t *testing.T) {
	file := configure(t, "plugins: {other: {command: /nonexistent/other}}\n")
	if r := hexmpp(t.Context(), "", "s2s", "list", "--config", file); r.code != exitFailed || !strings.Contains(r.err, "no server is running") {
		t.Errorf("%+v", r)
	}
	s := serve(t, "--config", file)
	defer s.stop(t)
	for args, want := range map[string]string{
		"s2s list":               "the server that runs has no federation",
		"plugin call other":      "the plugin other can't be asked anything: it is failed: ",
		"plugin call other x":    "the plugin other can't be asked anything: it is failed: ",
		"plugin call nobody x y": `no such plugin: "nobody"`,
	} {
		if r := hexmpp(t.Context(), "", append(strings.Fields(args), "--config", file)...); r.code != exitFailed || r.out != "" || !strings.Contains(r.err, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// TestCallThatIsInterrupted: the command ends with its context, as it does with SIGINT.
func TestCallThatIsInterrupted(t *testing.T) {
	file := configure(t, "s2s: {mode: open}\n")
	s := serve(t, "--config", file)
	defer s.stop(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := hexmpp(ctx, "", "s2s", "list", "--config", file); r.code != exitFailed || r.out != "" || !strings.Contains(r.err, "interrupted") {
		t.Errorf("%+v", r)
	}
}
