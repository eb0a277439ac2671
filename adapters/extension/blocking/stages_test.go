package blocking_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What becomes of a stanza.
const (
	passes  = "passes"
	dropped = "is dropped"
)

// pass returns what becomes of a stanza in a stage.
func pass(h *extensiontest.Harness, stage extension.Stage, st *stanza.Stanza) string {
	e := extension.Envelope{Stanza: st, Account: st.To.Bare()}
	switch stage {
	case extension.Submit:
		e.Origin = extension.Origin{Session: st.From}
	case extension.Recall:
		e.Session = juliet.Session
	}
	out := h.Stage(stage, e)
	switch {
	case out.Stanza != nil:
		return passes
	case out.Error == nil || st.ErrorReply(out.Error) == nil:
		return dropped
	}
	return string(out.Error.Element().Append(nil, ""))
}

const (
	notAcceptable = "<error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><blocked xmlns='urn:xmpp:blocking:errors'/></error>"
	unavailable   = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)

// TestStanzas is section 3.3: by whose stanza it is, what it is, and where.
func TestStanzas(t *testing.T) { plugintest.InHarness(t, testStanzas) }

func testStanzas(t *testing.T, as plugintest.Way) {
	h := harness(t, as, blocking.Options{})
	play(t, h, []step{{juliet, block("romeo@montague.net", "tybalt@example.org", "rooms.example.org", "room@rooms.example/troll"), done}})
	const in, out, recall = extension.Deliver, extension.Submit, extension.Recall
	tests := []struct {
		section string
		stage   extension.Stage
		stanza  string // with the other address, or with another of its own
		want    string
	}{
		{"3.3 inbound presence", in, "<presence from='romeo@montague.net/x' to='juliet@example.org'/>", dropped},
		{"3.3 inbound presence to a session", in, "<presence from='romeo@montague.net/x' to='juliet@example.org/chamber' type='unavailable'/>", dropped},
		{"3.3 a subscription", in, "<presence from='romeo@montague.net' to='juliet@example.org' type='subscribe'/>", dropped},
		{"3.3 a probe", in, "<presence from='romeo@montague.net' to='juliet@example.org' type='probe'/>", dropped},
		{"3.3 an error about presence", in, "<presence from='romeo@montague.net' to='juliet@example.org' type='error'/>", dropped},
		{"3.3 a message", in, "<message from='romeo@montague.net/x' to='juliet@example.org'/>", unavailable},
		{"3.3 a chat message to a session", in, "<message from='romeo@montague.net/x' to='juliet@example.org/chamber' type='chat'/>", unavailable},
		{"3.3 a headline to a session", in, "<message from='romeo@montague.net/x' to='juliet@example.org/chamber' type='headline'/>", unavailable},
		{"3.3, RFC 6121 8.5.2.2.1 a headline to the account", in, "<message from='romeo@montague.net/x' to='juliet@example.org' type='headline'/>", dropped},
		{"3.3 an error", in, "<message from='romeo@montague.net/x' to='juliet@example.org/chamber' type='error'/>", dropped},
		{"XEP-0045 18.1.2 the word of an occupant", in, "<message from='room@rooms.example/troll' to='juliet@example.org/chamber' type='groupchat'/>", dropped},
		{"XEP-0045 18.1.2 that of another", in, "<message from='room@rooms.example/nurse' to='juliet@example.org/chamber' type='groupchat'/>", passes},
		{"3.3 a private message of an occupant", in, "<message from='room@rooms.example/troll' to='juliet@example.org/chamber' type='chat'/>", unavailable},
		{"3.3 an account that plays a room learns no more than others", in, "<message from='tybalt@example.org/x' to='juliet@example.org/chamber' type='groupchat'/>", unavailable},
		{"3.3 iq get", in, "<iq from='romeo@montague.net/x' to='juliet@example.org/chamber' type='get' id='1'><q xmlns='urn:x'/></iq>", unavailable},
		{"3.3 iq set to the account", in, "<iq from='romeo@montague.net/x' to='juliet@example.org' type='set' id='1'><q xmlns='urn:x'/></iq>", unavailable},
		{"3.3 iq result", in, "<iq from='romeo@montague.net/x' to='juliet@example.org/chamber' type='result' id='1'/>", dropped},
		{"3.3 iq error", in, "<iq from='romeo@montague.net/x' to='juliet@example.org/chamber' type='error' id='1'/>", dropped},

		{"example 9: a message", out, "<message from='juliet@example.org/chamber' to='romeo@montague.net'/>", notAcceptable},
		{"example 9: a message of any type", out, "<message from='juliet@example.org/chamber' to='romeo@montague.net/x' type='headline'/>", notAcceptable},
		{"3.3 an outbound request", out, "<iq from='juliet@example.org/chamber' to='romeo@montague.net/x' type='get' id='1'><q xmlns='urn:x'/></iq>", notAcceptable},
		{"3.3 outbound presence", out, "<presence from='juliet@example.org/chamber' to='romeo@montague.net'/>", notAcceptable},
		{"3.3 an outbound subscription", out, "<presence from='juliet@example.org/chamber' to='romeo@montague.net' type='subscribed'/>", notAcceptable},
		{"3.3 an outbound result", out, "<iq from='juliet@example.org/chamber' to='romeo@montague.net/x' type='result' id='1'/>", dropped},
		{"3.3 an outbound error", out, "<message from='juliet@example.org/chamber' to='romeo@montague.net/x' type='error'/>", dropped},
		{"3.3 to a room, of which one occupant is blocked", out, "<message from='juliet@example.org/chamber' to='room@rooms.example' type='groupchat'/>", passes},
		{"3.3 to nobody", out, "<presence from='juliet@example.org/chamber'/>", passes},

		{"3.3 a message that has waited", recall, "<message from='romeo@montague.net/x' to='juliet@example.org/chamber' type='chat'/>", dropped},
		{"3.3 a request that has waited", recall, "<presence from='romeo@montague.net' to='juliet@example.org' type='subscribe'/>", dropped},
		{"3.3 a message that has waited, of another", recall, "<message from='nurse@montague.net/x' to='juliet@example.org/chamber' type='chat'/>", passes},
	}
	for _, tt := range tests {
		if got := pass(h, tt.stage, extensiontest.Parse(t, tt.stanza)); got != tt.want {
			t.Errorf("%s: %s\n%s, want that it %s", tt.section, tt.stanza, got, tt.want)
		}
		// The same of somebody else, and with nobody blocked.
		other := strings.NewReplacer("romeo@montague.net", "nurse@verona.example", "tybalt@", "nurse@", "/troll", "/nurse").Replace(tt.stanza)
		if got := pass(h, tt.stage, extensiontest.Parse(t, other)); got != passes {
			t.Errorf("%s: %s: %s", tt.section, other, got)
		}
	}
	play(t, h, []step{{juliet, unblock(), done}})
	for _, tt := range tests {
		if got := pass(h, tt.stage, extensiontest.Parse(t, tt.stanza)); got != passes {
			t.Errorf("unblocked: %s: %s", tt.stanza, got)
		}
	}
}

