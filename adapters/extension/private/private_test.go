package private_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/private"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration {
		return private.New(private.Options{MaxBytes: 2000, MaxElements: 5})
	})
}

func TestSuiteAsAPlugin(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration {
		return plugintest.Through(private.New(private.Options{MaxBytes: 2000, MaxElements: 5}))
	})
}

var (
	hamlet  = extensiontest.Client("hamlet@example.org/denmark")
	macbeth = extensiontest.Client("macbeth@example.org/scotland")
	far     = extensiontest.Far()
)

func harness(t testing.TB, as plugintest.Way, o private.Options) *extensiontest.Harness {
	h := extensiontest.New(t, as(t, private.New(o)), extensiontest.Options{})
	h.Accounts.Add("hamlet@example.org", "secret")
	h.Accounts.Add("macbeth@example.org", "secret")
	return h
}

// step is a request and its answer.
type step struct {
	origin    extension.Origin
	ask, want string
}

func play(t *testing.T, h *extensiontest.Harness, steps []step) {
	t.Helper()
	for _, s := range steps {
		extensiontest.Expect(t, h.IQ(s.origin, extensiontest.Parse(t, s.ask)), s.want)
	}
}

const head = `id='1' to='hamlet@example.org/denmark'`

func query(content string) string { return `<query xmlns='jabber:iq:private'>` + content + `</query>` }

func set(content string) string { return `<iq type='set' id='1'>` + query(content) + `</iq>` }
func get(content string) string { return `<iq type='get' id='1'>` + query(content) + `</iq>` }

// is the answer to a get.
func is(content string) string {
	return `<iq type='result' ` + head + `>` + query(content) + `</iq>`
}

const done = `<iq type='result' ` + head + `/>`

