package blocking_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return blocking.New(blocking.Options{}) })
}

func TestSuiteAsAPlugin(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return plugintest.Through(blocking.New(blocking.Options{})) })
}

var (
	juliet  = extensiontest.Client("juliet@example.org/chamber")
	balcony = extensiontest.Client("juliet@example.org/balcony")
	romeo   = extensiontest.Client("romeo@example.org/orchard")
	owner   = juliet.Session.Bare()
)

func harness(t testing.TB, as plugintest.Way, o blocking.Options) *extensiontest.Harness {
	h := extensiontest.New(t, as(t, blocking.New(o)), extensiontest.Options{})
	for _, c := range []extension.Origin{juliet, balcony, romeo} {
		h.AddSession(extension.Session{JID: c.Session, Available: true})
	}
	h.Accounts.Add("juliet@example.org", "secret")
	h.Accounts.Add("romeo@example.org", "secret")
	return h
}

// step is a request and its answer.
type step struct {
	origin    extension.Origin
	ask, want string
}

func play(t testing.TB, h *extensiontest.Harness, steps []step) {
	t.Helper()
	for _, s := range steps {
		extensiontest.Expect(t, h.IQ(s.origin, extensiontest.Parse(t, s.ask)), s.want)
	}
}

func items(jids ...string) (xml string) {
	for _, j := range jids {
		xml += "<item jid='" + j + "'/>"
	}
	return xml
}

func command(typ, name, content string) string {
	return `<iq type='` + typ + `' id='1'><` + name + ` xmlns='urn:xmpp:blocking'>` + content + `</` + name + `></iq>`
}

func block(jids ...string) string   { return command("set", "block", items(jids...)) }
func unblock(jids ...string) string { return command("set", "unblock", items(jids...)) }

const (
	toJuliet = `to='juliet@example.org/chamber'`
	get      = `<iq type='get' id='1'><blocklist xmlns='urn:xmpp:blocking'/></iq>`
	done     = `<iq type='result' id='1' ` + toJuliet + `/>`
)

func is(jids ...string) string {
	return `<iq type='result' id='1' ` + toJuliet + `><blocklist xmlns='urn:xmpp:blocking'>` + items(jids...) + `</blocklist></iq>`
}