// TestMatching is section 6, both ways, and section 5, note 1.
func TestMatching(t *testing.T) { plugintest.InHarness(t, testMatching) }

func testMatching(t *testing.T, as plugintest.Way) {
	addresses := []string{
		"user@domain.example/resource", "user@domain.example/other", "user@domain.example", "domain.example/resource", "domain.example", "user@sub.domain.example",
		"juliet@example.org/balcony", "juliet@example.org", "example.org", "example.org/x", // itself and its server
		"nurse@example.org/x", "example.net", "nurse@example.net",
	}
	for _, tt := range []struct {
		pattern string
		blocked []int
	}{
		{"user@domain.example/resource", []int{0}},
		{"user@domain.example", []int{0, 1, 2}},
		{"domain.example/resource", []int{3}},
		{"domain.example", []int{0, 1, 2, 3, 4}},
		{"example.org", []int{10}},
		{"example.net", []int{11, 12}},
	} {
		h := harness(t, as, blocking.Options{})
		play(t, h, []step{{juliet, block("a.example", tt.pattern, "z.example"), done}})
		want := map[int]bool{}
		for _, i := range tt.blocked {
			want[i] = true
		}
		for i, a := range addresses {
			in := fmt.Sprintf("<message from='%s' to='juliet@example.org/chamber'/>", a)
			out := fmt.Sprintf("<message to='%s' from='juliet@example.org/chamber'/>", a)
			gotIn, gotOut := pass(h, extension.Deliver, extensiontest.Parse(t, in)), pass(h, extension.Submit, extensiontest.Parse(t, out))
			if (gotIn == unavailable) != want[i] || (gotOut == notAcceptable) != want[i] || !want[i] && (gotIn != passes || gotOut != passes) {
				t.Errorf("pattern %s, %s: in %s, out %s", tt.pattern, a, gotIn, gotOut)
			}
		}
	}
}

