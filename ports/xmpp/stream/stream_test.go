package stream_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

func TestParseVersion(t *testing.T) {
	tests := []struct {
		name, in     string
		major, minor int
		ok           bool
	}{
		{"RFC 6120 4.7.5 this version", "1.0", 1, 0, true},
		{"RFC 6120 4.7.5 rule 4: absent", "", 0, 9, true},
		{"RFC 6120 4.7.5 more than a digit", "2.13", 2, 13, true},
		{"RFC 6120 4.7.5 more than a digit, major", "12.3", 12, 3, true},
		{"RFC 6120 4.7.5 leading zeros", "006.01", 6, 1, true},
		{"zeros", "00.000", 0, 0, true},
		{"many leading zeros", strings.Repeat("0", 50) + "1.0", 1, 0, true},
		{"nine digits", "999999999.999999999", 999999999, 999999999, true},
		{"ten digits", "1.1234567890", 0, 0, false},
		{"a number that would wrap", "18446744073709551617.0", 0, 0, false},
		{"no minor", "1", 0, 0, false},
		{"empty minor", "1.", 0, 0, false},
		{"empty major", ".1", 0, 0, false},
		{"a dot", ".", 0, 0, false},
		{"three numbers", "1.0.0", 0, 0, false},
		{"sign", "-1.0", 0, 0, false},
		{"sign of the minor", "1.+0", 0, 0, false},
		{"space", " 1.0", 0, 0, false},
		{"hexadecimal", "0x1.0", 0, 0, false},
		{"underscore", "1_0.0", 0, 0, false},
		{"digits beyond ASCII", "\u0661.0", 0, 0, false},
		{"words", "one.zero", 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			major, minor, ok := stream.ParseVersion(tt.in)
			if major != tt.major || minor != tt.minor || ok != tt.ok {
				t.Errorf("%q: %d, %d, %v", tt.in, major, minor, ok)
			}
		})
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"", "1.0", "01.10", "1", "1.", "99999999999.1", "-1.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		major, minor, ok := stream.ParseVersion(s)
		if !ok && (major != 0 || minor != 0) || major < 0 || minor < 0 {
			t.Fatalf("%q: %d, %d, %v", s, major, minor, ok)
		}
		if !ok {
			return
		}
		a, b, ok := stream.ParseVersion(fmt.Sprintf("%d.%d", major, minor))
		if a != major || b != minor || !ok {
			t.Fatalf("%q: %d.%d became %d.%d", s, major, minor, a, b)
		}
	})
}

func TestAppendOpen(t *testing.T) {
	full := stream.Header{To: "juliet@im.example.com", From: "im.example.com", ID: "++TR84'<&", Lang: "en", Version: "1.0", ContentSpace: xmpp.NSServer}
	tests := []struct {
		name    string
		h       stream.Header
		tcp, ws string
	}{
		{"RFC 6120 4.7 all attributes", full,
			"<?xml version='1.0'?><stream:stream from='im.example.com' to='juliet@im.example.com' id='++TR84&apos;&lt;&amp;' version='1.0' xml:lang='en'" +
				" xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>",
			"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='im.example.com' to='juliet@im.example.com' id='++TR84&apos;&lt;&amp;' version='1.0' xml:lang='en'/>"},
		{"RFC 6120 4.8.2 jabber:client unless said otherwise, absent ones left out", stream.Header{From: "im.example.com"},
			"<?xml version='1.0'?><stream:stream from='im.example.com' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
			"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='im.example.com'/>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.h.AppendOpen([]byte("x"))); got != "x"+tt.tcp {
				t.Errorf("got  %s\nwant x%s", got, tt.tcp)
			}
			if got := string(tt.h.AppendWebSocketOpen([]byte("x"))); got != "x"+tt.ws {
				t.Errorf("got  %s\nwant x%s", got, tt.ws)
			}
			wellFormed(t, string(tt.h.AppendOpen(nil))+"</stream:stream>")
			wellFormed(t, string(tt.h.AppendWebSocketOpen(nil)))
		})
	}
}

// wellFormed checks b with another parser.
func wellFormed(t *testing.T, b string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(b))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
}

