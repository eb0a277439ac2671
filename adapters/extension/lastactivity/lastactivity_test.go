package lastactivity_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/lastactivity"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestSuite(t *testing.T) { extensiontest.Run(t, lastactivity.New) }

const (
	juliet = "juliet@example.org"
	romeo  = "romeo@example.net" // is subscribed to juliet
	tybalt = "tybalt@example.org"
)

func newHarness(t *testing.T) *extensiontest.Harness {
	t.Helper()
	h := extensiontest.New(t, lastactivity.New(), extensiontest.Options{})
	for _, user := range []string{juliet, romeo, tybalt} {
		h.Accounts.Add(user, "secret")
	}
	h.Subscribe(juliet, romeo)
	h.Subscribe(tybalt, juliet)
	return h
}

// ask is a request of a session of an account; to "" is no address.
func ask(t *testing.T, h *extensiontest.Harness, from, to string) *stanza.Stanza {
	t.Helper()
	if to != "" {
		to = "to='" + to + "' "
	}
	return h.IQ(extensiontest.Client(from+"/r"), extensiontest.Parse(t, "<iq type='get' "+to+"id='last1'><query xmlns='jabber:iq:last'/></iq>"))
}

// result is the answer with that content.
func result(from, to, content string) string {
	if from != "" {
		from = "from='" + from + "' "
	}
	return "<iq type='result' " + from + "to='" + to + "/r' id='last1'>" + content + "</iq>"
}

func refused(from, to, typ, condition string) string {
	return strings.Replace(result(from, to, "<error type='"+typ+"'><"+condition+" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"), "result", "error", 1)
}

func query(seconds int, status string) string {
	return fmt.Sprintf("<query xmlns='jabber:iq:last' seconds='%d'>%s</query>", seconds, status)
}

// leaves tells that a session of an account has become unavailable just now.
func leaves(t *testing.T, h *extensiontest.Harness, full, content string) {
	t.Helper()
	h.Notice(extension.Notice{Event: extension.BecameUnavailable, Session: jid.MustParse(full), At: h.Now(),
		Presence: extensiontest.Parse(t, "<presence type='unavailable' from='"+full+"'>"+content+"</presence>")})
}

func TestUptime(t *testing.T) { // XEP-0012 5
	h := newHarness(t)
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 0}, {1999 * time.Millisecond, 1}, {time.Millisecond, 2}, {34*time.Hour + 17*time.Minute + 34*time.Second, 123456}} {
		h.Advance(step.after)
		extensiontest.Expect(t, ask(t, h, romeo, "example.org"), result("example.org", romeo, query(step.want, "")))
	}
	extensiontest.Expect(t, ask(t, h, romeo, "example.net"), result("example.net", romeo, query(123456, "")))
}

