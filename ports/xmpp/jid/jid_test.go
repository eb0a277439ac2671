package jid_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// RFC 7622 3.5, table 1 (rows by number), and further rules.
func TestParse(t *testing.T) {
	tests := []struct {
		name, in, local, domain, resource string
	}{
		{"3.5 #1", "juliet@example.com", "juliet", "example.com", ""},
		{"3.5 #2", "juliet@example.com/foo", "juliet", "example.com", "foo"},
		{"3.5 #3", "juliet@example.com/foo bar", "juliet", "example.com", "foo bar"},
		{"3.5 #4", "juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"},
		{"3.5 #5", `foo\20bar@example.com`, `foo\20bar`, "example.com", ""},
		{"3.5 #6", "fussball@example.com", "fussball", "example.com", ""},
		{"3.5 #7", "fu\u00DFball@example.com", "fu\u00DFball", "example.com", ""},
		{"3.5 #8", "\u03C0@example.com", "\u03C0", "example.com", ""},
		{"3.5 #9", "\u03A3@example.com/foo", "\u03C3", "example.com", "foo"},
		{"3.5 #10", "\u03C3@example.com/foo", "\u03C3", "example.com", "foo"},
		{"3.5 #11", "\u03C2@example.com/foo", "\u03C2", "example.com", "foo"},
		{"3.5 #12", "king@example.com/\u265A", "king", "example.com", "\u265A"},
		{"3.5 #13", "example.com", "", "example.com", ""},
		{"3.5 #14", "example.com/foobar", "", "example.com", "foobar"},
		{"3.5 #15", "a.example.com/b@example.net", "", "a.example.com", "b@example.net"},

		{"3.2 final dot", "a@example.com./r", "a", "example.com", "r"},
		{"3.2 unqualified hostname", "a@localhost", "a", "localhost", ""},
		{"3.2 IPv4 address", "a@192.0.2.1/r", "a", "192.0.2.1", "r"},
		{"3.2 IPv6 literal", "a@[2001:DB8:0:0::1]/r", "a", "[2001:db8::1]", "r"},
		{"3.2 IPv6 literal with zone (RFC 6874)", "[fe80::1%25eth0]", "", "[fe80::1%25eth0]", ""},
		{"3.2 domain of 253 bytes", strings.Repeat("a.", 126) + "a", "", strings.Repeat("a.", 126) + "a", ""},
		{"3.2.1 A-label to U-label", "a@xn--bcher-kva.example", "a", "b\u00FCcher.example", ""},
		{"3.2.2 case", "a@EXAMPLE.Com", "a", "example.com", ""},
		{"3.2.2 case beyond ASCII", "a@B\u00DCCHER.example", "a", "b\u00FCcher.example", ""},
		{"3.2.2 width", "a@\uFF45xample.com", "a", "example.com", ""},
		{"3.2.2 normalisation", "a@bu\u0308cher.example", "a", "b\u00FCcher.example", ""},
		{"3.2.2 ideographic full stop", "a@example\u3002com", "a", "example.com", ""},
		{"3.2.2 sharp s stays", "a@stra\u00DFe.example", "a", "stra\u00DFe.example", ""},

		{"3.3 case", "Juliet@example.com/Foo", "juliet", "example.com", "Foo"},
		{"3.3 width", "\uFF4A@example.com", "j", "example.com", ""},
		{"3.3 normalisation", "u\u0308@example.com", "\u00FC", "example.com", ""},
		{"3.3 1023 bytes", strings.Repeat("a", 1023) + "@d", strings.Repeat("a", 1023), "d", ""},
		{"3.3 all visible ASCII that is left", "!#$%()*+,-.;=?[\\]^_`{|}~09az@d", "!#$%()*+,-.;=?[\\]^_`{|}~09az", "d", ""},
		{"3.3 right to left", "\u05D0\u05D1@example.com", "\u05D0\u05D1", "example.com", ""},

		{"3.4 case stays", "d/FOO", "", "d", "FOO"},
		{"3.4 other spaces become a space", "d/a\u00A0b\u3000c", "", "d", "a b c"},
		{"3.4 normalisation", "d/u\u0308", "", "d", "\u00FC"},
		{"3.4 compatibility characters stay", "d/\uFF21\u2163", "", "d", "\uFF21\u2163"},
		{"3.4 slash in it", "d/a/b", "", "d", "a/b"},
		{"3.4 final space", "d/a ", "", "d", "a "},
		{"3.4 XML characters", `d/<'&">`, "", "d", `<'&">`},
		{"3.4 1023 bytes", "d/" + strings.Repeat("\u00FC", 511) + "a", "", "d", strings.Repeat("\u00FC", 511) + "a"},
		{"3.4 1023 bytes after preparation", "d/x" + strings.Repeat("\u3000", 1022), "", "d", "x" + strings.Repeat(" ", 1022)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j, err := jid.Parse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if j.Local() != tt.local || j.Domain() != tt.domain || j.Resource() != tt.resource {
				t.Errorf("%q: got %q, %q, %q", tt.in, j.Local(), j.Domain(), j.Resource())
			}
			check(t, j)
			made, err := jid.New(tt.local, tt.domain, tt.resource)
			if err != nil || made != j {
				t.Errorf("New: %v, %v; Parse: %v", made, err, j)
			}
		})
	}
}

