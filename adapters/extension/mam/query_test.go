package mam_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// fill lets n messages come, one a minute.
func fill(h *extensiontest.Harness, n int) (given []string) {
	for i := range n {
		h.Advance(time.Minute)
		out := h.Stage(extension.Deliver, extension.Envelope{Stanza: message("romeo@example.org/orchard", owner.String(), "chat", fmt.Sprintf("<body>%d</body>", i)), Account: owner})
		given = append(given, ids(out.Stanza, owner)...)
	}
	h.Effects()
	return given
}

// query asks and returns what was sent: results, and the answer as the last one.
func query(t testing.TB, h *extensiontest.Harness, xml string) (sent []*stanza.Stanza) {
	t.Helper()
	h.IQ(juliet, extensiontest.Parse(t, ask("set", xml)))
	for _, e := range h.Effects() {
		if e.Kind != extensiontest.Preceded && e.Kind != extensiontest.Answered {
			t.Errorf("%v %s", e.Kind, e.Stanza)
		}
		sent = append(sent, e.Stanza)
	}
	return sent
}

func TestResults(t *testing.T) {
	h := harness(t, mam.Options{})
	given := fill(h, 3)
	sent := query(t, h, "<query xmlns='urn:xmpp:mam:2' queryid='f27'><set xmlns='http://jabber.org/protocol/rsm'><max>2</max></set></query>")
	if len(sent) != 3 {
		t.Fatalf("%d stanzas, want two results and the answer", len(sent))
	}
	for i, at := range []string{"2026-01-02T03:05:05.000Z", "2026-01-02T03:06:05.000Z"} {
		extensiontest.Expect(t, sent[i], fmt.Sprintf(`<message from='juliet@example.org' %s><result xmlns='urn:xmpp:mam:2' queryid='f27' id='%s'><forwarded xmlns='urn:xmpp:forward:0'>
			<delay xmlns='urn:xmpp:delay' stamp='%s'/><message xmlns='jabber:client' from='romeo@example.org/orchard' to='juliet@example.org' type='chat' id='1'><body>%d</body></message></forwarded></result></message>`,
			toJuliet, given[i], at, i))
	}
	extensiontest.Expect(t, sent[2], result(fmt.Sprintf("<fin xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><first index='0'>%s</first><last>%s</last><count>3</count></set></fin>", given[0], given[1])))

	sent = query(t, h, "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><before/><max>2</max></set><flip-page/></query>")
	if got := []string{id(sent[0]), id(sent[1])}; got[0] != given[2] || got[1] != given[1] {
		t.Errorf("XEP-0313 4.3.4: %q of %q", got, given)
	}
	extensiontest.Expect(t, h.IQ(juliet, extensiontest.Parse(t, ask("get", "<metadata xmlns='urn:xmpp:mam:2'/>"))), result(fmt.Sprintf(
		"<metadata xmlns='urn:xmpp:mam:2'><start id='%s' timestamp='2026-01-02T03:05:05.000Z'/><end id='%s' timestamp='2026-01-02T03:07:05.000Z'/></metadata>", given[0], given[2])))
}

// id is that of a result.
func id(st *stanza.Stanza) string {
	if r := st.Find("urn:xmpp:mam:2", "result"); r != nil {
		return r.Attr("id")
	}
	return ""
}

func TestQueryErrors(t *testing.T) {
	h := harness(t, mam.Options{})
	fill(h, 1)
	form := func(field string) string {
		return "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>" + field + "</x></query>"
	}
	for _, c := range []struct{ name, xml, want string }{
		{"XEP-0313 4.1.5 an unknown field", form("<field var='cow'/>"), refusal("cancel", "feature-not-implemented")},
		{"XEP-0313 4.1.2 no time", form("<field var='start'><value>now</value></field>"), refusal("modify", "bad-request")},
		{"XEP-0313 4.1.3 an unknown id", form("<field var='ids'><value>1</value></field>"), refusal("cancel", "item-not-found")},
		{"XEP-0313 4.3.2 an unknown id", "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><after>1</after></set></query>", refusal("cancel", "item-not-found")},
		{"XEP-0313 6.1.3 a node", "<query xmlns='urn:xmpp:mam:2' node='n'/>", refusal("cancel", "item-not-found")},
		{"XEP-0059 2.6 by index", "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><index>0</index></set></query>", refusal("cancel", "feature-not-implemented")},
	} {
		sent := query(t, h, c.xml)
		if len(sent) != 1 {
			t.Errorf("%s: %d stanzas", c.name, len(sent))
		}
		extensiontest.Expect(t, sent[len(sent)-1], c.want)
	}
	as := extensiontest.Parse(t, ask("set", "<query xmlns='urn:xmpp:mam:2'/>"))
	head := as.Header
	head.From = owner
	if answer := h.IQ(extensiontest.Far(), as.With(head)); stanza.ParseError(answer).Condition != stanza.NotAllowed {
		t.Errorf("of no session: %s", answer)
	}
}

// A page does not fill what there is room for with its client, and has something in it
// in any case; when there is none the client is told.
func TestPagesFitTheirSession(t *testing.T) {
	h := harness(t, mam.Options{MaxPage: 500})
	for range 40 {
		h.AppendRow(storage.Row{Owner: owner, Stamp: h.Now(), With: romeo.Session, XML: "<message xmlns='jabber:client'><body>" + strings.Repeat("x", 20_000) + "</body></message>"})
	}
	const all = "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>500</max></set></query>"
	for room, want := range map[int]int{4 << 20: 12, 400_000: 4, 50_000: 1, 32 << 10: 1} {
		h.SetRoom(room)
		sent := query(t, h, all)
		size := 0
		for _, st := range sent {
			size += st.Size()
		}
		if len(sent)-1 != want || size > room {
			t.Errorf("room for %d bytes: %d results of %d bytes, want %d", room, len(sent)-1, size, want)
		}
	}
	h.SetRoom(32<<10 - 1)
	extensiontest.Expect(t, query(t, h, all)[0], refusal("wait", "resource-constraint"))

	// A message that is too large for its client: its place is told.
	h.SetRoom(64 << 10)
	h.AppendRow(storage.Row{Owner: owner, Stamp: h.Now(), With: romeo.Session, XML: "<message xmlns='jabber:client'><body>" + strings.Repeat("x", 100_000) + "</body></message>"})
	sent := query(t, h, "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><before/><max>1</max></set></query>")
	if len(sent) != 2 || sent[0].Size() > 2000 || id(sent[0]) == "" {
		t.Errorf("%d stanzas: %.300s", len(sent), sent[0])
	}
}

func TestMaxPage(t *testing.T) {
	for max, want := range map[int]int{0: 250, 7: 7, 60: 60} {
		h := harness(t, mam.Options{MaxPage: max})
		fill(h, 300)
		if n := len(query(t, h, "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>500</max></set></query>")) - 1; n != want {
			t.Errorf("at most %d: %d results, want %d", max, n, want)
		}
		if n := len(query(t, h, "<query xmlns='urn:xmpp:mam:2'/>")) - 1; n != min(want, 50) {
			t.Errorf("at most %d: %d results, if nothing is said", max, n)
		}
	}
}