func TestErrorAppend(t *testing.T) {
	tests := []struct {
		name string
		e    *stream.Error
		want string // inside <stream:error>
	}{
		{"RFC 6120 4.9.1.1 condition alone", stream.Err(stream.NotWellFormed, ""), "<not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"},
		{"RFC 6120 4.9.4 all parts",
			&stream.Error{Condition: stream.NotWellFormed, Text: "a < b", Lang: "de", App: stanza.El("http://example.org/ns", "escape-your-data")},
			"<not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
				"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='de'>a &lt; b</text><escape-your-data xmlns='http://example.org/ns'/>"},
		{"RFC 6120 4.9.2 the language of a text is told", stream.Err(stream.Reset, "again"),
			"<reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>again</text>"},
		{"RFC 6120 4.9.3.19 see-other-host", &stream.Error{Condition: stream.SeeOtherHost, Data: "[2001:41D0:1:A49b::1]:9222"},
			"<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[2001:41D0:1:A49b::1]:9222</see-other-host>"},
		{"no data in other conditions", &stream.Error{Condition: stream.HostGone, Data: "x"}, "<host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"},
		{"RFC 6120 4.9.2 what is not defined is undefined-condition", stream.Err("a><b", ""), "<undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tcp, ws := string(tt.e.Append([]byte("x"), false)), string(tt.e.Append(nil, true))
			if want := "x<stream:error>" + tt.want + "</stream:error>"; tcp != want {
				t.Errorf("got  %s\nwant %s", tcp, want)
			}
			// RFC 7395 3.3.3
			if want := "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>" + tt.want + "</stream:error>"; ws != want {
				t.Errorf("got  %s\nwant %s", ws, want)
			}
			e, err := stanza.ParseElement(ws, stanza.NoSpace)
			if err != nil || e.Space != xmpp.NSStream || e.Local != "error" {
				t.Errorf("%s: %+v, %v", ws, e, err)
			}
		})
	}
}

// RFC 6120 4.9.3: every condition is written as itself.
func TestConditions(t *testing.T) {
	all := []stream.Condition{
		stream.BadFormat, stream.BadNamespacePrefix, stream.Conflict, stream.ConnectionTimeout, stream.HostGone, stream.HostUnknown,
		stream.ImproperAddressing, stream.InternalServerError, stream.InvalidFrom, stream.InvalidNamespace, stream.InvalidXML,
		stream.NotAuthorized, stream.NotWellFormed, stream.PolicyViolation, stream.RemoteConnectionFailed, stream.Reset,
		stream.ResourceConstraint, stream.RestrictedXML, stream.SeeOtherHost, stream.SystemShutdown, stream.UndefinedCondition,
		stream.UnsupportedEncoding, stream.UnsupportedFeature, stream.UnsupportedStanzaType, stream.UnsupportedVersion,
	}
	for i, c := range all {
		want := "<stream:error><" + string(c) + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
		if got := string(stream.Err(c, "").Append(nil, false)); got != want {
			t.Errorf("RFC 6120 4.9.3.%d: %s", i+1, got)
		}
	}
}

func TestErrorIs(t *testing.T) {
	e := &stream.Error{Condition: stream.Conflict, Text: "t", Lang: "en", Data: "d", App: stanza.El("urn:x", "x")}
	wrapped := fmt.Errorf("c2s: %w", e)
	for _, target := range []*stream.Error{e, {}, {Condition: stream.Conflict}, {Text: "t"}, {Lang: "en"}, {Data: "d"}, {App: stanza.El("urn:x", "x")}} {
		if !errors.Is(wrapped, target) {
			t.Errorf("%+v does not match", target)
		}
	}
	for _, target := range []error{
		&stream.Error{Condition: stream.Reset}, &stream.Error{Text: "x"}, &stream.Error{Lang: "x"}, &stream.Error{Data: "x"},
		&stream.Error{App: stanza.El("urn:x", "y")}, (*stream.Error)(nil), stanza.Err(stanza.Conflict, "t"),
	} {
		if errors.Is(wrapped, target) {
			t.Errorf("%+v matches", target)
		}
	}
	if got, want := e.Error(), "stream error conflict: t"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAsError(t *testing.T) {
	e := stream.Err(stream.Reset, "no")
	if got := stream.AsError(fmt.Errorf("a: %w", e)); got != e {
		t.Errorf("an Error in the chain became %v", got)
	}
	if got := stream.AsError(errors.New("secret")); !reflect.DeepEqual(got, stream.Err(stream.InternalServerError, "")) {
		t.Errorf("another error became %v", got)
	}
	if got := stream.AsError(nil); got != nil {
		t.Errorf("nil became %v", got)
	}
}
