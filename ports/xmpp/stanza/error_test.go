package stanza_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// RFC 6120 8.3.3: conditions by section, with the type that each associates.
var conditions = []struct {
	section string
	c       stanza.Condition
	t       stanza.ErrorType
}{
	{"8.3.3.1", stanza.BadRequest, "modify"},
	{"8.3.3.2", stanza.Conflict, "cancel"},
	{"8.3.3.3", stanza.FeatureNotImplemented, "cancel"},
	{"8.3.3.4", stanza.Forbidden, "auth"},
	{"8.3.3.5", stanza.Gone, "cancel"},
	{"8.3.3.6", stanza.InternalServerError, "cancel"},
	{"8.3.3.7", stanza.ItemNotFound, "cancel"},
	{"8.3.3.8", stanza.JIDMalformed, "modify"},
	{"8.3.3.9", stanza.NotAcceptable, "modify"},
	{"8.3.3.10", stanza.NotAllowed, "cancel"},
	{"8.3.3.11", stanza.NotAuthorized, "auth"},
	{"8.3.3.12", stanza.PolicyViolation, "modify"},
	{"8.3.3.13", stanza.RecipientUnavailable, "wait"},
	{"8.3.3.14", stanza.Redirect, "modify"},
	{"8.3.3.15", stanza.RegistrationRequired, "auth"},
	{"8.3.3.16", stanza.RemoteServerNotFound, "cancel"},
	{"8.3.3.17", stanza.RemoteServerTimeout, "wait"},
	{"8.3.3.18", stanza.ResourceConstraint, "wait"},
	{"8.3.3.19", stanza.ServiceUnavailable, "cancel"},
	{"8.3.3.20", stanza.SubscriptionRequired, "auth"},
	{"8.3.3.21", stanza.UndefinedCondition, "cancel"},
	{"8.3.3.22", stanza.UnexpectedRequest, "wait"},
}

func TestDefaultType(t *testing.T) {
	for _, tt := range conditions {
		if got := tt.c.DefaultType(); got != tt.t {
			t.Errorf("RFC 6120 %s %s: %s, want %s", tt.section, tt.c, got, tt.t)
		}
	}
}

func TestErrorElement(t *testing.T) {
	tests := []struct {
		name string
		e    *stanza.Error
		want string
	}{
		{"RFC 6120 8.3.3.1", stanza.Err(stanza.BadRequest, ""),
			"<error type='modify'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"},
		{"RFC 6120 8.3.2 all parts",
			&stanza.Error{Type: stanza.WaitType, Condition: stanza.NotAcceptable, By: "example.com", Text: "a < b", Lang: "de", App: stanza.El("urn:app", "x")},
			"<error by='example.com' type='wait'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
				"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='de'>a &lt; b</text><x xmlns='urn:app'/></error>"},
		{"RFC 6120 8.3.2 the language of a text is told", stanza.Err(stanza.Conflict, "no"),
			"<error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
				"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no</text></error>"},
		{"RFC 6120 8.3.3.5 address of gone", &stanza.Error{Condition: stanza.Gone, Data: "xmpp:a@b"},
			"<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:a@b</gone></error>"},
		{"RFC 6120 8.3.3.14 address of redirect", &stanza.Error{Condition: stanza.Redirect, Data: "xmpp:a@b"},
			"<error type='modify'><redirect xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:a@b</redirect></error>"},
		{"no data in other conditions", &stanza.Error{Condition: stanza.Forbidden, Data: "xmpp:a@b"},
			"<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"},
		{"RFC 6120 8.3.2 what is not defined is undefined-condition", &stanza.Error{Type: "x'", Condition: "a><b"},
			"<error type='cancel'><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.e.Element().Append(nil, "")); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestParseErrorReverses(t *testing.T) {
	for _, tt := range conditions {
		for _, e := range []*stanza.Error{
			{Type: tt.t, Condition: tt.c},
			{Type: stanza.Continue, Condition: tt.c, By: "example.com", Text: "text", Lang: "de",
				App: stanza.El("urn:app", "x", stanza.At("k", "v")).WithText("y")},
		} {
			if tt.c == stanza.Gone || tt.c == stanza.Redirect {
				e.Data = "xmpp:a@b"
			}
			s := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.TypeError}, stanza.El("urn:q", "query"), e.Element())
			if got := stanza.ParseError(s); !reflect.DeepEqual(got, e) {
				t.Errorf("%s became %+v, want %+v", s, got, e)
			}
		}
	}
}

