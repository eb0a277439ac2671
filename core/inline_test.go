package core_test

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/carbons"
	"github.com/hexmpp/hexmpp/adapters/extension/csi"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// longest is the content of a payload that is as long as a stanza may be, and has as
// many elements in it as can be.
var longest = strings.Repeat("<a/>", 65_000)

// inlineRows are long payloads where the goroutine that reads a stream looks into
// the payload.
var inlineRows = []struct{ name, from, xml string }{
	{"priority", "juliet", "<presence><priority>" + longest + "</priority></presence>"},
	{"capabilities", "juliet", "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='q07IKJEyjvHSyhy//CH0CxmKi8w='>" + longest + "</c></presence>"},
	{"disco#info", "juliet", "<iq type='get' id='1' to='example.test'><query xmlns='http://jabber.org/protocol/disco#info'>" + longest + "</query></iq>"},
	{"disco#items", "juliet", "<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#items'>" + longest + "</query></iq>"},
	{"roster get", "juliet", "<iq type='get' id='1'><query xmlns='jabber:iq:roster'>" + longest + "</query></iq>"},
	{"carbons of a message", "romeo", "<message to='juliet@example.test' type='chat'><x xmlns='http://jabber.org/protocol/muc#user'>" + longest + "</x></message>"},
	{"presence for an inactive client", "romeo", "<presence to='juliet@example.test/b'><x xmlns='http://jabber.org/protocol/muc#user'>" + longest + "</x></presence>"},
	{"a message for an inactive client", "romeo", "<message to='juliet@example.test/b' type='chat'><event xmlns='http://jabber.org/protocol/pubsub#event'>" + longest + "</event></message>"},
}

// inlineWorld has juliet, of whose clients b has carbons and is inactive, and romeo.
func inlineWorld(t testing.TB) map[string]*pipe {
	k := benchKernel(t, carbons.New(), csi.New(csi.Options{Presence: true, ChatStates: true, PEP: true}))
	all := map[string]*pipe{"juliet": negotiate(k, "juliet", "a"), "b": negotiate(k, "juliet", "b"), "romeo": negotiate(k, "romeo", "x")}
	var b transport.Batch
	all["juliet"].feed(&b, []byte("<presence><priority>1</priority></presence>"))
	all["b"].feed(&b, []byte("<presence/><iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq><inactive xmlns='urn:xmpp:csi:0'/>"))
	t.Cleanup(func() {
		for _, p := range all {
			p.close()
		}
	})
	return all
}

// No tree is made of a long payload while others wait.
func TestLongPayloadsAreNotParsedInline(t *testing.T) {
	all := inlineWorld(t)
	var b transport.Batch
	for _, row := range inlineRows {
		p, in := all[row.from], []byte(row.xml)
		if n := testing.AllocsPerRun(2, func() { p.feed(&b, in) }); n > 1000 {
			t.Errorf("%s: %.0f allocations", row.name, n)
		}
	}
}

// A roster set is read away from the stream.
func TestRosterSetIsReadInTheWait(t *testing.T) {
	p := inlineWorld(t)["juliet"]
	in := []byte("<iq type='set' id='1'><query xmlns='jabber:iq:roster'>" + longest + "</query></iq>")
	var b transport.Batch
	var w transport.Wait
	if n := testing.AllocsPerRun(1, func() {
		if w != nil {
			w(t.Context())
			p.s.Feed(&b, nil)
		}
		w = p.s.Feed(&b, in)
	}); n > 300_000 || w == nil { // one set is read, and two are fed
		t.Errorf("%.0f allocations, a Wait: %v", n, w != nil)
	}
	w(t.Context())
}

// A request to bind is looked at before it is parsed, and refused.
func TestLongBind(t *testing.T) {
	const request = "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource>"
	w := newWorld(t, nil)
	c := w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test")
	c.take()
	in := []byte(request + longest + "</bind></iq>")
	var b transport.Batch
	if n := testing.AllocsPerRun(1, func() { c.s.Feed(&b, in) }); n > 1000 {
		t.Errorf("%.0f allocations", n)
	}
	b.Flush()
	c.wantPart("<bad-request ")
	c.send(request + "</bind></iq>").wantPart("<jid>romeo@example.test/x</jid>")
}

// Of an element that is no stanza the reader makes a tree: so it must be short.
func TestLongElement(t *testing.T) {
	w := newWorld(t, with(marking()))
	for _, n := range []int{100, 9_000, 10_000, 20_000} {
		c := w.login("romeo@example.test/x", "").send("<on xmlns='" + nsTest + "'>stays" + strings.Repeat(" ", n) + "</on>")
		if out := c.take(); strings.Contains(out, "<policy-violation ") != (n > 9_000) {
			t.Errorf("%d bytes: %s", n, out)
		}
	}
}

// BenchmarkLongPayload is what a payload of 256 KiB takes of the goroutine that reads
// a stream, which other clients wait for: the most is to be about 1 ms.
func BenchmarkLongPayload(b *testing.B) {
	for _, row := range inlineRows {
		b.Run(strings.ReplaceAll(row.name, " ", "-"), func(b *testing.B) {
			all := inlineWorld(b)
			p, in := all[row.from], []byte(row.xml)
			var batch transport.Batch
			b.ReportAllocs()
			for b.Loop() {
				wait := p.s.Feed(&batch, in)
				for ; wait != nil; wait = p.s.Feed(&batch, nil) {
					wait(b.Context())
				}
				batch.Flush()
			}
		})
	}
}