// refusal is an error without its text.
func refusal(typ, condition string) string {
	return fmt.Sprintf(`<iq type='error' id='1' %s><error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, toJuliet, typ, condition)
}

var badRequest = refusal("modify", "bad-request")

func TestCommands(t *testing.T) { plugintest.InHarness(t, testCommands) }

func testCommands(t *testing.T, as plugintest.Way) {
	tests := []struct {
		name  string
		steps []step
	}{
		{"XEP-0191 3.2 example 5: nobody is blocked", []step{{juliet, get, is()}}},
		{"XEP-0191 3.2, 3.3 examples 3, 4, 6 and 7: block, and see the list", []step{
			{juliet, block("romeo@montague.net"), done},
			{balcony, block("iago@shakespeare.lit"), strings.Replace(done, "chamber", "balcony", 1)},
			{juliet, get, is("iago@shakespeare.lit", "romeo@montague.net")},
		}},
		{"XEP-0191 3.3 several items, one of them twice, and one that is there", []step{
			{juliet, block("b.example", "a.example", "b.example"), done},
			{juliet, block("b.example", "c.example"), done},
			{juliet, get, is("a.example", "b.example", "c.example")},
		}},
		{"XEP-0191 3.3 addresses come prepared", []step{
			{juliet, block("ROMEO@Montague.NET/Or Chard", "XN--e1afmkfd.example."), done},
			{juliet, get, is("romeo@montague.net/Or Chard", "\u043f\u0440\u0438\u043c\u0435\u0440.example")},
			{juliet, unblock("Romeo@MONTAGUE.net/Or Chard"), done},
			{juliet, get, is("\u043f\u0440\u0438\u043c\u0435\u0440.example")},
		}},
		{"XEP-0191 6 all four forms", []step{
			{juliet, block("a@a.example/r", "a@a.example", "a.example/r", "a.example", "a@a.example/&lt;&apos;&amp;"), done},
			{juliet, get, is("a.example", "a.example/r", "a@a.example", "a@a.example/&lt;&apos;&amp;", "a@a.example/r")},
		}},
		{"XEP-0191 3.3 what is in it of other specifications", []step{
			{juliet, command("set", "block", "<x xmlns='urn:x'/><item jid='a.example'><report xmlns='urn:xmpp:reporting:1'/></item> "), done},
			{juliet, get, is("a.example")},
		}},
		{"XEP-0191 3.3 no item", []step{
			{juliet, block(), badRequest},
			{juliet, command("set", "block", "<item xmlns='urn:x' jid='a.example'/>"), badRequest},
			{juliet, command("set", "block", "<jid jid='a.example'/>"), badRequest},
		}},
		{"XEP-0191 3.3 items that are no addresses: nothing is done", []step{
			{juliet, block("a.example", "a@b@c"), badRequest},
			{juliet, block("a.example", ""), badRequest},
			{juliet, command("set", "block", "<item jid='a.example'/><item/>"), badRequest},
			{juliet, command("set", "unblock", "<item/>"), badRequest},
			{juliet, unblock("@a"), badRequest},
			{juliet, get, is()},
		}},
		{"XEP-0191 3.4 example 10: unblock", []step{
			{juliet, block("a.example", "b.example", "c.example"), done},
			{juliet, unblock("b.example", "d.example"), done},
			{juliet, get, is("a.example", "c.example")},
			{juliet, unblock("c.example", "a.example"), done},
			{juliet, get, is()},
		}},
		{"XEP-0191 3.4 an item is itself, and not what it stands for", []step{
			{juliet, block("a.example", "a@a.example"), done},
			{juliet, unblock("a@a.example/r", "b@a.example"), done},
			{juliet, get, is("a.example", "a@a.example")},
		}},
		{"XEP-0191 3.5 example 13: unblock all", []step{
			{juliet, unblock(), done},
			{juliet, block("a.example", "b.example"), done},
			{juliet, command("set", "unblock", "<jid jid='a.example'/>"), badRequest}, // not all of them
			{juliet, get, is("a.example", "b.example")},
			{juliet, unblock(), done},
			{juliet, get, is()},
		}},
		{"XEP-0191 5 note 1: what could stand for the own account and server alone", []step{
			{juliet, block("juliet@example.org"), refusal("cancel", "not-allowed")},
			{juliet, block("a.example", "juliet@example.org/balcony"), refusal("cancel", "not-allowed")},
			{juliet, block("example.org/x"), refusal("cancel", "not-allowed")},
			{juliet, get, is()},
			{juliet, block("example.org", "example.net/x"), done},
			{juliet, get, is("example.net/x", "example.org")},
		}},
		{"XEP-0191 3.2 the list is the owner's alone", []step{
			{juliet, block("a.example"), done},
			{romeo, strings.Replace(get, "id=", "to='juliet@example.org' id=", 1), strings.NewReplacer("chamber'", "orchard' from='juliet@example.org'", "juliet@example.org/", "romeo@example.org/").Replace(refusal("cancel", "service-unavailable"))},
			{romeo, strings.Replace(unblock(), "id=", "to='juliet@example.org' id=", 1), strings.NewReplacer("chamber'", "orchard' from='juliet@example.org'", "juliet@example.org/", "romeo@example.org/").Replace(refusal("cancel", "service-unavailable"))},
			{juliet, get, is("a.example")},
			{juliet, strings.Replace(get, "id=", "to='juliet@example.org' id=", 1), strings.Replace(is("a.example"), "id=", "from='juliet@example.org' id=", 1)},
		}},
		{"XEP-0191 3.2 to 3.4 the wrong type", []step{
			{juliet, strings.Replace(get, "'get'", "'set'", 1), refusal("cancel", "service-unavailable")},
			{juliet, strings.Replace(block("a.example"), "'set'", "'get'", 1), refusal("cancel", "service-unavailable")},
			{juliet, strings.Replace(unblock(), "'set'", "'get'", 1), refusal("cancel", "service-unavailable")},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { play(t, harness(t, as, blocking.Options{}), tt.steps) })
	}
}

// took returns what left the extension besides answers.
func took(h *extensiontest.Harness) (fx []extensiontest.Effect) {
	for _, e := range h.Effects() {
		if e.Kind != extensiontest.Answered {
			fx = append(fx, e)
		}
	}
	return fx
}

// pushes are examples 8, 12 and 15: to the sessions that have asked for the list.
func TestPushes(t *testing.T) { plugintest.InHarness(t, testPushes) }

func testPushes(t *testing.T, as plugintest.Way) {
	h := harness(t, as, blocking.Options{})
	seen := map[string]bool{}
	check := func(ask, want string, to ...string) {
		t.Helper()
		play(t, h, []step{{juliet, ask, done}})
		var told []string
		for _, e := range took(h) {
			if e.Kind != extensiontest.Sent {
				continue
			}
			told = append(told, e.Stanza.To.Resource())
			if id := e.Stanza.ID; len(id) < 20 || seen[id] {
				t.Errorf("the id %q can be guessed", id)
			}
			seen[e.Stanza.ID] = true
			head := e.Stanza.Header
			head.ID = ""
			extensiontest.Expect(t, e.Stanza.With(head), `<iq type='set' from='juliet@example.org' to='`+head.To.String()+`'>`+want+`</iq>`)
		}
		if !slices.Equal(told, to) {
			t.Errorf("%q were told, want %q", told, to)
		}
	}
	const ns = " xmlns='urn:xmpp:blocking'"
	check(block("a.example"), "")
	h.IQ(balcony, extensiontest.Parse(t, get))
	check(block("B.example", "a.example"), "<block"+ns+">"+items("b.example", "a.example")+"</block>", "balcony")
	h.IQ(juliet, extensiontest.Parse(t, get))
	check(unblock("b.example"), "<unblock"+ns+">"+items("b.example")+"</unblock>", "chamber", "balcony")
	check(unblock(), "<unblock"+ns+"/>", "chamber", "balcony")
	h.Resume(juliet.Session)
	check(block("c.example"), "<block"+ns+">"+items("c.example")+"</block>", "chamber", "balcony") // XEP-0198: the same session
}

// An account with more sessions than a handler may send to can block all the same.
func TestManySessions(t *testing.T) { plugintest.InHarness(t, testManySessions) }

func testManySessions(t *testing.T, as plugintest.Way) {
	h := harness(t, as, blocking.Options{})
	for n := range 1100 {
		h.AddSession(extension.Session{JID: jid.MustParse(fmt.Sprintf("juliet@example.org/%d", n)), Marks: []string{"asked"}})
	}
	play(t, h, []step{{juliet, block("a.example"), done}, {juliet, get, is("a.example")}})
}

// Section 3.3, 3.4: who sees the user's presence is told, if it changes for them.
func TestPresence(t *testing.T) { plugintest.InHarness(t, testPresence) }

func testPresence(t *testing.T, as plugintest.Way) {
	h := harness(t, as, blocking.Options{})
	check := func(ask, want string) {
		t.Helper()
		play(t, h, []step{{juliet, ask, done}})
		got := ""
		for _, e := range took(h) {
			got += fmt.Sprint(e.Kind, " ", e.Account, " ", e.Patterns, " but ", e.Except)
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check(block("a@a.example"), "withdrawn juliet@example.org [a@a.example] but []")
	check(block("a@a.example"), "")
	check(block("a@a.example", "a.example", "b.example"), "withdrawn juliet@example.org [a.example b.example] but [a@a.example]")
	check(unblock("c.example", "a.example"), "announced juliet@example.org [a.example] but []")
	check(unblock("a.example"), "")
	check(unblock(), "announced juliet@example.org [a@a.example b.example] but []")
	check(unblock(), "")
}

func TestBounds(t *testing.T) { plugintest.InHarness(t, testBounds) }

func testBounds(t *testing.T, as plugintest.Way) {
	h := harness(t, as, blocking.Options{MaxItems: 3})
	full := refusal("wait", "resource-constraint")
	play(t, h, []step{
		{juliet, block("a.example", "b.example", "c.example", "d.example"), full},
		{juliet, block("a.example", "b.example", "c.example"), done},
		{juliet, block("d.example"), full},
		{juliet, block("a.example"), done},
		{juliet, unblock("a.example"), done},
		{juliet, block("d.example"), done},
		{juliet, block("a.example", "b.example", "c.example"), full},
		{juliet, unblock(), done},
		{juliet, block("a@a.example/" + strings.Repeat("r", 500)), full}, // 3 items of 128 bytes
		{juliet, block("a@a.example/" + strings.Repeat("r", 300)), done},
	})
	h = harness(t, as, blocking.Options{MaxItems: 1})
	h.Put(owner, "list", []byte("a.example\nb.example\n")) // the administrator has lowered the bound
	play(t, h, []step{
		{juliet, get, is("a.example", "b.example")},
		{juliet, block("c.example"), full},
		{juliet, unblock("a.example"), done},
		{juliet, get, is("b.example")},
	})
}

// Two sessions change the list at once: nothing is lost.
func TestRaces(t *testing.T) { plugintest.InHarness(t, testRaces) }

func testRaces(t *testing.T, as plugintest.Way) {
	h := harness(t, as, blocking.Options{})
	during := func(other, own string, want ...string) {
		t.Helper()
		play(t, h, []step{{juliet, unblock(), done}, {juliet, block("a.example"), done}})
		h.BeforeCommit(func() { h.IQ(balcony, extensiontest.Parse(t, other)) })
		play(t, h, []step{{juliet, own, done}, {juliet, get, is(want...)}})
	}
	during(block("b.example"), block("c.example"), "a.example", "b.example", "c.example")
	during(block("b.example"), unblock("a.example"), "b.example") // what would have been the last one
	during(unblock("a.example"), block("c.example"), "c.example")
	during(unblock("a.example"), unblock("a.example"))
	during(block("b.example"), unblock())
}

// Accounts that block nobody have no entry, so that their stanzas pass no handler.
func TestEmptyListHasNoEntry(t *testing.T) { plugintest.InHarness(t, testEmptyListHasNoEntry) }

func testEmptyListHasNoEntry(t *testing.T, as plugintest.Way) {
	h := harness(t, as, blocking.Options{})
	for _, way := range []string{unblock("a.example"), unblock()} {
		play(t, h, []step{{juliet, block("a.example"), done}})
		if _, there := h.Entry(owner, "list"); !there {
			t.Error("the list is not stored")
		}
		play(t, h, []step{{juliet, way, done}})
		if _, there := h.Entry(owner, "list"); there {
			t.Error("an empty list is stored")
		}
	}
	play(t, h, []step{{juliet, block("a.example"), done}})
	if err := h.Accounts.Remove(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	if _, there := h.Entry(owner, "list"); there {
		t.Error("the list outlives its account")
	}
}

func TestFeature(t *testing.T) { // XEP-0191 3.1
	if r := blocking.New(blocking.Options{}); !slices.Equal(r.Server.Features, []string{"urn:xmpp:blocking"}) {
		t.Errorf("features %q", r.Server.Features)
	}
}

func TestOptions(t *testing.T) {
	for n, ok := range map[int]bool{0: true, 1: true, 10_000: true, -1: false, 10_001: false} {
		o := blocking.Options{MaxItems: n}
		if err := o.Validate(); (err == nil) != ok {
			t.Errorf("%d: Validate gives %v", n, err)
		}
		if err := blocking.New(o).Start(t.Context(), nil); (err == nil) != ok {
			t.Errorf("%d: Start gives %v", n, err)
		}
	}
}

// Whatever a client sends as items, it is answered, and what is in the list then
// was named, is prepared, and can be taken out.
func FuzzItems(f *testing.F) {
	for _, s := range []string{
		items("a@b.example/c", "b.example"), "<item/>", "<item jid=''/>", "<item jid='a@b@c'/>", "<item xmlns='urn:x' jid='a.example'/>", "text",
		items("B.example", "b.example"), items("juliet@example.org"), items("example.org/x"), "<item jid='a@b/&#xA;'/>", "<item jid='a b'/><item jid='\u212b.example/\u212b'/>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := stanza.ParseElement("<block xmlns='urn:xmpp:blocking'>"+s+"</block>", "")
		if err != nil {
			return
		}
		h := harness(t, plugintest.Inside, blocking.Options{})
		head := stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1"}
		blocked := h.IQ(juliet, stanza.New(head, e)).Type == stanza.Result
		list := h.IQ(juliet, extensiontest.Parse(t, get)).Find("urn:xmpp:blocking", "blocklist")
		if there := len(list.Elements()) > 0; there != blocked {
			t.Errorf("blocked %v, list %v", blocked, list)
		}
		for _, it := range list.Elements() {
			j, err := jid.Parse(it.Attr("jid"))
			if err != nil || j.String() != it.Attr("jid") || j.Bare() == owner {
				t.Errorf("%q: %v", it.Attr("jid"), err)
			}
		}
		e.Local = "unblock"
		h.IQ(juliet, stanza.New(head, e))
		if _, there := h.Entry(owner, "list"); there {
			t.Errorf("%q: not all is gone", s)
		}
	})
}
