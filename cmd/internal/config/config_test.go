package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// wantErrors parses text, which must have exactly these errors.
func wantErrors(t *testing.T, text string, want ...string) {
	t.Helper()
	_, err := Parse("c.yaml", []byte(text))
	errs, ok := err.(Errors)
	if !ok {
		t.Fatalf("error is %v (%T), want Errors", err, err)
	}
	if got, want := errs.Error(), strings.Join(want, "\n"); got != want {
		t.Errorf("errors\n%s\nwant\n%s", got, want)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"unknown key with a near one", "domains: [a.test]\nlisen: {}\n",
			[]string{`c.yaml:2: unknown key "lisen", did you mean "listen"?`}},
		{"unknown key below, letters swapped", "listen:\n  c2s-tsl: \":1\"\n",
			[]string{`c.yaml:2: unknown key "c2s-tsl" in listen, did you mean "c2s-tls"?`}},
		{"unknown key with none near", "registration: {secret: x}",
			[]string{`c.yaml:1: unknown key "secret" in registration, known are mode, min-password`}},
		{"unknown extension", "extensions: {telepathy: {enabled: true}}",
			[]string{`c.yaml:1: unknown key "telepathy" in extensions, known are ping, version, time, lastactivity, vcard, private, blocking, mam, carbons, csi, contact, register`}},
		{"several at once, by line", "data: 7\ndomain: x\nlog: {level: loud}\n",
			[]string{
				`c.yaml:1: data: want a path, not the number 7`,
				`c.yaml:2: unknown key "domain", did you mean "domains"?`,
				`c.yaml:3: log.level: "loud": want debug or info or warn or error`,
			}},
		{"key twice", "data: a\ndata: b\n", []string{`c.yaml:2: data is set twice, first in line 1`}},
		{"not YAML", "a: [b\n", []string{`c.yaml:2: not YAML: did not find expected ',' or ']'`}},
		{"two documents", "data: a\n---\ndata: b\n", []string{`c.yaml:2: there is a second document; a configuration is one`}},
		{"a list for the file", "- a\n", []string{`c.yaml:1: the file: want a mapping (lines of KEY: VALUE), not a list`}},
		{"a mapping for a list", "domains: {a: b}", []string{`c.yaml:1: domains: want a domain such as example.org, not a mapping`}},
		{"no value", "data:\n", []string{`c.yaml:1: data has no value: want a path; leave the line out for the default`}},
		{"alias", "data: &d x\ntls: {certificates: *d}", []string{`c.yaml:2: tls.certificates: anchors and aliases are not supported`}},
		{"alias in a list", "data: &d x.test\ndomains: [*d]", []string{`c.yaml:2: domains: want a domain such as example.org, not an alias`}},
		{"alias in options", "x: &d 1\nplugins: {a: {command: /a, options: {b: [*d]}}}", []string{
			`c.yaml:1: unknown key "x", known are domains, data, listen, tls, storage, registration, privacy, limits, admins, extensions, plugins, s2s, http, web, metrics, log`,
			`c.yaml:2: plugins.a.options: anchors, aliases and more than 20 levels are not supported`}},
		{"bool as text", "tls: {required: \"false\"}", []string{`c.yaml:1: tls.required: want true or false, not the text "false"`}},
		{"port out of range", "listen: {c2s: \":70000\"}",
			[]string{`c.yaml:1: listen.c2s: ":70000": a port is a number from 0 to 65535: want an address such as ":5222", "192.0.2.1:5222" or "[2001:db8::1]:5222"`}},
		{"port alone", "listen: {c2s: 5222}",
			[]string{`c.yaml:1: listen.c2s: want an address such as ":5222", "192.0.2.1:5222" or "[2001:db8::1]:5222", not the number 5222`}},
		{"host that is a name", "listen: {c2s: \"example.org:5222\"}",
			[]string{`c.yaml:1: listen.c2s: "example.org:5222": the host is not an IP address: want an address such as ":5222", "192.0.2.1:5222" or "[2001:db8::1]:5222"`}},
		{"duration without unit", "limits: {unauthenticated-time: 30}",
			[]string{`c.yaml:1: limits.unauthenticated-time: want a duration from 1s to 1h, such as 30s or 1m30s, not the number 30`}},
		{"duration out of bounds", "limits: {unauthenticated-time: 2h}",
			[]string{`c.yaml:1: limits.unauthenticated-time: 2h is out of bounds: want a duration from 1s to 1h, such as 30s or 1m30s`}},
		{"RFC 6120 13.12: a limit of 10,000 bytes at least", "limits: {stanza-bytes: 9999, stanza-bytes-unauthenticated: 2TiB}",
			[]string{
				`c.yaml:1: limits.stanza-bytes: 9999 is out of bounds: want bytes from 10000 to 768KiB, such as 65536 or 64KiB`,
				`c.yaml:1: limits.stanza-bytes-unauthenticated: "2TiB": want bytes from 10000 to 768KiB, such as 65536 or 64KiB`,
			}},
		{"more than storage has room for", "limits: {stanza-bytes: 768KiB, stanza-bytes-unauthenticated: 786433}",
			[]string{`c.yaml:1: limits.stanza-bytes-unauthenticated: 786433 is out of bounds: want bytes from 10000 to 768KiB, such as 65536 or 64KiB`}},
		{"number that overflows", "limits: {depth: 99999999999999999999}",
			[]string{`c.yaml:1: limits.depth: want a number from 8 to 255, not the number 99999999999999999999`}},
		{"size that overflows", "limits: {stanza-bytes: 9223372036854775807GiB}",
			[]string{`c.yaml:1: limits.stanza-bytes: 9223372036854775807GiB is out of bounds: want bytes from 10000 to 768KiB, such as 65536 or 64KiB`}},
		{"domain with a localpart", "domains: [romeo@example.org]",
			[]string{`c.yaml:1: domains: "romeo@example.org" is an address, not a domain: want a domain such as example.org`}},
		{"no domain", "domains: []", []string{`c.yaml:1: domains: at least one domain is needed`}},
		{"domain twice after preparation", "domains: [Example.org, example.org.]", []string{`c.yaml:1: domains: example.org is there twice`}},
		{"admin elsewhere", "domains: [a.test]\nadmins: [x@b.test]", []string{`c.yaml:2: admins: x@b.test is not of a hosted domain`}},
		{"one port for two listeners", "listen: {c2s: \":1\", c2s-tls: \":1\"}",
			[]string{`c.yaml:1: listen.c2s-tls: :1 is an address of listen.c2s already; give each its own port`}},
		{"postgres", "storage:\n  driver: postgres\n", []string{`c.yaml:2: storage.driver: PostgreSQL needs storage.dsn, such as "host=/run/postgresql dbname=hexmpp user=hexmpp sslmode=disable"`}},
		{"an extension that can't be a process", "extensions:\n  ping:\n    run: process\n  mam:\n    run: process\n",
			[]string{`c.yaml:5: extensions.mam.run: mam runs inside only: every message passes it, or it is part of logins; a process is possible for ping, vcard, private, blocking`}},
		{"option of an extension without any", "extensions: {ping: {options: {a: 1}}}",
			[]string{`c.yaml:1: unknown key "a" in extensions.ping.options: nothing can be set here`}},
		{"option of an extension", "extensions: {version: {options: {hide_version: true}}}",
			[]string{`c.yaml:1: unknown key "hide_version" in extensions.version.options, did you mean "hide-version"?`}},
		{"name of a plugin", "plugins: {../x: {}}",
			[]string{`c.yaml:1: plugins: the name of a plugin is of lower-case letters, digits and hyphens, not "../x"`}},
		{"digest", "plugins: {muc: {files: {/bin/x: abc}}}",
			[]string{`c.yaml:1: plugins.muc.files./bin/x: no SHA-256: want a SHA-256 in 64 lower-case hexadecimal digits`}},
		{"key of a plugin", "plugins:\n  a:\n    comand: /a\n    limits: {memori: 1GiB}\n", []string{
			`c.yaml:3: unknown key "comand" in plugins.a, did you mean "command"?`,
			`c.yaml:4: unknown key "memori" in plugins.a.limits, did you mean "memory"?`}},
		{"limits of a plugin", "plugins: {a: {command: /a, limits: {memory: 1MiB, queue: 0, grace-time: 1h, decide-time: 0s}}}", []string{
			`c.yaml:1: plugins.a.limits.memory: 1MiB is out of bounds: want bytes from 16MiB to 1024GiB, such as 65536 or 64KiB`,
			`c.yaml:1: plugins.a.limits.queue: 0 is out of bounds: want a number from 1 to 1000000`,
			`c.yaml:1: plugins.a.limits.grace-time: 1h is out of bounds: want a duration from 0s to 10m, such as 30s or 1m30s`,
			`c.yaml:1: plugins.a.limits.decide-time: 0s is out of bounds: want a duration from 1ms to 5s, such as 30s or 1m30s`}},
		{"a plugin that nobody knows", "plugins:\n  anounce: {}\n  mine: {}\n", []string{
			`c.yaml:2: plugins.anounce: no plugin of this name is part of hexmpp (did you mean "announce"?): give the command that starts it`,
			`c.yaml:3: plugins.mine: no plugin of this name is part of hexmpp: give the command that starts it`}},
		{"an extension among the plugins", "plugins: {ping: {}}", []string{`c.yaml:1: plugins: ping is an extension: it belongs to the section extensions`}},
		{"a plugin of others inside", "plugins: {mine: {command: /a, run: inside}}",
			[]string{`c.yaml:1: plugins.mine.run: only plugins that are part of hexmpp can run inside the server: announce, muc`}},
		{"inside, with a command", "plugins:\n  announce:\n    run: inside\n    command: /a\n    files: {/a: " + strings.Repeat("0", 64) + "}", []string{
			`c.yaml:4: plugins.announce.command: run is inside: there is nothing to start; leave one of the two out`,
			`c.yaml:5: plugins.announce.files: run is inside: no files are started`}},
		{"listeners of a plugin", "plugins:\n  a: {command: /a, listen: {stun: \"localhost\"}}\n  b: {command: /b, listen: {\"S T\": \":1\"}}\n", []string{
			`c.yaml:2: plugins.a.listen.stun: "localhost": want an address such as ":5222", "192.0.2.1:5222" or "[2001:db8::1]:5222"`,
			`c.yaml:3: plugins.b.listen: "S T": it is of lower-case letters, digits and hyphens: want the name of a listener`}},
		{"listeners inside", "plugins: {muc: {run: inside, listen: {x: \":1\"}}}", []string{`c.yaml:1: plugins.muc.listen: run is inside: what listens is a process`}},
		{"a command without a path", "plugins:\n  a: {command: [python3, a.py]}\n  b: {command: [\"\"]}\n", []string{
			`c.yaml:2: plugins.a.command: python3 is no path: name the program by one, such as /usr/bin/python3 or ./python3; it is not searched for`,
			`c.yaml:3: plugins.b.command: "" is no path`}},
		{"a chat that nobody can open", "listen: {c2s: \":1\"}\nweb: {chat: true}", []string{`c.yaml:2: web.chat: nobody can open it: listen has neither http nor https`}},
		{"a chat that can't reach the server", "http: {websocket: false}\nweb: {chat: true}", []string{`c.yaml:2: web.chat: it needs http.websocket: true`}},
		{"another client for no chat", "web:\n  converse: /srv/converse.js", []string{`c.yaml:2: web.converse: it has no effect without web.chat: true`}},
		{"permissions", "plugins:\n  a: {command: /a, permissions: [read-roster]}\n", []string{
			`c.yaml:2: plugins.a.permissions: "read-roster": want send-as-account or manage-accounts or list-accounts or see-stanzas or read-rosters or see-presence or tell-presence or far-domains or read-certificates or serve-http`}},
		{"a permission twice", "plugins: {a: {command: /a, permissions: [read-rosters, read-rosters]}}",
			[]string{`c.yaml:1: plugins.a.permissions: read-rosters is there twice`}},
		{"domains of a plugin", "domains: [a.test]\nplugins:\n  a: {command: /a, domains: [$domain, \"x@y\", b.$domain, b.a.test]}\n", []string{
			`c.yaml:3: plugins.a.domains: a.test is a hosted domain; a plugin has domains of its own`,
			`c.yaml:3: plugins.a.domains: "x@y" is an address, not a domain: want a domain such as a.$domain`,
			`c.yaml:3: plugins.a.domains: b.a.test is there twice`}},
		{"a domain of two plugins", "domains: [a.test]\nplugins:\n  announce: {}\n  off: {command: /a, enabled: false, domains: announce.a.test}\n  z: {command: /a, domains: announce.a.test}\n", []string{
			`c.yaml:5: plugins.z.domains: announce.a.test is a domain of the plugin announce`}},
		{"a hosted domain in the place of a plugin's", "domains: [a.test, announce.a.test]\nplugins:\n  announce: {}\n", []string{
			`c.yaml:3: plugins.announce: announce.a.test is a hosted domain; a plugin has domains of its own`}},
		{"options that JSON can't have", "plugins:\n  a:\n    command: /a\n    options: {x: .nan}\n", []string{
			`c.yaml:4: plugins.a.options: something in it is neither text nor a number, a truth value, a list, or a mapping from text`}},
		{"more history than there may be", "domains: [a.test]\nplugins:\n  muc:\n    options: {history: 20, max-history: 10}\n", []string{
			`c.yaml:4: plugins.muc.options.history: it is more than max-history, 10`}},
		{"options of a bundled plugin", "domains: [a.test]\nplugins:\n  announce:\n    options:\n      max-byte: 1KiB\n", []string{
			`c.yaml:5: unknown key "max-byte" in plugins.announce.options, did you mean "max-bytes"?`}},
		{"an administrator of announcements elsewhere", "domains: [a.test]\nplugins:\n  announce:\n    options: {admins: x@b.test}\n", []string{
			`c.yaml:4: plugins.announce.options.admins: x@b.test is not of a hosted domain`}},
		{"unauthenticated limit above the other", "limits: {stanza-bytes: 10000, stanza-bytes-unauthenticated: 10001}",
			[]string{`c.yaml:1: limits.stanza-bytes-unauthenticated: more than stanza-bytes, which is 10000`}},
	} {
		t.Run(c.name, func(t *testing.T) { wantErrors(t, c.text, c.want...) })
	}
}