func refusal(head, typ, condition string) string {
	return fmt.Sprintf(`<iq type='error' %s><error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, head, typ, condition)
}

var (
	notAcceptable   = refusal(head, "modify", "not-acceptable")
	badRequest      = refusal(head, "modify", "bad-request")
	policyViolation = refusal(head, "modify", "policy-violation")
	full            = refusal(head, "wait", "resource-constraint")
)

const (
	exodus = `<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>`
	blank  = `<exodus xmlns='exodus:prefs'/>`
)

func TestDialogues(t *testing.T) { plugintest.InHarness(t, testDialogues) }

func testDialogues(t *testing.T, as plugintest.Way) {
	// bookmarks as XEP-0048 has them, and other things that XML can hold.
	bookmarks := `<storage xmlns='storage:bookmarks'><conference name='A &amp; "B"' autojoin='true' jid='c@muc.example'><nick>H</nick></conference>
		<x xmlns='urn:x' xmlns:p='urn:p' p:a='1&#xA;2'><p:y xml:lang='da'>a  b&#xD;</p:y><z xmlns='jabber:client'><w xmlns=''/></z><q xmlns='jabber:iq:private'/></x><![CDATA[<&>]]></storage>`
	tests := []struct {
		name  string
		steps []step
	}{
		{"XEP-0049 2.3 examples 1 and 2: set, then get", []step{
			{hamlet, set(exodus), done},
			{hamlet, get(blank), is(exodus)},
		}},
		{"XEP-0049 2.1 what is stored comes back unchanged", []step{
			{hamlet, set(bookmarks), done},
			{hamlet, get(`<storage xmlns='storage:bookmarks'/>`), is(bookmarks)},
			{hamlet, set(`<e xmlns='urn:e' a='1'/>`), done},
			{hamlet, get(`<e xmlns='urn:e'/>`), is(`<e xmlns='urn:e' a='1'/>`)},
		}},
		{"XEP-0049 2.1 the own account may be named", []step{
			{hamlet, `<iq type='set' id='1' to='hamlet@example.org'>` + query(exodus) + `</iq>`, `<iq type='result' from='hamlet@example.org' ` + head + `/>`},
			{hamlet, get(blank), is(exodus)},
		}},
		{"XEP-0049 2.3 nothing is stored: the element, empty", []step{
			{hamlet, get(blank), is(blank)},
			{hamlet, get(`<exodus xmlns='exodus:prefs' a='1'><b/></exodus>`), is(blank)},
		}},
		{"XEP-0049 2.3 a set replaces what has the same namespace and name, nothing else", []step{
			{hamlet, set(exodus), done},
			{hamlet, set(`<exodus xmlns='other:prefs'><a/></exodus>`), done},
			{hamlet, set(`<other xmlns='exodus:prefs'><a/></other>`), done},
			{hamlet, set(`<exodus xmlns='exodus:prefs'><defaultnick>Yorick</defaultnick></exodus>`), done},
			{hamlet, get(blank), is(`<exodus xmlns='exodus:prefs'><defaultnick>Yorick</defaultnick></exodus>`)},
			{hamlet, get(`<exodus xmlns='other:prefs'/>`), is(`<exodus xmlns='other:prefs'><a/></exodus>`)},
			{hamlet, get(`<other xmlns='exodus:prefs'/>`), is(`<other xmlns='exodus:prefs'><a/></other>`)},
		}},
		{"XEP-0049 2.3 an empty element takes away", []step{
			{hamlet, set(exodus), done},
			{hamlet, set(blank), done},
			{hamlet, get(blank), is(blank)},
			{hamlet, set(blank), done},
		}},
		{"XEP-0049 2.3 a set of several elements of one namespace", []step{
			{hamlet, set(`<a xmlns='urn:x'>1</a><b xmlns='urn:x'>2</b><a xmlns='urn:x'>3</a><a xmlns='urn:x'/>`), done},
			{hamlet, get(`<a xmlns='urn:x'/>`), is(`<a xmlns='urn:x'>1</a><a xmlns='urn:x'>3</a>`)},
			{hamlet, get(`<b xmlns='urn:x'/>`), is(`<b xmlns='urn:x'>2</b>`)},
			{hamlet, set(`<a xmlns='urn:x'>4</a>`), done},
			{hamlet, get(`<a xmlns='urn:x'/>`), is(`<a xmlns='urn:x'>4</a>`)},
		}},
		{"XEP-0049 2.3 a set of several namespaces", []step{
			{hamlet, set(exodus + `<a xmlns='urn:x'>1</a>`), badRequest},
			{hamlet, get(blank), is(blank)},
		}},
		{"XEP-0049 2.1, 2.3 a get of several elements", []step{
			{hamlet, get(blank + `<a xmlns='urn:x'/>`), badRequest},
			{hamlet, get(blank + `<a xmlns='exodus:prefs'/>`), badRequest},
		}},
		{"XEP-0049 2.3 example 3: others' data, there or not", []step{
			{hamlet, set(exodus), done},
			{macbeth, `<iq type='set' id='1' to='hamlet@example.org'>` + query(exodus) + `</iq>`, refusal(`id='1' from='hamlet@example.org' to='macbeth@example.org/scotland'`, "auth", "forbidden")},
			{macbeth, `<iq type='get' id='1' to='hamlet@example.org'>` + query(blank) + `</iq>`, refusal(`id='1' from='hamlet@example.org' to='macbeth@example.org/scotland'`, "auth", "forbidden")},
			{macbeth, `<iq type='get' id='1' to='nobody@example.org'>` + query(blank) + `</iq>`, refusal(`id='1' from='nobody@example.org' to='macbeth@example.org/scotland'`, "auth", "forbidden")},
			{far, `<iq type='get' id='1' from='a@far.example/b' to='hamlet@example.org'>` + query(blank) + `</iq>`, refusal(`id='1' from='hamlet@example.org' to='a@far.example/b'`, "auth", "forbidden")},
			{hamlet, `<iq type='get' id='1' to='example.org'>` + query(blank) + `</iq>`, refusal(`from='example.org' `+head, "auth", "forbidden")},
			{macbeth, get(blank), `<iq type='result' id='1' to='macbeth@example.org/scotland'>` + query(blank) + `</iq>`},
		}},
		{"XEP-0049 2.3 example 4: no element", []step{
			{hamlet, get(``), notAcceptable},
			{hamlet, set(``), notAcceptable},
			{hamlet, set(`text`), notAcceptable},
		}},
		{"XEP-0049 2.3 no namespace of its own", []step{
			{hamlet, set(`<exodus><a/></exodus>`), notAcceptable},
			{hamlet, get(`<exodus/>`), notAcceptable},
			{hamlet, set(`<exodus xmlns=''><a/></exodus>`), notAcceptable},
			{hamlet, set(exodus + `<a>1</a>`), notAcceptable},
		}},
		{"XEP-0049 2.3 example 5: reserved namespaces", []step{
			{hamlet, set(`<vCard xmlns='vcard-temp'><FN>Hamlet</FN></vCard>`), notAcceptable},
			{hamlet, get(`<vCard xmlns='vcard-temp'/>`), notAcceptable},
			{hamlet, set(`<query xmlns='jabber:iq:roster'><item/></query>`), notAcceptable},
			{hamlet, set(`<message xmlns='jabber:client'><body/></message>`), notAcceptable},
			{hamlet, set(`<a xmlns='http://jabber.org/protocol/disco#info'><b/></a>`), notAcceptable},
			{hamlet, set(`<a xmlns='jabberwocky'>b</a>`), done},
			{hamlet, get(`<a xmlns='jabberwocky'/>`), is(`<a xmlns='jabberwocky'>b</a>`)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { play(t, harness(t, as, private.Options{}), tt.steps) })
	}
}

func TestFeature(t *testing.T) {
	r := private.New(private.Options{})
	for of, d := range map[string]extension.Disco{"server": r.Server, "account": r.Account} {
		if !slices.Equal(d.Features, []string{"jabber:iq:private"}) {
			t.Errorf("features %q of the %s", d.Features, of)
		}
	}
}

func TestOptions(t *testing.T) {
	for o, ok := range map[private.Options]bool{
		{}: true, {MaxBytes: 1, MaxElements: 1}: true, {MaxBytes: 1 << 20, MaxElements: 10_000}: true,
		{MaxBytes: -1}: false, {MaxBytes: 1<<20 + 1}: false, {MaxElements: -1}: false, {MaxElements: 10_001}: false,
	} {
		if err := o.Validate(); (err == nil) != ok {
			t.Errorf("%+v: Validate gives %v", o, err)
		}
		if err := private.New(o).Start(t.Context(), nil); (err == nil) != ok {
			t.Errorf("%+v: Start gives %v", o, err)
		}
	}
}

// An element that is taken comes back as the same tree.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{
		exodus, blank, `<p:a xmlns:p='urn:p' p:b='c'><d/></p:a>`, `<a xmlns='urn:x'><b xmlns='jabber:iq:private'/><c xmlns=''/><d xmlns='jabber:server'/></a>`,
		`<a xmlns='urn: x'> </a>`, `<a xmlns='http://jabber.org'><![CDATA[]]>&#xD;</a>`, `<a xmlns='` + strings.Repeat("u", 2000) + `' b=''/>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := stanza.ParseElement(s, private.NS)
		if err != nil {
			return
		}
		h := harness(t, plugintest.Inside, private.Options{})
		head := stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1"}
		query := stanza.El(private.NS, "query").Add(e)
		set := stanza.New(head, query)
		if h.IQ(hamlet, set).Type == stanza.TypeError {
			return
		}
		head.Type = stanza.Get
		got := h.IQ(hamlet, stanza.New(head, stanza.El(private.NS, "query").Add(stanza.El(e.Space, e.Local))))
		if got.Content() != set.Content() {
			t.Errorf("%q became %q", set.Content(), got)
		}
	})
}
