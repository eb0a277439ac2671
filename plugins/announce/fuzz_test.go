package announce_test

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/adhoc"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// FuzzAnnounce hands in commands and messages of an administrator: whatever is refused
// is told to nobody.
func FuzzAnnounce(f *testing.F) {
	for _, seed := range []string{
		"<command xmlns='http://jabber.org/protocol/commands' node='" + admin + "#announce'/>",
		"<command xmlns='http://jabber.org/protocol/commands' node='" + admin + "#announce' sessionid='%s'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + admin + "</value></field><field var='announcement'><value>x</value></field></x></command>",
		"<command xmlns='http://jabber.org/protocol/commands' node='" + admin + "#delete-motd'/>", "<body>x</body>", "<body/>", "<body>&#x20AC;</body>",
	} {
		for _, resource := range []string{"online", "all", "motd", "motd/update", "x"} {
			f.Add(seed, resource)
		}
	}
	f.Fuzz(func(t *testing.T, text, resource string) {
		h := harness(t, all)
		user(h, "romeo@example.org/a")
		id := run(t, h, bard, "node='"+admin+"#announce'", "").Find(adhoc.NS, "command").Attr("sessionid")
		e, err := stanza.ParseElement(strings.ReplaceAll(text, "%s", id), "")
		if err != nil {
			return
		}
		if e.Space == adhoc.NS && e.Local == "command" {
			got := h.IQ(bard, stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1", To: jid.MustParse("announce.example.org")}, e))
			if got == nil || got.Type != stanza.Result && got.Type != stanza.TypeError {
				t.Fatalf("answer %v", got)
			}
			if sent := heard(h); got.Type == stanza.TypeError && len(sent) > 0 {
				t.Errorf("refused, but %q", sent)
			}
			return
		}
		to, err := jid.Parse("announce.example.org/" + resource)
		if err != nil {
			return
		}
		got := h.Component(extension.Envelope{Origin: bard, Stanza: stanza.New(stanza.Header{Kind: stanza.Message, To: to}, e)})
		if sent := heard(h); got != nil && len(sent) > 0 || len(sent) > 2 {
			t.Errorf("answer %v, sent %q", got, sent)
		}
	})
}
