package mam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return mam.New(mam.Options{Retention: time.Hour}) })
}

var (
	juliet  = extensiontest.Client("juliet@example.org/chamber")
	balcony = extensiontest.Client("juliet@example.org/balcony")
	romeo   = extensiontest.Client("romeo@example.org/orchard")
	owner   = juliet.Session.Bare()
)

func harness(t testing.TB, o mam.Options) *extensiontest.Harness {
	h := extensiontest.New(t, mam.New(o), extensiontest.Options{})
	for _, c := range []extension.Origin{juliet, balcony, romeo} {
		h.AddSession(extension.Session{JID: c.Session, Available: true})
	}
	h.Accounts.Add("juliet@example.org", "secret")
	h.Accounts.Add("romeo@example.org", "secret")
	return h
}

// message is one with a type and content.
func message(from, to, typ, content string) *stanza.Stanza {
	if typ != "" {
		typ = " type='" + typ + "'"
	}
	s, err := stanza.ParseElement("<message from='"+from+"' to='"+to+"'"+typ+" id='1'>"+content+"</message>", "")
	if err != nil {
		panic(err)
	}
	h := stanza.Header{Kind: stanza.Message, Type: s.Attr("type"), ID: "1"}
	if from != "" {
		h.From = jid.MustParse(from)
	}
	if to != "" {
		h.To = jid.MustParse(to)
	}
	return stanza.New(h, s.Elements()...)
}

const body = "<body>hi</body>"