func TestOfflineUser(t *testing.T) { // XEP-0012 3
	for _, row := range []struct {
		rule string
		does func(h *extensiontest.Harness)
		want string // of the answer's content; "" is item-not-found
	}{
		{"never available", func(*extensiontest.Harness) {}, ""},
		{"example 5", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<status>Heading Home</status>")
			h.Advance(903 * time.Second)
		}, query(903, "Heading Home")},
		{"without a status", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "")
			h.Advance(903*time.Second + 999*time.Millisecond)
		}, query(903, "")},
		{"just now", func(h *extensiontest.Harness) { leaves(t, h, juliet+"/balcony", "") }, query(0, "")},
		{"the last of several sessions counts", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<status>first</status>")
			h.Advance(time.Minute)
			leaves(t, h, juliet+"/chamber", "<status>second</status>")
			h.Advance(time.Second)
		}, query(1, "second")},
		{"and so does its lack of a status", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<status>first</status>")
			leaves(t, h, juliet+"/chamber", "")
		}, query(0, "")},
		{"of several languages the first", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<show/><status xml:lang='en'>Home</status><status xml:lang='cs'>Domů</status>")
		}, query(0, "Home")},
		{"a status of another namespace is none", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<status xmlns='urn:x'>Home</status>")
		}, query(0, "")},
		{"markup", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<status>&lt;b&gt; &amp; \n</status>")
		}, query(0, "&lt;b&gt; &amp; \n")},
		{"a long status is cut, between characters", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<status>x"+strings.Repeat("ů", 1000)+"</status>")
		}, query(0, "x"+strings.Repeat("ů", 511))},
		{"the clock was set back", func(h *extensiontest.Harness) {
			n := extension.Notice{Event: extension.BecameUnavailable, Session: jid.MustParse(juliet + "/a"), At: h.Now().Add(time.Hour),
				Presence: extensiontest.Parse(t, "<presence type='unavailable'/>")}
			h.Notice(n)
		}, query(0, "")},
		{"a session that is available", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<status>gone</status>")
			h.Advance(time.Minute)
			h.AddSession(extension.Session{JID: jid.MustParse(juliet + "/a")})
			h.AddSession(extension.Session{JID: jid.MustParse(juliet + "/b"), Available: true, Priority: -1})
		}, query(0, "")},
		{"a session that is not available hides", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "<status>gone</status>")
			h.Advance(time.Minute)
			h.AddSession(extension.Session{JID: jid.MustParse(juliet + "/a")})
		}, query(60, "gone")},
		{"another's session is none", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "")
			h.Advance(time.Minute)
			h.AddSession(extension.Session{JID: jid.MustParse(tybalt + "/a"), Available: true})
			leaves(t, h, tybalt+"/a", "<status>thou art a villain</status>")
		}, query(60, "")},
		{"an account that was removed and made anew", func(h *extensiontest.Harness) {
			leaves(t, h, juliet+"/balcony", "")
			if err := h.Accounts.Remove(t.Context(), jid.MustParse(juliet)); err != nil {
				t.Error(err)
			}
			h.Accounts.Add(juliet, "another")
		}, ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			h := newHarness(t)
			row.does(h)
			for from, to := range map[string]string{romeo: juliet, juliet: juliet} {
				want := result(to, from, row.want)
				if row.want == "" {
					want = refused(to, from, "cancel", "item-not-found")
				}
				extensiontest.Expect(t, ask(t, h, from, to), want)
			}
			want := result("", juliet, row.want)
			if row.want == "" {
				want = refused("", juliet, "cancel", "item-not-found")
			}
			extensiontest.Expect(t, ask(t, h, juliet, ""), want)
		})
	}
}

// XEP-0012 3 and 8: whoever may not see the presence of an account learns nothing:
// neither whether it is online, nor whether it is there.
func TestStrangers(t *testing.T) {
	h := newHarness(t)
	leaves(t, h, juliet+"/balcony", "<status>secret</status>")
	h.AddSession(extension.Session{JID: jid.MustParse(romeo + "/r"), Available: true})
	for _, row := range []struct{ from, to string }{
		{tybalt, juliet},                    // offline; she sees his presence, he does not see hers
		{tybalt, romeo},                     // online
		{juliet, romeo},                     // sees hers, not the other way
		{tybalt, "nobody@" + "example.org"}, // not there
	} {
		extensiontest.Expect(t, ask(t, h, row.from, row.to), refused(row.to, row.from, "auth", "forbidden"))
	}
}

