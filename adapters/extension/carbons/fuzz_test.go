package carbons_test

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Whatever a stream lets in, the copy of it is XML that a stream lets in, and
// has it inside.
func FuzzStages(f *testing.F) {
	for _, s := range []string{
		"<message type='chat' to='juliet@capulet.example' id='1'><body>hi</body></message>",
		"<message><x xmlns='http://jabber.org/protocol/muc#user'><invite/></x></message>",
		"<message type='error' id='1'><error/></message>",
		"<message xmlns:p='urn:p' p:a='1' type='chat'><p:b xmlns='urn:xmpp:carbons:2'/><private/></message>",
		"<message type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received></message>",
	} {
		f.Add(s)
	}
	h := harness(f)
	f.Fuzz(func(t *testing.T, xml string) {
		s, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{Depth: 32})
		if err != nil {
			t.Skip()
		}
		for stage := extension.Submit; stage <= extension.Deliver; stage++ {
			out := h.Stage(stage, extension.Envelope{Stanza: s, Origin: garden, Account: romeo})
			if out.Stanza == nil || out.Stanza.Content() != s.Content() {
				t.Fatalf("%s became %v", xml, out.Stanza)
			}
			if out.Copy == nil {
				continue
			}
			again, err := xmlstream.ParseStanza([]byte(out.Copy.Stanza.String()), xmpp.NSClient, xmlstream.Limits{})
			if err != nil || again.Content() != out.Copy.Stanza.Content() || len(again.Children()) != 1 {
				t.Fatalf("%v: the copy of %s is %s", err, xml, out.Copy.Stanza)
			}
		}
	})
}