// rules are 6.1.1, and XEP-0334.
var rules = []struct {
	rule, typ, content string
	kept               bool
}{
	{"XEP-0313 6.1.1 chat with a body", "chat", body, true},
	{"XEP-0313 6.1.1 normal with a body", "normal", body, true},
	{"XEP-0313 6.1.1, RFC 6121 5.2.2 no type", "", body, true},
	{"XEP-0313 6.1.1, RFC 6121 5.2.2 an unknown type", "strange", body, true},
	{"XEP-0313 6.1.1 a headline", "headline", body, false},
	{"XEP-0313 6.1.1 groupchat", "groupchat", body, false},
	{"XEP-0313 6.1.1 an error", "error", body + "<error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", false},
	{"XEP-0313 6.1.1 without anything", "chat", "", false},
	{"a subject alone", "normal", "<subject>s</subject>", true},
	{"XEP-0334 4.1 no-permanent-store", "chat", body + "<no-permanent-store xmlns='urn:xmpp:hints'/>", false},
	{"XEP-0334 4.2 no-store", "chat", body + "<no-store xmlns='urn:xmpp:hints'/>", false},
	{"XEP-0334 4.3 no-copy", "chat", body + "<no-copy xmlns='urn:xmpp:hints'/>", true},
	{"XEP-0334 4.4 store", "chat", "<x xmlns='urn:x'/><store xmlns='urn:xmpp:hints'/>", true},
	{"XEP-0334 4.4 store of a headline", "headline", body + "<store xmlns='urn:xmpp:hints'/>", true},
	{"XEP-0334 4.4 store of an error", "error", body + "<store xmlns='urn:xmpp:hints'/>", false},
	{"XEP-0334 4.4 store of groupchat", "groupchat", body + "<store xmlns='urn:xmpp:hints'/>", false},
	{"XEP-0334 both", "chat", body + "<store xmlns='urn:xmpp:hints'/><no-store xmlns='urn:xmpp:hints'/>", false},
	{"XEP-0085 a chat state", "chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/><thread>1</thread>", false},
	{"XEP-0085 a chat state with a body", "chat", body + "<active xmlns='http://jabber.org/protocol/chatstates'/>", true},
	{"XEP-0184 a receipt", "chat", "<received xmlns='urn:xmpp:receipts' id='1'/>", true},
	{"XEP-0184 a request alone", "chat", "<request xmlns='urn:xmpp:receipts'/>", false},
	{"XEP-0333 a marker", "chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", true},
	{"XEP-0333 markable alone", "chat", "<markable xmlns='urn:xmpp:chat-markers:0'/>", false},
	{"XEP-0380 something encrypted", "chat", "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>", true},
	{"XEP-0384 OMEMO", "chat", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", true},
	{"XEP-0444 a reaction", "chat", "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", true},
	{"XEP-0424 a retraction", "chat", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>", true},
	{"XEP-0353 a call", "chat", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>", true},
	{"XEP-0353 ringing", "chat", "<ringing xmlns='urn:xmpp:jingle-message:0' id='1'/>", false},
	{"XEP-0249 a direct invitation", "", "<x xmlns='jabber:x:conference' jid='room@c.example'/>", true},
	{"XEP-0045 7.8.2 a mediated invitation", "", "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b.example'/></x>", true},
	{"XEP-0045 a room's word", "", "<x xmlns='http://jabber.org/protocol/muc#user'><status code='100'/></x>", false},
	{"XEP-0060 an event", "", "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", false},
	{"XEP-0313 4.2 a result", "", "<result xmlns='urn:xmpp:mam:2' id='1'/>", false},
	{"XEP-0280 a copy", "chat", "<sent xmlns='urn:xmpp:carbons:2'/>", false},
	{"something unknown", "chat", "<x xmlns='urn:x'/>", false},
}

func TestRules(t *testing.T) {
	for _, c := range rules {
		t.Run(c.rule, func(t *testing.T) {
			h := harness(t, mam.Options{})
			sent := message("", "romeo@example.org/orchard", c.typ, c.content)
			out := h.Stage(extension.Submit, extension.Envelope{Stanza: sent, Origin: juliet})
			rows := h.Rows(owner)
			if out.Stanza == nil || out.Stanza.Content() != sent.Content() || (len(rows) == 1) != c.kept || (out.ArchiveID != "") != c.kept {
				t.Fatalf("sent: %+v, %d rows", out, len(rows))
			}
			if c.kept {
				want := storage.Row{Space: "mam", Owner: owner, ID: rows[0].ID, Stamp: h.Now().Truncate(time.Millisecond), With: romeo.Session, XML: out.Stanza.String()}
				if rows[0] != want {
					t.Errorf("got %+v, want %+v", rows[0], want)
				}
			}

			came := message("nurse@far.example/x", owner.String(), c.typ, c.content)
			out = h.Stage(extension.Deliver, extension.Envelope{Stanza: came, Account: owner})
			rows = h.Rows(owner)
			if !c.kept {
				if out.Stanza != came || len(rows) != 0 {
					t.Errorf("came: %+v, %d rows", out, len(rows))
				}
				return
			}
			if len(rows) != 2 || rows[1].With != came.From || rows[1].XML != came.String() {
				t.Fatalf("came: %+v", rows)
			}
			ids := ids(out.Stanza, owner)
			if len(ids) != 1 || !strings.HasPrefix(out.Stanza.Content(), came.Content()) {
				t.Errorf("XEP-0313 3.5: %s", out.Stanza)
			}
		})
	}
}

// ids are the stanza ids in the name of an account (XEP-0359).
func ids(st *stanza.Stanza, by jid.JID) (ids []string) {
	for _, c := range st.Children() {
		if e := st.Element(c); c.Space == "urn:xmpp:sid:0" && c.Local == "stanza-id" && e.Attr("by") == by.String() {
			ids = append(ids, e.Attr("id"))
		}
	}
	return ids
}

// Who has a message, in which stage, and who is told of the ID.
func TestWhoKeeps(t *testing.T) {
	h := harness(t, mam.Options{})
	keeps := func(stage extension.Stage, o extension.Origin, st *stanza.Stanza) bool {
		before := len(h.Rows(owner))
		h.Stage(stage, extension.Envelope{Stanza: st, Origin: o, Account: owner})
		return len(h.Rows(owner)) > before
	}
	for _, c := range []struct {
		rule  string
		stage extension.Stage
		from  string
		to    string
		typ   string
		want  bool
	}{
		{"XEP-0313 6.1.1 to oneself: once, when it comes", extension.Submit, juliet.Session.String(), owner.String(), "chat", false},
		{"XEP-0313 6.1.1 to oneself without an address", extension.Submit, juliet.Session.String(), "", "chat", false},
		{"XEP-0313 6.1.1 to another resource", extension.Submit, juliet.Session.String(), balcony.Session.String(), "chat", false},
		{"XEP-0313 6.1.1 from oneself", extension.Deliver, juliet.Session.String(), owner.String(), "chat", true},
		{"to a far domain", extension.Submit, juliet.Session.String(), "a@far.example", "chat", true},
		{"from a far domain", extension.Deliver, "far.example", owner.String(), "chat", true},
		{"chat to a resource that is gone, which others get", extension.Deliver, "a@far.example", owner.String() + "/gone", "chat", true},
		{"XEP-0313 6.1 normal to a resource that is gone comes back", extension.Deliver, "a@far.example", owner.String() + "/gone", "", false},
		{"normal to a resource", extension.Deliver, "a@far.example", balcony.Session.String(), "", true},
	} {
		o := juliet
		if c.stage == extension.Deliver {
			o = extensiontest.Far()
		}
		if got := keeps(c.stage, o, message(c.from, c.to, c.typ, body)); got != c.want {
			t.Errorf("%s: kept %v", c.rule, got)
		}
	}
	nobody := jid.MustParse("nobody@example.org")
	out := h.Stage(extension.Deliver, extension.Envelope{Stanza: message("a@far.example", nobody.String(), "chat", body), Account: nobody})
	if out.Stanza == nil || len(h.Rows(nobody)) != 0 {
		t.Errorf("to an account that is not there: %+v", out)
	}
}

// A message that the archive can't take is refused (design: nobody reads what failed
// to be kept).
func TestStorageFails(t *testing.T) {
	h := harness(t, mam.Options{})
	h.FailStore(fmt.Errorf("disk full"))
	for _, stage := range []extension.Stage{extension.Submit, extension.Deliver} {
		out := h.Stage(stage, extension.Envelope{Stanza: message("juliet@example.org/chamber", "romeo@example.org", "chat", body), Account: romeo.Session.Bare(), Origin: juliet})
		if out.Stanza != nil || out.Error == nil || out.Error.Condition != stanza.InternalServerError {
			t.Errorf("stage %d: %+v", stage, out)
		}
	}
	h.FailStore(nil)
	if n := len(h.Errors()); n != 2 {
		t.Errorf("%d errors in the log", n)
	}
}

func TestRetention(t *testing.T) {
	for name, c := range map[string]struct {
		o    mam.Options
		want int
	}{"a year": {mam.Options{Retention: 365 * 24 * time.Hour}, 1}, "for ever": {mam.Options{}, 12_002}} {
		t.Run(name, func(t *testing.T) {
			h := harness(t, c.o)
			n := uint64(0)
			add := func(ago time.Duration) {
				at := h.Now().Add(-ago)
				n++
				h.AppendRow(storage.Row{Owner: owner, ID: uint64(at.UnixMicro())<<11 + n, Stamp: at, With: romeo.Session, XML: "<message xmlns='jabber:client'/>"})
			}
			for range 12_000 { // more than at one time
				add(400 * 24 * time.Hour)
			}
			add(366 * 24 * time.Hour)
			add(364 * 24 * time.Hour)
			h.Advance(2 * time.Minute)
			if n := len(h.Rows(owner)); n != c.want {
				t.Errorf("%d are left, want %d", n, c.want)
			}
			h.FailStore(fmt.Errorf("gone")) // it goes on
			h.Advance(2 * time.Hour)
			h.FailStore(nil)
			h.Advance(2 * 24 * time.Hour)
			if n := len(h.Rows(owner)); n != max(c.want-1, 0) && c.o.Retention > 0 {
				t.Errorf("%d are left two days later", n)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []mam.Options{{Retention: -1}, {MaxPage: -1}, {MaxPage: 501}} {
		if o.Validate() == nil {
			t.Errorf("%+v", o)
		}
	}
	for _, o := range []mam.Options{{}, {Retention: time.Hour, MaxPage: 500}} {
		if err := o.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// What a registration tells (7), and to whom it answers.
func TestRegistration(t *testing.T) {
	r := mam.New(mam.Options{})
	want := []string{"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field", "urn:xmpp:sid:0"}
	if !slices.Equal(r.Account.Features, want) || len(r.Server.Features) != 0 {
		t.Errorf("account %q, server %q", r.Account.Features, r.Server.Features)
	}
}