// A list of any content is searched without a panic, and as it should be.
func FuzzLookUp(f *testing.F) {
	f.Add("a.example\nb.example\n", "b.example")
	f.Add("a.example\nb.example", "c@b.example/d")
	f.Add("\n\n", "a.example")
	f.Add("a\nb\nc\nd\ne\nf\ng\n", "x@g/y")
	f.Add("c\nb\na\n", "a")
	f.Fuzz(func(t *testing.T, stored, other string) {
		j, err := jid.Parse(other)
		if err != nil {
			return
		}
		h := harness(t, plugintest.Inside, blocking.Options{})
		h.Put(owner, "list", []byte(stored))
		got := pass(h, extension.Deliver, stanza.New(stanza.Header{Kind: stanza.Message, From: j, To: owner}))
		want, sorted, before := passes, strings.HasSuffix(stored, "\n"), ""
		for line := range strings.Lines(stored) {
			line = strings.TrimSuffix(line, "\n")
			sorted = sorted && line > before
			before = line
			if p, err := jid.Parse(line); err == nil && p.String() == line && j.Matches(p) && j.Bare() != owner && j.Bare() != owner.DomainJID() {
				want = unavailable
			}
		}
		if sorted && got != want {
			t.Errorf("list %q, %s: %s, want %s", stored, j, got, want)
		}
	})
}

func BenchmarkLookUp(b *testing.B) {
	for _, n := range []int{1, 1000, 10_000} {
		b.Run(fmt.Sprint(n, " items"), func(b *testing.B) {
			var stored strings.Builder
			for i := range n {
				fmt.Fprintf(&stored, "user%06d@montague.example\n", i)
			}
			var handler extension.StageHandler
			for _, s := range blocking.New(blocking.Options{}).Stages {
				if s.Stage == extension.Deliver {
					handler = s
				}
			}
			h := &extension.Host{Store: oneEntry{[]byte(stored.String())}}
			e := &extension.Envelope{Account: owner, Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("romeo@montague.example/orchard"), To: owner})}
			b.ReportAllocs()
			for b.Loop() {
				if v, err := handler.Handle(b.Context(), h, e); v.Action != extension.Pass || err != nil {
					b.Fatal(v, err)
				}
			}
		})
	}
}

// oneEntry is a Store with one entry.
type oneEntry struct{ value []byte }

func (s oneEntry) Get(context.Context, jid.JID, string) (extension.Entry, bool, error) {
	return extension.Entry{Value: s.value}, true, nil
}
func (oneEntry) Scan(context.Context, jid.JID, string, string, int) ([]extension.Entry, error) {
	return nil, nil
}
func (oneEntry) Put(jid.JID, string, []byte)          {}
func (oneEntry) Delete(jid.JID, string)               {}
func (oneEntry) Swap(jid.JID, string, []byte, uint64) {}
