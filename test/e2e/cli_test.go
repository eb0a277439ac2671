package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

func TestUserCommands(t *testing.T) {
	s, err := harness.Prepare(t.TempDir(), harness.Config{Domains: []string{domain, second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		s.ShowLog(t)
	})

	refused := func(t *testing.T, out harness.Output, words ...string) {
		t.Helper()
		if out.Code == 0 {
			t.Errorf("status 0\n%s%s", out.Stdout, out.Stderr)
		}
		for _, word := range words {
			if !strings.Contains(out.Stderr+out.Stdout, word) {
				t.Errorf("no %q in:\n%s%s", word, out.Stdout, out.Stderr)
			}
		}
	}
	done := func(t *testing.T, out harness.Output) harness.Output {
		t.Helper()
		if out.Code != 0 {
			t.Errorf("status %d\n%s%s", out.Code, out.Stdout, out.Stderr)
		}
		return out
	}
	run := func(t *testing.T, name string) {
		user := name + "@" + domain
		t.Run("add", func(t *testing.T) {
			done(t, s.CLI(t, "user", "add", user, "--password", secret))
			refused(t, s.CLI(t, "user", "add", user, "--password", "x"), user)
			refused(t, s.CLI(t, "user", "add", name+"@elsewhere.test", "--password", "x"), "elsewhere.test")
			refused(t, s.CLI(t, "user", "add", "a b@"+domain, "--password", "x"))
			done(t, s.CLI(t, "user", "add", name+"@"+second, "--password", secret))
		})
		t.Run("list and show", func(t *testing.T) {
			if out := done(t, s.CLI(t, "user", "list")); !strings.Contains(out.Stdout, user) {
				t.Errorf("list:\n%s", out.Stdout)
			}
			if out := done(t, s.CLI(t, "user", "show", user)); !strings.Contains(out.Stdout, user) || strings.Contains(out.Stdout, secret) {
				t.Errorf("show:\n%s", out.Stdout)
			}
			refused(t, s.CLI(t, "user", "show", "nobody@"+domain), "nobody@"+domain)
		})
		t.Run("passwd", func(t *testing.T) {
			done(t, s.CLI(t, "user", "passwd", user, "--password", "changed"))
			refused(t, s.CLI(t, "user", "passwd", "nobody@"+domain, "--password", "x"), "nobody@"+domain)
		})
	}

	t.Run("the server is stopped", func(t *testing.T) { run(t, "romeo") })

	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	t.Run("the server runs", func(t *testing.T) { run(t, "juliet") })

	t.Run("what was done before and meanwhile counts at once", func(t *testing.T) {
		for _, name := range []string{"romeo", "juliet"} {
			c := secured(t, s)
			if e := c.TryPlain("", name, secret); e.Condition() != "not-authorized" {
				t.Errorf("the old password: %s", e.Raw)
			}
			c.Login(name, "changed")
		}
	})

	t.Run("remove ends the sessions", func(t *testing.T) {
		c := secured(t, s)
		c.Login("romeo", "changed")
		c.Bind("orchard")
		done(t, s.CLI(t, "user", "remove", "romeo@"+domain))
		c.ExpectStreamError("not-authorized", "reset", "conflict")
		if e := secured(t, s).TryPlain("", "romeo", "changed"); e.Condition() != "not-authorized" {
			t.Errorf("login after the removal: %s", e.Raw)
		}
		refused(t, s.CLI(t, "user", "remove", "romeo@"+domain), "romeo@"+domain)
	})
}

func TestVersionCommand(t *testing.T) {
	if out := harness.Command(t, "version"); out.Code != 0 || !strings.Contains(out.Stdout, "hexmpp") {
		t.Errorf("status %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
}

func TestConfigCheck(t *testing.T) {
	tests := []struct {
		rule, text string
		words      []string // what the error must name; empty means that the file is right
	}{
		{"a good file", "domains: [example.test]\nlisten:\n  c2s: \"127.0.0.1:0\"\n", nil},
		{"an unknown key at the top", "domains: [example.test]\nlisten:\n  c2s: \"127.0.0.1:0\"\nregistraton: {mode: open}\n", []string{"4", "registraton", "registration"}},
		{"an unknown key below", "domains: [example.test]\ntls:\n  requierd: true\n", []string{"3", "requierd", "required"}},
		{"a value that isn't allowed", "domains: [example.test]\nregistration:\n  mode: ajar\n", []string{"3", "ajar", "open", "closed"}},
		{"a value of the wrong kind", "domains: [example.test]\nlimits:\n  rates: sometimes\n", []string{"3", "rates"}},
		{"an address that is none", "domains: [example.test]\nlisten:\n  c2s: \"5222\"\n", []string{"3", "c2s"}},
		{"a domain that is none", "domains: [\"exa mple\"]\n", []string{"1", "exa mple"}},
		{"a key given twice", "domains: [a.test]\ndomains: [b.test]\n", []string{"2", "domains"}},
		{"no YAML", "domains: [example.test\nlisten: }{\n", []string{"2"}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hexmpp.yaml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			out := harness.Command(t, "config", "check", "--config", file)
			all := out.Stdout + out.Stderr
			if wrong := len(tt.words) > 0; wrong != (out.Code != 0) {
				t.Errorf("status %d\n%s", out.Code, all)
			}
			if len(tt.words) > 0 && !strings.Contains(all, "hexmpp.yaml") {
				t.Errorf("the error doesn't name the file:\n%s", all)
			}
			for _, word := range tt.words {
				if !strings.Contains(all, word) {
					t.Errorf("no %q in:\n%s", word, all)
				}
			}
		})
	}

	t.Run("a file that isn't there", func(t *testing.T) {
		if out := harness.Command(t, "config", "check", "--config", filepath.Join(t.TempDir(), "none.yaml")); out.Code == 0 || !strings.Contains(out.Stderr+out.Stdout, "none.yaml") {
			t.Errorf("status %d\n%s%s", out.Code, out.Stdout, out.Stderr)
		}
	})

	t.Run("serve refuses what check refuses", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "hexmpp.yaml")
		if err := os.WriteFile(file, []byte("domain: example.test\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := harness.Command(t, "serve", "--config", file); out.Code == 0 || !strings.Contains(out.Stderr+out.Stdout, "domains") {
			t.Errorf("status %d\n%s%s", out.Code, out.Stdout, out.Stderr)
		}
	})
}

func TestConfigShow(t *testing.T) {
	s, err := harness.Prepare(t.TempDir(), harness.Config{Registration: "open"})
	if err != nil {
		t.Fatal(err)
	}
	out := s.CLI(t, "config", "show")
	if out.Code != 0 {
		t.Fatalf("status %d\n%s", out.Code, out.Stderr)
	}
	// Each effective value, and where it came from: the file, or the default.
	for _, word := range []string{domain, s.C2S, "open", "default", filepath.Base(s.File)} {
		if !strings.Contains(out.Stdout, word) {
			t.Errorf("no %q in:\n%s", word, out.Stdout)
		}
	}
}

func TestServeWithoutConfiguration(t *testing.T) {
	// `hexmpp serve` alone listens on the well-known ports, which may be taken
	// here, so it is only asked what it would do.
	out := harness.Command(t, "config", "show")
	if out.Code != 0 || !strings.Contains(out.Stdout, "localhost") || !strings.Contains(out.Stdout, "5222") {
		t.Errorf("status %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
}