// TestDesign reads the example of the design, whose keys other programs rely on.
func TestDesign(t *testing.T) {
	c, err := Parse("/etc/hexmpp/hexmpp.yaml", []byte(`
domains: [example.test, Other.TEST]
data: ./hexmpp-data
listen: {c2s: "127.0.0.1:5222", c2s-tls: ["127.0.0.1:5223", "[::1]:0"], http: "127.0.0.1:5280", https: "127.0.0.1:5443", s2s: "127.0.0.1:5269"}
tls: {certificates: /etc/ssl/hexmpp, required: true}
storage: {driver: sqlite, dsn: "x.db"}
registration: {mode: open}
limits: {rates: false, outbox-bytes: 2MiB, unauthenticated-time: 2m}
admins: [romeo@example.test]
extensions: {ping: {enabled: false, run: inside, options: {}}}
plugins: {chat: {enabled: true, run: process, command: [./a, -b], files: {/x: `+strings.Repeat("0", 64)+`}, domains: [conference.$domain], permissions: [read-rosters], limits: {memory: 1GiB}, options: {secret: x}}}
s2s: {mode: allow, certificates: required, overrides: {far.test: "127.0.0.1:5269"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct {
		name      string
		got, want any
	}{
		{"domain", c.Domains[1], "other.test"},
		{"data", c.Data, "/etc/hexmpp/hexmpp-data"},
		{"c2s", strings.Join(c.Listen.C2S, " "), "127.0.0.1:5222"},
		{"c2s-tls", strings.Join(c.Listen.C2STLS, " "), "127.0.0.1:5223 [::1]:0"},
		{"certificates", c.TLS.Certificates, "/etc/ssl/hexmpp"},
		{"dsn", c.Storage.DSN, "/etc/hexmpp/x.db"},
		{"mode", c.Registration.Mode, "open"},
		{"rates", c.Limits.Rates, false},
		{"outbox", c.Limits.OutboxBytes, 2 << 20},
		{"time", c.Limits.UnauthenticatedTime, 2 * time.Minute},
		{"preset", c.Limits.StanzaBytes, 256 << 10},
		{"ping", c.Extensions["ping"].Enabled, false},
		{"time extension", c.Extensions["time"].Enabled, true},
		{"plugin command", strings.Join(c.Plugins["chat"].Command, " "), "/etc/hexmpp/a -b"},
		{"plugin file", len(c.Plugins["chat"].Files["/x"]), 64},
		{"plugin permissions", strings.Join(c.Plugins["chat"].Permissions, " "), "read-rosters"},
		{"plugin memory", c.Plugins["chat"].Limits.Memory, 1 << 30},
		{"plugin queue", c.Plugins["chat"].Limits.Queue, 10_000},
		{"override", c.S2S.Overrides["far.test"], "127.0.0.1:5269"},
		{"warnings", len(c.Warnings()), 1}, // nobody is allowed to federate
		{"federation", c.Plugins["s2s"].Options["mode"], "allow"},
	} {
		if check.got != check.want {
			t.Errorf("%s is %v, want %v", check.name, check.got, check.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text, c2s, tls string
	}{
		{"empty file: every interface", "", ":5222", ":5223"},
		{"comments only", "# nothing\n", ":5222", ":5223"},
		{"section with its lines commented out", "listen:\n#  c2s: x\n", ":5222", ":5223"},
		{"listen names one: only that", "listen: {c2s: \":1\"}", ":1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse("c.yaml", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if s := strings.Join(got.Listen.C2S, " "); s != c.c2s {
				t.Errorf("c2s %q, want %q", s, c.c2s)
			}
			if s := strings.Join(got.Listen.C2STLS, " "); s != c.tls {
				t.Errorf("c2s-tls %q, want %q", s, c.tls)
			}
		})
	}
	c, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range append(c.Listen.C2S, c.Listen.C2STLS...) {
		if !loopback(a) {
			t.Errorf("without a file it listens on %s", a)
		}
	}
	if c.File != "" || c.Domains[0] != "localhost" || c.Data != filepath.Join(here, "hexmpp-data") || c.Registration.Mode != RegistrationClosed {
		t.Errorf("without a file: %+v", c)
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("without a file there are warnings: %v", w)
	}
}

// TestPagesOfExtensions: each extension has its page, and that names the options
// as the file wants them.
func TestPagesOfExtensions(t *testing.T) {
	first := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	for _, known := range Known {
		page, err := os.ReadFile(filepath.Join("../../../docs/extensions", known.Name+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		if known.options == nil {
			continue
		}
		var want, got []string
		for _, o := range known.options(&Config{}) {
			want = append(want, o.key)
		}
		_, text, _ := strings.Cut(string(page), "\n## Options\n")
		text, _, _ = strings.Cut(text, "\n## ")
		for _, m := range first.FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		if slices.Sort(want); !slices.Equal(want, slices.Sorted(slices.Values(got))) {
			t.Errorf("the page of %s has the options %q, the file %q", known.Name, got, want)
		}
	}
}

// TestPagesOfPlugins is TestPagesOfExtensions for plugins that are part of hexmpp.
func TestPagesOfPlugins(t *testing.T) {
	first := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	for _, b := range Bundled {
		page, err := os.ReadFile(filepath.Join("../../../docs/plugins", b.Name+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		var want, got []string
		for _, o := range b.options(&Config{}) {
			want = append(want, o.key)
		}
		_, text, _ := strings.Cut(string(page), "\n## Options\n")
		text, _, _ = strings.Cut(text, "\n## ")
		for _, m := range first.FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		if slices.Sort(want); !slices.Equal(want, slices.Sorted(slices.Values(got))) {
			t.Errorf("the page of %s has the options %q, the file %q", b.Name, got, want)
		}
	}
}

// TestFederation: the section s2s is what the plugin s2s is given, and says whether it runs.
func TestFederation(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "open",
		"listen: {s2s: ':1'}":                    "open",
		"listen: {s2s-tls: ':1'}":                "open",
		"listen: {c2s: ':1'}":                    "", // nobody could answer
		"listen: {c2s: ':1'}\ns2s: {mode: open}": "open",
		"s2s: {mode: none}":                      "",
		"s2s: {mode: none}\nplugins: {s2s: {}}":  "",
		"plugins: {s2s: {enabled: false}}":       "",
		"s2s: {mode: allow, allow: b.test}":      "allow",
	} {
		c, err := Parse("c.yaml", []byte("domains: a.test\n"+text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := ""
		if p := c.Plugins["s2s"]; p != nil && p.Enabled {
			got = p.Options["mode"].(string)
		}
		if got != want {
			t.Errorf("%s: federation is %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"s2s: {allow: b.test}":                                 "s2s.allow: it says nothing unless mode is allow",
		"s2s: {deny: a.test}":                                  "s2s.deny: a.test is a hosted domain",
		"listen: {s2s: ':1', s2s-tls: ':1'}":                   "listen.s2s-tls: :1 is an address of listen.s2s already; give each its own port",
		"plugins: {s2s: {listen: {s2s: ':1'}}}":                "plugins.s2s.listen: where it listens is said by listen.s2s and listen.s2s-tls",
		"plugins: {s2s: {run: inside}}":                        "plugins.s2s.run: s2s runs in a process of its own, and nowhere else",
		"plugins: {s2s: {options: {mode: open}}}":              `unknown key "options" in plugins.s2s`,
		"s2s: {idle-time: 1s}":                                 "s2s.idle-time",
		"s2s: {mode: none}\nplugins: {s2s: {domains: a.test}}": "",
	} {
		_, err := Parse("c.yaml", []byte("domains: a.test\n"+text))
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestPlugins(t *testing.T) {
	c, err := Parse("/etc/c.yaml", []byte("domains: [a.test, b.test]\nadmins: [romeo@a.test]\nplugins: {announce: {}, mine: {command: /m, permissions: [], options: {a: [1, x]}}}"))
	if err != nil {
		t.Fatal(err)
	}
	announce, mine := c.Plugins["announce"], c.Plugins["mine"]
	for _, check := range []struct {
		name      string
		got, want any
	}{
		{"bundled", []bool{announce.Bundled, mine.Bundled}, []bool{true, false}},
		{"run", announce.Run, RunProcess},
		{"permissions that are not said", announce.Permissions == nil, true},
		{"permissions, none", mine.Permissions != nil && len(mine.Permissions) == 0, true},
		{"limits of both", announce.Limits == mine.Limits && mine.Limits == DefaultPluginLimits(), true},
		{"options with defaults", optionsText(t, announce), `{"admins":["romeo@a.test"],"max-announcements":10,"max-bytes":10240,"message-of-the-day":false}`},
		{"options", optionsText(t, mine), `{"a":[1,"x"]}`},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("%s is %v, want %v", check.name, check.got, check.want)
		}
	}
	if l := DefaultPluginLimits(); l.Memory != 256<<20 || l.GraceTime != 10*time.Second || l.DecideTime != 250*time.Millisecond {
		t.Errorf("default limits %+v", l)
	}
}

func optionsText(t *testing.T, p *Plugin) string {
	t.Helper()
	text, err := p.OptionsJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Rooms are there unless somebody says otherwise, or their domain is in use.
func TestRoomsRunByThemselves(t *testing.T) {
	for text, want := range map[string]bool{
		"domains: [a.test]": true,
		"domains: [a.test, b.test]\nplugins: {mine: {command: /m, domains: rooms.a.test}}": true,
		"domains: [a.test]\nplugins: {muc: {enabled: false}}":                              false,
		"domains: [a.test, conference.a.test]":                                             false,
		"domains: [a.test]\nplugins: {mine: {command: /m, domains: conference.$domain}}":   false,
		"domains: [a.test]\nplugins: {mine: {command: /m, domains: conference.a.test}}":    false,
	} {
		c, err := Parse("/etc/c.yaml", []byte(text+"\n"))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		p := c.Plugins["muc"]
		if runs := p != nil && p.Enabled; runs != want {
			t.Errorf("%s: it runs: %t", text, runs)
		}
		if want && (c.Muc.MaxOccupants != 1000 || p.Run != RunProcess || p.Options["max-occupants"] == nil) {
			t.Errorf("%s: %+v, %+v", text, p, c.Muc)
		}
	}
}

func TestWarningsOfAnnounce(t *testing.T) {
	for text, want := range map[string]string{
		"admins: [a@localhost]": "", // announce runs
		"admins: [a@localhost]\nplugins: {announce: {enabled: false}}":        "admins is set, but",
		"admins: [a@localhost]\nplugins: {announce: {}}":                      "",
		"plugins: {announce: {}}":                                             "plugins.announce has nobody",
		"plugins: {announce: {options: {admins: a@localhost}}}":               "",
		"admins: [a@localhost]\nplugins: {announce: {options: {admins: []}}}": "plugins.announce has nobody",
	} {
		c, err := Parse("c.yaml", []byte("listen: {c2s: \"127.0.0.1:0\"}\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.Warnings(), "\n"); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: warnings %q, want %q", text, got, want)
		}
	}
}

func TestLoadReportsMissingFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "there is no configuration file") {
		t.Errorf("error is %v", err)
	}
}

func TestClearTextOnTheNetworkWarns(t *testing.T) {
	for text, want := range map[string]int{
		"tls: {required: false}":                                    1,
		"tls: {required: false}\nlisten: {c2s: \"127.0.0.1:5222\"}": 0,
		"listen: {s2s: \":1\"}":                                     1, // no client can connect
		"listen: {s2s: \":1\"}\ns2s: {mode: none}":                  2, // nor does it federate
		"listen: {c2s: \":1\"}\ns2s: {mode: open}":                  1, // nobody can connect from far
	} {
		c, err := Parse("c.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if w := c.Warnings(); len(w) != want {
			t.Errorf("%s: warnings %q, want %d", text, w, want)
		}
	}
}

func TestShow(t *testing.T) {
	c, err := Parse("/c.yaml", []byte("domains: [a.test]\nstorage:\n  dsn: \"hunter2\"\nplugins: {chat: {command: /m, options: {token: hunter2}}, announce: {}}\nextensions: {ping: {enabled: false}}"))
	if err != nil {
		t.Fatal(err)
	}
	out := c.Show()
	if strings.Contains(out, "hunter2") {
		t.Errorf("a secret is shown:\n%s", out)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(out) {
		rows[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		"domains: [a.test] # /c.yaml:1",
		"data: /hexmpp-data # default",
		`c2s: [":5222"] # default`,
		`dsn: "(set, not shown)" # /c.yaml:3`,
		"enabled: false # /c.yaml:5",
		`options: "(set, not shown)" # /c.yaml:4`,
		"unauthenticated-time: 1m # default",
		"memory: 256MiB # default",
		"# permissions: (those that it asks for, if it is part of hexmpp; else none)",
		"max-bytes: 10KiB # default",
	} {
		if !rows[want] {
			t.Errorf("not shown: %s\nin\n%s", want, out)
		}
	}
}

// What show prints of a configuration without secrets can be read again, and
// gives the same.
func TestShowCanBeRead(t *testing.T) {
	text := "domains: [a.test]\nlimits: {stanza-bytes: 10001}\ns2s: {overrides: {b.test: \"c:1\"}}\nplugins: {x: {command: /x, domains: [\"y.$domain\"]}, announce: {limits: {queue: 7}}}"
	a, err := Parse("/c.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse("/c.yaml", []byte(a.Show()))
	if err != nil {
		t.Fatalf("%v\n%s", err, a.Show())
	}
	values := func(c *Config) string {
		var s strings.Builder
		for line := range strings.Lines(c.Show()) {
			value, _, _ := strings.Cut(line, "#")
			s.WriteString(strings.TrimSpace(value) + "\n")
		}
		return strings.Replace(s.String(), redacted, "/hexmpp-data/hexmpp.db", 1)
	}
	if values(a) != values(b) {
		t.Errorf("%s\nbecame\n%s", values(a), values(b))
	}
}

// The example in the reference has every option, and is a valid file.
func TestReferenceExample(t *testing.T) {
	_, rest, _ := strings.Cut(Reference(), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	c, err := Parse("c.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	preset, err := Parse("c.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.lines = nil
	preset.lines = nil
	if a, b := c.Show(), preset.Show(); a != b {
		t.Errorf("the example gives\n%s\nthe defaults are\n%s", a, b)
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"lisen", "listen", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"same", "same", 0}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("edits(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := edits(c.b, c.a); got != c.want {
			t.Errorf("edits(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "domains: [a.test]", "a: &a [*a]", "plugins: {x: {options: {a: {b: [1, 2]}}}}",
		"listen: {c2s: [\":1\", \"[::1]:2\"]}", "<<: {a: b}", "? [a]\n: b", "s2s: {overrides: {a.test: \"b:1\"}}",
		"--- \n...\n---\n", "limits: {stanza-bytes: 1GiB}", "%YAML 9.9\n---\n", "\xff\xfe", "domains: !!binary aGk=",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("/c.yaml", text)
		if err != nil {
			if _, ok := err.(Errors); !ok {
				t.Fatalf("error without a line: %v", err)
			}
			return
		}
		_ = c.Warnings()
		shown := c.Show()
		if strings.Contains(shown, redacted) {
			return
		}
		if _, err := Parse("/c.yaml", []byte(shown)); err != nil {
			t.Fatalf("what is shown can't be read: %v\n%s", err, shown)
		}
	})
}

func TestAnnounceRunsWhereSomebodyMayUseIt(t *testing.T) {
	runs := func(c *Config) bool { return c.Plugins["announce"] != nil && c.Plugins["announce"].Enabled }
	without, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	if p := without.Plugins["announce"]; !runs(without) || p.Run != RunProcess || !p.Bundled || p.Limits != DefaultPluginLimits() {
		t.Errorf("without a file announce is %+v", p)
	}
	if options := optionsText(t, without.Plugins["announce"]); options != `{"admins":["admin@localhost"],"max-announcements":10,"max-bytes":10240,"message-of-the-day":false}` {
		t.Errorf("its options are %s", options)
	}
	for text, want := range map[string]bool{
		"domains: [a.test]":                     false,
		"domains: [a.test]\nadmins: [x@a.test]": true,
		"domains: [a.test]\nadmins: [x@a.test]\nplugins: {announce: {enabled: false}}":                 false,
		"domains: [a.test, announce.a.test]\nadmins: [x@a.test]":                                       false,
		"domains: [a.test]\nadmins: [x@a.test]\nplugins: {z: {command: /z, domains: announce.a.test}}": false,
	} {
		c, err := Parse("/c.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if runs(c) != want {
			t.Errorf("%s: announce runs: %t", text, !want)
		}
	}
}