// RFC 7622 3.5, table 2 (rows by number), and further rules.
func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, in string }{
		{"3.5 #16", `"juliet"@example.com`},
		{"3.5 #17", "foo bar@example.com"},
		{"3.5 #18", "juliet@example.com/ foo"},
		{"3.5 #19", "@example.com/"},
		{"3.5 #20", "henry\u2163@example.com"},
		{"3.5 #21", "\u265A@example.com"},
		{"3.5 #22", "juliet@"},
		{"3.5 #23", "/foobar"},

		{"nothing", ""},
		{"3.1 empty localpart", "@example.com"},
		{"3.1 empty resourcepart", "a@example.com/"},
		{"3.1 separators alone", "@/"},
		{"RFC 6120 8.3.3.8 example", "ch@r@cters@muc.example.com/JulieC"},

		{"3.2 a dot alone", "."},
		{"3.2 two final dots", "example.com.."},
		{"3.2 final ideographic full stop", "example.com\u3002"},
		{"3.2 empty label", "a..b"},
		{"3.2 leading dot", ".a"},
		{"3.2 label of 64 bytes", strings.Repeat("a", 64)},
		{"3.2 label too long as A-label", strings.Repeat("\u00FC", 63)},
		{"3.2 name of 255 bytes", strings.Repeat("a.", 127) + "a"},
		{"3.2 name too long as A-labels", strings.Repeat("\u00FC.", 40) + "a"},
		{"3.2.1 leading hyphen", "-a.example"},
		{"3.2.1 final hyphen", "a-.example"},
		{"3.2.1 reserved label (RFC 5890 2.3.1)", "ab--c.example"},
		{"3.2.1 underscore", "a_b.example"},
		{"3.2.1 space", "a b.example"},
		{"3.2.1 space at the end", "example.com "},
		{"3.2.1 no Punycode", "xn--a.example"},
		{"3.2.1 Punycode of ASCII", "xn--abc-.example"},
		{"3.2.1 Punycode of a symbol that is not allowed", "xn--\u2488.example"},
		{"3.2.1 maps to a slash", "a\u2100b"},
		{"3.2.1 colon", "example.com:5222"},
		{"3.2 IPv6 without brackets", "2001:db8::1"},
		{"3.2 open bracket", "[2001:db8::1"},
		{"3.2 IPv4 in brackets", "[192.0.2.1]"},
		{"3.2 empty brackets", "[]"},
		{"3.2 IPvFuture", "[v1.a]"},
		{"3.2 zone without escape", "[fe80::1%eth0]"},
		{"3.2 empty zone", "[fe80::1%25]"},
		{"3.2 zone with bracket", "[fe80::1%25a]]"},

		{"3.3 1024 bytes", strings.Repeat("a", 1024) + "@d"},
		{"3.3 1024 bytes of upper case", strings.Repeat("A", 1024) + "@d"},
		{"3.3 1024 bytes, not ASCII", strings.Repeat("\u00FC", 512) + "@d"},
		{"3.3 bidi rule", "\u05D0a@d"},
		{"3.3 control", "a\x00b@d"},
		{"3.3 DEL", "a\x7fb@d"},
		{"3.3 not UTF-8", "a\xff@d"},
		{"3.3 first is a combining mark that context forbids", "\u200D@d"},
		{"3.3.1 maps to an apostrophe", "a\uFF07@d"},
		{"3.3.1 maps to an at sign", "a\uFF20b@d"},

		{"3.4 1024 bytes", "d/" + strings.Repeat("a", 1024)},
		{"3.4 1024 bytes, not ASCII", "d/" + strings.Repeat("\u00FC", 512)},
		{"3.4 leading space after mapping", "d/\u00A0a"},
		{"3.4 control", "d/a\tb"},
		{"3.4 DEL", "d/\x7f"},
		{"3.4 not UTF-8", "d/\xc3"},
		{"3.4 noncharacter", "d/\uFFFE"},
		{"3.4 byte order mark", "d/\uFEFF"},
		{"3.2.1 very long A-label", "xn--" + strings.Repeat("a", 4000)},
		{"megabyte", strings.Repeat("\u00FC", 1<<19) + "@d"},
	}
	for _, c := range `"&':<>` { // a '/' would be the separator: TestNewRefuses has it
		tests = append(tests, struct{ name, in string }{"3.3.1 " + string(c), "a" + string(c) + "b@d"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j, err := jid.Parse(tt.in)
			switch {
			case err == nil:
				t.Errorf("%q became %q", tt.in, j)
			case !errors.Is(err, jid.ErrMalformed):
				t.Errorf("error %v does not wrap ErrMalformed", err)
			case len(err.Error()) > 1000:
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, p := range [][3]string{
		{"a@b", "d", ""}, {"a/b", "d", ""}, {"a", "", "r"}, {"", "", ""},
		{"a", "b@d", ""}, {"a", "d/r", ""}, {"a", "d", " r"},
	} {
		if j, err := jid.New(p[0], p[1], p[2]); !errors.Is(err, jid.ErrMalformed) || !j.IsZero() {
			t.Errorf("%q became %q, %v", p, j, err)
		}
	}
}

func TestParts(t *testing.T) {
	full := jid.MustParse("Romeo@Example.net/Orchard")
	check(t, full)
	if got := full.Bare(); got != jid.MustParse("romeo@example.net") || !got.IsBare() || full.IsBare() {
		t.Errorf("bare %q", got)
	}
	if got := full.DomainJID(); got != jid.MustParse("example.net") {
		t.Errorf("domain %q", got)
	}
	if got := jid.MustParse("example.net/r").DomainJID(); got != jid.MustParse("example.net") {
		t.Errorf("domain %q", got)
	}
	other, err := full.WithResource("a\u00A0b")
	if err != nil || other != jid.MustParse("romeo@example.net/a b") {
		t.Errorf("with resource %q, %v", other, err)
	}
	if got, err := full.WithResource(""); err != nil || got != full.Bare() {
		t.Errorf("without resource %q, %v", got, err)
	}
	if _, err := full.WithResource("a\n"); !errors.Is(err, jid.ErrMalformed) {
		t.Errorf("a control in a resource: %v", err)
	}
	var none jid.JID
	if _, err := none.WithResource("a"); !errors.Is(err, jid.ErrMalformed) {
		t.Errorf("a resource of nobody: %v", err)
	}
	if !none.IsZero() || none.String() != "" || none.Bare() != none || none.DomainJID() != none || full.IsZero() {
		t.Error("the zero JID is no address")
	}
}

// check holds for every JID that Parse returns.
func check(t *testing.T, j jid.JID) {
	t.Helper()
	again, err := jid.Parse(j.String())
	if err != nil || again != j {
		t.Errorf("parsed again, %q is %q, %v", j, again, err)
	}
	made, err := jid.New(j.Local(), j.Domain(), j.Resource())
	if err != nil || made != j {
		t.Errorf("%q made of its parts is %q, %v", j, made, err)
	}
	want := j.Domain()
	if j.Local() != "" {
		want = j.Local() + "@" + want
	}
	if j.Bare().String() != want {
		t.Errorf("%q: bare JID %q", j, j.Bare())
	}
	if j.Resource() != "" {
		want += "/" + j.Resource()
	}
	if j.String() != want {
		t.Errorf("%q is not its parts, %q", j, want)
	}
	for _, part := range []string{j.Local(), j.Domain(), j.Resource()} {
		if len(part) > 1023 {
			t.Errorf("a part of %d bytes", len(part))
		}
	}
}

func TestParseAllocations(t *testing.T) {
	s := "romeo@example.net/orchard"
	if n := testing.AllocsPerRun(100, func() { jid.MustParse(s) }); n != 0 {
		t.Errorf("%v allocations for a canonical ASCII address", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "a@b/c", "Juliet@EXAMPLE.com./Balcony", "[::1]/x", "a@[fe80::1%25eth0]", "a.example.com/b@example.net",
		"fu\u00DFball@stra\u00DFe.example/\u265A", "\u03A3@xn--bcher-kva.example/ \u00A0", "\uFF21\u0345@\u1E9E\u3002d/\u2126",
		"\u0130@\u0130.example/\u0130", "\u05D0\u05D1@\u05D0.example", "a\u0387b@d", "\u1FBE@d", "a\u00B7@d/l\u00B7l",
		"\u0660@d", "\u06F0@d", "\u30FB\u30A2@d", "\u0375\u03B1@d", "a@b\u200Dc.d", "@", "/", "@/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		j, err := jid.Parse(s)
		if err != nil {
			if !errors.Is(err, jid.ErrMalformed) || !j.IsZero() {
				t.Fatalf("%q: %q, %v", s, j, err)
			}
			return
		}
		check(t, j)
	})
}

func BenchmarkParse(b *testing.B) {
	for _, bb := range []struct{ name, in string }{
		{"ASCII", "romeo.montague@chat.example.net/orchard.7c3f"},
		{"upper case", "Romeo.Montague@chat.example.net/orchard.7c3f"},
		{"resource beyond ASCII", "romeo.montague@chat.example.net/G\u00E4rtchen"},
		{"all beyond ASCII", "j\u00FCrgen@b\u00FCcher.example/G\u00E4rtchen"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jid.Parse(bb.in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// XEP-0191 6.
func TestMatches(t *testing.T) {
	for pattern, want := range map[string][6]bool{
		"user@domain.example/resource": {true, false, false, false, false, false},
		"user@domain.example":          {true, true, true, false, false, false},
		"domain.example/resource":      {false, false, false, true, false, false},
		"domain.example":               {true, true, true, true, true, false},
		"other.example":                {false, false, false, false, false, false},
	} {
		for i, j := range []string{
			"user@domain.example/resource", "user@domain.example/other", "user@domain.example",
			"domain.example/resource", "domain.example", "user@sub.domain.example",
		} {
			if got := jid.MustParse(j).Matches(jid.MustParse(pattern)); got != want[i] {
				t.Errorf("%s, pattern %s: %v", j, pattern, got)
			}
			set := jid.PatternsOf([]jid.JID{{}, jid.MustParse("none.example"), jid.MustParse(pattern)})
			if got := set.Match(jid.MustParse(j)); got != want[i] {
				t.Errorf("%s, pattern %s in a set: %v", j, pattern, got)
			}
		}
		if (jid.JID{}).Matches(jid.MustParse(pattern)) || jid.MustParse(pattern).Matches(jid.JID{}) {
			t.Errorf("%s and the zero JID match", pattern)
		}
	}
	if jid.PatternsOf([]jid.JID{{}}).Match(jid.JID{}) || jid.Patterns(nil).Match(jid.MustParse("domain.example")) {
		t.Error("the zero JID, or no pattern at all, matches")
	}
}