func TestParseErrorOfOthers(t *testing.T) {
	const ns = " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
	tests := []struct {
		name, content string
		want          stanza.Error
	}{
		{"no error element", "<body/>", stanza.Error{Type: "cancel", Condition: "undefined-condition"}},
		{"nothing", "", stanza.Error{Type: "cancel", Condition: "undefined-condition"}},
		{"no condition", "<error type='wait'/>", stanza.Error{Type: "wait", Condition: "undefined-condition"}},
		{"RFC 6120 8.3.2 unknown condition", "<error type='auth'><tired" + ns + "/></error>", stanza.Error{Type: "auth", Condition: "undefined-condition"}},
		{"condition in the wrong namespace", "<error><conflict/></error>", stanza.Error{Type: "cancel", Condition: "undefined-condition"}},
		{"unknown type", "<error type='tired'><forbidden" + ns + "/></error>", stanza.Error{Type: "auth", Condition: "forbidden"}},
		{"no type (legacy code alone)", "<error code='404'><item-not-found" + ns + "/></error>", stanza.Error{Type: "cancel", Condition: "item-not-found"}},
		{"two conditions: the first", "<error><gone" + ns + ">\n xmpp:a@b\n </gone><conflict" + ns + "/></error>",
			stanza.Error{Type: "cancel", Condition: "gone", Data: "xmpp:a@b"}},
		{"text before the condition, in two languages",
			"<error type='wait'><text" + ns + " xml:lang='de'>ja</text><text" + ns + ">yes</text><x xmlns='urn:x'/><y xmlns='urn:y'/><conflict" + ns + "/></error>",
			stanza.Error{Type: "wait", Condition: "conflict", Text: "ja", Lang: "de", App: stanza.El("urn:x", "x")}},
		{"error in the wrong namespace", "<error xmlns='urn:x' type='wait'/>", stanza.Error{Type: "cancel", Condition: "undefined-condition"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stanza.Raw(stanza.Header{Kind: stanza.Message, Type: stanza.TypeError}, "", tt.content, nil)
			if got := stanza.ParseError(s); !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestErrorIs(t *testing.T) {
	app := stanza.El("urn:x", "x")
	e := &stanza.Error{Condition: stanza.ItemNotFound, By: "example.com", Text: "t", Lang: "en", Data: "d", App: app}
	wrapped := fmt.Errorf("roster: load: %w", e)
	for _, target := range []*stanza.Error{
		e, {}, {Condition: stanza.ItemNotFound}, {Type: stanza.Cancel}, {By: "example.com"}, {Text: "t"}, {Lang: "en"}, {Data: "d"}, {App: stanza.El("urn:x", "x")},
	} {
		if !errors.Is(wrapped, target) {
			t.Errorf("%+v does not match", target)
		}
	}
	for _, target := range []error{
		&stanza.Error{Condition: stanza.Conflict}, &stanza.Error{Type: stanza.WaitType}, &stanza.Error{By: "x"}, &stanza.Error{Text: "x"},
		&stanza.Error{Lang: "x"}, &stanza.Error{Data: "x"}, &stanza.Error{App: stanza.El("urn:x", "y")}, (*stanza.Error)(nil), errors.New("x"),
	} {
		if errors.Is(wrapped, target) {
			t.Errorf("%+v matches", target)
		}
	}
	if got, want := e.Error(), "stanza error item-not-found (cancel) by example.com: t"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAsError(t *testing.T) {
	e := stanza.Err(stanza.Forbidden, "no")
	if got := stanza.AsError(fmt.Errorf("a: %w", fmt.Errorf("b: %w", e))); got != e {
		t.Errorf("an Error in the chain became %v", got)
	}
	got := stanza.AsError(errors.New("secret"))
	if !reflect.DeepEqual(got, stanza.Err(stanza.InternalServerError, "")) {
		t.Errorf("another error became %v", got)
	}
	if got := stanza.AsError(nil); got != nil {
		t.Errorf("nil became %v", got)
	}
}

func TestErrorReply(t *testing.T) {
	e := stanza.Err(stanza.ServiceUnavailable, "")
	for _, tt := range []struct {
		name string
		kind stanza.Kind
		typ  string
		none bool
	}{
		{"RFC 6120 8.3.1 message", stanza.Message, stanza.Chat, false},
		{"RFC 6120 8.3.1 message without type", stanza.Message, "", false},
		{"RFC 6120 8.3.1 presence", stanza.Presence, stanza.Probe, false},
		{"RFC 6120 8.2.3 iq get", stanza.IQ, stanza.Get, false},
		{"RFC 6120 8.2.3 iq set", stanza.IQ, stanza.Set, false},
		{"RFC 6120 8.3.3.1 iq of unknown type", stanza.IQ, "subscribe", false},
		{"RFC 6120 8.3.1 rule 8 message error", stanza.Message, stanza.TypeError, true},
		{"RFC 6120 8.3.1 rule 8 presence error", stanza.Presence, stanza.TypeError, true},
		{"RFC 6120 8.3.1 rule 8 iq error", stanza.IQ, stanza.TypeError, true},
		{"RFC 6120 8.2.3 iq result", stanza.IQ, stanza.Result, true},
		{"a message of type result is only an unknown type", stanza.Message, stanza.Result, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stanza.New(stanza.Header{Kind: tt.kind, Type: tt.typ, ID: "a&b", To: juliet, From: romeo}, stanza.El("", "body"))
			r := s.ErrorReply(e)
			if tt.none {
				if r != nil {
					t.Errorf("answered with %s", r)
				}
				return
			}
			want := "<" + tt.kind.String() + " xmlns='" + xmpp.NSClient + "' from='juliet@example.com/balcony' to='romeo@example.net/orchard' id='a&amp;b' type='error'>" +
				"<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></" + tt.kind.String() + ">"
			if r.String() != want {
				t.Errorf("got  %s\nwant %s", r, want)
			}
			if s.ErrorReply(nil) != nil {
				t.Error("an answer without an error")
			}
		})
	}
}

func TestErrorReplyEchoes(t *testing.T) {
	s := stanza.New(stanza.Header{Kind: stanza.Presence, To: juliet, From: romeo}, stanza.El("urn:x", "x"), stanza.El("", "status"))
	e := stanza.Err(stanza.Conflict, "")
	e.Echo = stanza.El("urn:x", "x")
	if got := s.ErrorReply(e).Content(); !strings.HasPrefix(got, "<x xmlns='urn:x'/><error ") || strings.Contains(got, "status") {
		t.Errorf("XEP-0045 7.2.5: %s", got)
	}
	if errors.Is(e, stanza.Err(stanza.Conflict, "")) != true {
		t.Error("what comes back makes another error of it")
	}
}

func FuzzParseError(f *testing.F) {
	for _, s := range []string{"", "<error/>", "<error type='wait'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>x</gone><x xmlns='y'/></error>",
		"<error><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang=''> </text></error>", "<error", "<error xmlns='jabber:client'/>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		s := stanza.Raw(stanza.Header{Kind: stanza.IQ, Type: stanza.TypeError}, "", content, nil)
		e := stanza.ParseError(s)
		again := stanza.ParseError(stanza.New(s.Header, e.Element()))
		if e.Lang == "" && e.Text != "" {
			e.Lang = "en"
		}
		if e.Text == "" {
			e.Lang = "" // a text that is empty is not written
		}
		if e.App != nil {
			e.App = readBack(e.App, "")
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("%q: %+v became %+v", content, e, again)
		}
	})
}