// XEP-0012 4 and 8: a request to a full JID reaches the client if its sender may see
// the account's presence; else it looks as if there were no such session.
func TestFullJIDs(t *testing.T) {
	h := newHarness(t)
	h.AddSession(extension.Session{JID: jid.MustParse(juliet + "/balcony"), Available: true})
	h.AddSession(extension.Session{JID: jid.MustParse(tybalt + "/crypt")})
	const last, other = "<query xmlns='jabber:iq:last'/>", "<query xmlns='jabber:iq:version'/>"
	for _, row := range []struct {
		rule, from, to, typ, content string
		reaches                      bool
	}{
		{"a subscriber", romeo, juliet + "/balcony", "get", last, true},
		{"another resource of her own", juliet, juliet + "/balcony", "get", last, true},
		{"a stranger", tybalt, juliet + "/balcony", "get", last, false},
		{"a stranger, to one that is not there", tybalt, juliet + "/cellar", "get", last, false},
		{"a subscriber, to an account that is not available", juliet, tybalt + "/crypt", "get", last, false},
		{"a stranger, to an account that is not there", romeo, "nobody@example.org/x", "get", last, false},
		{"an answer", tybalt, juliet + "/balcony", "result", last, true},
		{"a set, which means nothing", tybalt, juliet + "/balcony", "set", last, true},
		{"another request", tybalt, juliet + "/balcony", "get", other, true},
		{"the account itself, which another handler answers", tybalt, juliet, "get", last, true},
	} {
		s := extensiontest.Parse(t, "<iq type='"+row.typ+"' to='"+row.to+"' id='1'>"+row.content+"</iq>")
		out := h.Stage(extension.Deliver, extension.Envelope{Stanza: s, Origin: extensiontest.Client(row.from + "/r"), Account: s.To.Bare()})
		if reaches := out.Stanza != nil && out.Error == nil; reaches != row.reaches {
			t.Errorf("%s: %+v", row.rule, out)
		}
		if e := out.Error; e != nil && (e.Condition != stanza.ServiceUnavailable || e.Text != "") {
			t.Errorf("%s: %v differs from the answer of a resource that is not there", row.rule, e)
		}
	}
}

// What can't be read is an error without a hint, to a stranger as to a contact, and
// does not become a wrong answer.
func TestStoreThatFails(t *testing.T) {
	h := newHarness(t)
	leaves(t, h, juliet+"/balcony", "")
	h.FailStore(errors.New("disk on fire"))
	extensiontest.Expect(t, ask(t, h, romeo, juliet), refused(juliet, romeo, "cancel", "internal-server-error"))
	if errs := h.Errors(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "disk on fire") {
		t.Error(errs)
	}
	h.FailStore(nil)
	h.Put(jid.MustParse(juliet), "left", []byte("not JSON"))
	extensiontest.Expect(t, ask(t, h, romeo, juliet), refused(juliet, romeo, "cancel", "internal-server-error"))
	if errs := h.Errors(); len(errs) != 1 {
		t.Error(errs)
	}
	leaves(t, h, juliet+"/balcony", "") // which mends it
	extensiontest.Expect(t, ask(t, h, romeo, juliet), result(juliet, romeo, query(0, "")))
}

// The record is kept as long as it takes, whoever restarts: what is stored is read by
// another instance.
func TestRecordSurvives(t *testing.T) {
	first := newHarness(t)
	leaves(t, first, juliet+"/balcony", "<status>Heading Home</status>")
	e, ok := first.Entry(jid.MustParse(juliet), "left")
	if !ok {
		t.Fatal("nothing is stored")
	}
	if want := `{"at":"2026-01-02T03:04:05Z","status":"Heading Home"}`; string(e.Value) != want {
		t.Errorf("stored %s, want %s", e.Value, want)
	}
	second := newHarness(t)
	second.Put(jid.MustParse(juliet), "left", e.Value)
	second.Advance(903 * time.Second)
	extensiontest.Expect(t, ask(t, second, romeo, juliet), result(juliet, romeo, query(903, "Heading Home")))
	extensiontest.Expect(t, ask(t, second, romeo, "example.org"), result("example.org", romeo, query(903, "")))
}

func TestFeature(t *testing.T) { // XEP-0012 6
	reg := lastactivity.New()
	for _, d := range []extension.Disco{reg.Server, reg.Account} {
		if !slices.Equal(d.Features, []string{"jabber:iq:last"}) {
			t.Errorf("features %q", d.Features)
		}
	}
}
