package vcard_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/vcard"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return vcard.New(vcard.Options{}) })
}

func TestSuiteAsAPlugin(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return plugintest.Through(vcard.New(vcard.Options{})) })
}

var (
	romeo  = extensiontest.Client("romeo@example.org/orchard")
	juliet = extensiontest.Client("juliet@example.net/balcony")
	far    = extensiontest.Far()
)

func harness(t testing.TB, as plugintest.Way, o vcard.Options) *extensiontest.Harness {
	h := extensiontest.New(t, as(t, vcard.New(o)), extensiontest.Options{})
	h.Accounts.Add("romeo@example.org", "secret")
	h.Accounts.Add("juliet@example.net", "secret")
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

func ask(head, payload string) string { return `<iq ` + head + `>` + payload + `</iq>` }

// card is a vCard with content.
func card(content string) string { return `<vCard xmlns='vcard-temp'>` + content + `</vCard>` }

func refusal(head, typ, condition string) string {
	return fmt.Sprintf(`<iq type='error' %s><error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, head, typ, condition)
}

const (
	toRomeo  = `id='1' to='romeo@example.org/orchard'`
	toJuliet = `id='1' to='juliet@example.net/balcony'`
	noVCard  = `<vCard xmlns='vcard-temp'/>`
)

// full is a card as clients write them, with what the DTD does not have, and
// namespaces of others.
var full = card(`
	<FN>Romeo Montague</FN>
	<N><FAMILY>Montague</FAMILY><GIVEN>Romeo</GIVEN><MIDDLE/></N>
	<TEL><HOME/><VOICE/><NUMBER>303-555-1212</NUMBER></TEL>
	<PHOTO><TYPE>image/png</TYPE><BINVAL>iVBORw0KGgo=
	AAAA</BINVAL></PHOTO>
	<X-NICK xml:lang='it' class='a&amp;b'>&lt;Romeo&gt; "R" it's</X-NICK>
	<x xmlns='urn:example:x' xmlns:p='urn:example:p' p:a='1' b='2'><p:y/><z xmlns='jabber:client'/></x>
	<none xmlns=''/>
	<DESC>a  b
 c</DESC>`)

func TestDialogues(t *testing.T) { plugintest.InHarness(t, testDialogues) }

func testDialogues(t *testing.T, as plugintest.Way) {
	mine := ask(`type='result' `+toRomeo, full)
	tests := []struct {
		name  string
		steps []step
	}{
		{"XEP-0054 3.1 examples 1 and 3: there is no vCard", []step{
			{romeo, ask(`type='get' id='1'`, noVCard), refusal(toRomeo, "cancel", "item-not-found")},
		}},
		{"XEP-0054 3.1 examples 1 and 2, 3.2 examples 5 and 6: set, then get", []step{
			{romeo, ask(`type='set' id='1'`, full), `<iq type='result' ` + toRomeo + `/>`},
			{romeo, ask(`type='get' id='1'`, noVCard), mine},
			{romeo, ask(`type='get' id='1' to='romeo@example.org'`, noVCard), ask(`type='result' from='romeo@example.org' `+toRomeo, full)},
		}},
		{"XEP-0054 3.2 a set replaces all", []step{
			{romeo, ask(`type='set' id='1'`, full), `<iq type='result' ` + toRomeo + `/>`},
			{romeo, ask(`type='set' id='1' to='romeo@example.org'`, card(`<FN>R</FN>`)), `<iq type='result' from='romeo@example.org' ` + toRomeo + `/>`},
			{romeo, ask(`type='get' id='1'`, noVCard), ask(`type='result' `+toRomeo, card(`<FN>R</FN>`))},
		}},
		{"XEP-0054 3.2 an empty one takes it away", []step{
			{romeo, ask(`type='set' id='1'`, full), `<iq type='result' ` + toRomeo + `/>`},
			{romeo, ask(`type='set' id='1'`, `<vCard xmlns='vcard-temp' version='3.0'> </vCard>`), `<iq type='result' ` + toRomeo + `/>`},
			{romeo, ask(`type='get' id='1'`, noVCard), refusal(toRomeo, "cancel", "item-not-found")},
			{juliet, ask(`type='get' id='1' to='romeo@example.org'`, noVCard), refusal(`from='romeo@example.org' `+toJuliet, "cancel", "service-unavailable")},
		}},
		{"XEP-0054 3.2 example 7: a set of another's, there or not", []step{
			{romeo, ask(`type='set' id='1'`, full), `<iq type='result' ` + toRomeo + `/>`},
			{juliet, ask(`type='set' id='1' to='romeo@example.org'`, card(`<FN>J</FN>`)), refusal(`from='romeo@example.org' `+toJuliet, "auth", "forbidden")},
			{juliet, ask(`type='set' id='1' to='nobody@example.org'`, card(`<FN>J</FN>`)), refusal(`from='nobody@example.org' `+toJuliet, "auth", "forbidden")},
			{far, ask(`type='set' id='1' from='a@far.example/b' to='romeo@example.org'`, noVCard), refusal(`from='romeo@example.org' id='1' to='a@far.example/b'`, "auth", "forbidden")},
			{romeo, ask(`type='set' id='1' to='example.org'`, card(`<FN>J</FN>`)), refusal(`from='example.org' `+toRomeo, "auth", "forbidden")},
			{romeo, ask(`type='get' id='1'`, noVCard), mine},
		}},
		{"XEP-0054 3.3 examples 8 and 9: of another user, from here and elsewhere", []step{
			{romeo, ask(`type='set' id='1'`, full), `<iq type='result' ` + toRomeo + `/>`},
			{juliet, ask(`type='get' id='1' to='romeo@example.org'`, noVCard), ask(`type='result' from='romeo@example.org' `+toJuliet, full)},
			{far, ask(`type='get' id='1' from='a@far.example/b' to='romeo@example.org'`, noVCard), ask(`type='result' from='romeo@example.org' id='1' to='a@far.example/b'`, full)},
		}},
		{"XEP-0054 3.3 the server itself has none", []step{
			{romeo, ask(`type='get' id='1' to='example.org'`, noVCard), refusal(`from='example.org' `+toRomeo, "cancel", "service-unavailable")},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { play(t, harness(t, as, vcard.Options{}), tt.steps) })
	}
}

// XEP-0054 3.3, example 10: nobody finds out who has an account.
func TestHarvesting(t *testing.T) { plugintest.InHarness(t, testHarvesting) }

func testHarvesting(t *testing.T, as plugintest.Way) {
	h := harness(t, as, vcard.Options{})
	for name, from := range map[string]struct {
		origin extension.Origin
		head   string
	}{
		"here":      {juliet, ""},
		"elsewhere": {far, ` from='a@far.example/b'`},
	} {
		t.Run(name, func(t *testing.T) {
			var told []string
			for _, user := range []string{"romeo@example.org", "nobody@example.org"} { // without a vCard, without an account
				answer := h.IQ(from.origin, extensiontest.Parse(t, ask(`type='get' id='1' to='`+user+`'`+from.head, noVCard)))
				if e := stanza.ParseError(answer); e.Condition != stanza.ServiceUnavailable || e.Text != "" || e.Type != stanza.Cancel {
					t.Errorf("%s: %v", user, answer)
				}
				told = append(told, strings.ReplaceAll(answer.String(), user, "user"))
			}
			if told[0] != told[1] {
				t.Errorf("%s\n%s", told[0], told[1])
			}
		})
	}
}

func TestBounds(t *testing.T) { plugintest.InHarness(t, testBounds) }

func testBounds(t *testing.T, as plugintest.Way) {
	set := func(c string) string { return ask(`type='set' id='1'`, c) }
	size := func(c string) int {
		s := extensiontest.Parse(t, set(c))
		return len(s.Element(s.Children()[0]).Append(nil, ""))
	}
	const limit = 4096
	fits := card(`<DESC>` + strings.Repeat("x", limit-size(card(`<DESC></DESC>`))-len(`></DESC`)+1) + `</DESC>`)
	if n := size(fits); n != limit {
		t.Fatalf("the test's own card has %d bytes", n)
	}
	long := "urn:" + strings.Repeat("n", limit/2)
	tests := []struct {
		name, card string
		limit      int
		ok         bool
	}{
		{"as much as allowed", fits, limit, true},
		{"one byte more", strings.Replace(fits, "<DESC>", "<DESC>x", 1), limit, false},
		{"128 KiB by default", card(`<DESC>` + strings.Repeat("x", 127<<10) + `</DESC>`), 0, true},
		{"more than the default", card(`<DESC>` + strings.Repeat("x", 128<<10) + `</DESC>`), 0, false},
		{"escapes count as they are written", card(`<DESC><![CDATA[` + strings.Repeat("<", limit/2) + `]]></DESC>`), limit, false},
		{"elements of a long namespace count each", `<p:vCard xmlns:p='vcard-temp' xmlns:q='` + long + `'>` + strings.Repeat("<q:X/><p:X/>", 20) + `</p:vCard>`, limit, false},
		{"attributes of a long namespace count each", `<vCard xmlns='vcard-temp' xmlns:q='` + long + `'>` + strings.Repeat("<X q:a=''/>", 20) + `</vCard>`, limit, false},
	}
	for _, tt := range tests {
		t.Run("RFC 6120 8.3.3.12 "+tt.name, func(t *testing.T) {
			h := harness(t, as, vcard.Options{MaxBytes: tt.limit})
			get := step{romeo, ask(`type='get' id='1'`, noVCard), ""}
			if tt.ok {
				get.want = ask(`type='result' `+toRomeo, tt.card)
				play(t, h, []step{{romeo, set(tt.card), `<iq type='result' ` + toRomeo + `/>`}, get})
				return
			}
			play(t, h, []step{{romeo, set(card("<FN>R</FN>")), `<iq type='result' ` + toRomeo + `/>`}})
			get.want = ask(`type='result' `+toRomeo, card("<FN>R</FN>")) // what was there stays
			play(t, h, []step{{romeo, set(tt.card), refusal(toRomeo, "modify", "policy-violation")}, get})
		})
	}
}

// A vCard that uses many namespaces at many levels comes back whole.
func TestManyNamespaces(t *testing.T) { plugintest.InHarness(t, testManyNamespaces) }

func testManyNamespaces(t *testing.T, as plugintest.Way) {
	var b strings.Builder // 30 namespaces of attributes, used at each of 30 levels
	b.WriteString(`<vCard xmlns='vcard-temp'`)
	for i := range 30 {
		fmt.Fprintf(&b, ` xmlns:p%d='u%d'`, i, i)
	}
	b.WriteString(">")
	for range 30 {
		b.WriteString("<X")
		for i := range 30 {
			fmt.Fprintf(&b, ` p%d:a=''`, i)
		}
		b.WriteString(">")
	}
	b.WriteString(strings.Repeat("</X>", 30) + "</vCard>")
	head := stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1"}
	asRead := stanza.Raw(head, "", b.String(), nil)
	for name, set := range map[string]*stanza.Stanza{
		"as it is read":       asRead,
		"as it was rewritten": stanza.New(head, asRead.Element(asRead.Children()[0])),
	} {
		t.Run(name, func(t *testing.T) {
			h := harness(t, as, vcard.Options{})
			extensiontest.Expect(t, h.IQ(romeo, set), `<iq type='result' `+toRomeo+`/>`)
			play(t, h, []step{{romeo, ask(`type='get' id='1'`, noVCard), ask(`type='result' `+toRomeo, b.String())}})
		})
	}
}

// What can't be read is not taken for an empty vCard.
func TestUnreadable(t *testing.T) { // which no stanza is that crosses to a process
	h := harness(t, plugintest.Inside, vcard.Options{})
	play(t, h, []step{{romeo, ask(`type='set' id='1'`, full), `<iq type='result' ` + toRomeo + `/>`}})
	const text = "<vCard xmlns='vcard-temp'><FN></vCard>"
	set := stanza.Raw(stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1"}, "", text,
		[]stanza.Child{{Space: vcard.NS, Local: "vCard", End: uint32(len(text))}})
	extensiontest.Expect(t, h.IQ(romeo, set), refusal(toRomeo, "modify", "bad-request"))
	play(t, h, []step{{romeo, ask(`type='get' id='1'`, noVCard), ask(`type='result' `+toRomeo, full)}})
}

func TestOptions(t *testing.T) {
	for n, ok := range map[int]bool{0: true, 1: true, 1 << 20: true, 1<<20 + 1: false, -1: false} {
		o := vcard.Options{MaxBytes: n}
		if err := o.Validate(); (err == nil) != ok {
			t.Errorf("%d: Validate gives %v", n, err)
		}
		if err := vcard.New(o).Start(t.Context(), nil); (err == nil) != ok {
			t.Errorf("%d: Start gives %v", n, err)
		}
	}
}

func TestFeature(t *testing.T) { // XEP-0054 4, examples 11 and 12
	r := vcard.New(vcard.Options{})
	for of, d := range map[string]extension.Disco{"server": r.Server, "account": r.Account} {
		if !slices.Equal(d.Features, []string{"vcard-temp"}) {
			t.Errorf("features %q of the %s", d.Features, of)
		}
	}
}

// What is stored belongs to the account: it goes with it.
func TestRemoval(t *testing.T) { plugintest.InHarness(t, testRemoval) }

func testRemoval(t *testing.T, as plugintest.Way) {
	h := harness(t, as, vcard.Options{})
	user := romeo.Session.Bare()
	play(t, h, []step{{romeo, ask(`type='set' id='1'`, full), `<iq type='result' ` + toRomeo + `/>`}})
	if _, ok := h.Entry(user, "vcard"); !ok {
		t.Error("nothing is stored for the account")
	}
	if err := h.Accounts.Remove(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	play(t, h, []step{{juliet, ask(`type='get' id='1' to='romeo@example.org'`, noVCard), refusal(`from='romeo@example.org' `+toJuliet, "cancel", "service-unavailable")}})
}

// What can't be read is an internal error, and is logged.
func TestStoreFails(t *testing.T) { plugintest.InHarness(t, testStoreFails) }

func testStoreFails(t *testing.T, as plugintest.Way) {
	h := harness(t, as, vcard.Options{})
	down := errors.New("disk is on fire")
	check := func(origin extension.Origin, s, want string, cause error) {
		t.Helper()
		play(t, h, []step{{origin, s, want}})
		if errs := h.Errors(); len(errs) != 1 || !strings.Contains(errs[0].Error(), cause.Error()) {
			t.Errorf("errors %v, want %v", errs, cause)
		}
	}
	own := ask(`type='get' id='1'`, noVCard)
	h.FailStore(down)
	check(romeo, own, refusal(toRomeo, "cancel", "internal-server-error"), down)
	check(romeo, ask(`type='set' id='1'`, full), refusal(toRomeo, "cancel", "internal-server-error"), down)
	check(juliet, ask(`type='get' id='1' to='romeo@example.org'`, noVCard), refusal(`from='romeo@example.org' `+toJuliet, "cancel", "internal-server-error"), down)
	h.FailStore(nil)
	h.Put(romeo.Session.Bare(), "vcard", []byte("<vCard"))
	check(romeo, own, refusal(toRomeo, "cancel", "internal-server-error"), stanza.ErrSyntax)
}

// A vCard that is taken comes back as the same tree.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{
		full, card(""), card("text"), card("<A/>"),
		`<p:vCard xmlns:p='vcard-temp' p:version='3.0'><p:FN/><N/></p:vCard>`,
		`<vCard xmlns='vcard-temp' xmlns:a='jabber:server'><a:x><y xmlns='jabber:client'/></a:x><z xmlns=''><w/></z></vCard>`,
		`<vCard xmlns='vcard-temp'><![CDATA[<&]]>&#xD;&#x9;<X y='&#xA;&quot;'/></vCard>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := stanza.ParseElement(s, "")
		if err != nil || e.Space != vcard.NS || e.Local != "vCard" {
			return
		}
		h := harness(t, plugintest.Inside, vcard.Options{})
		head := stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1"}
		set := stanza.New(head, e)
		answer := h.IQ(romeo, set)
		if answer.Type == stanza.TypeError {
			return
		}
		head.Type = stanza.Get
		got := h.IQ(romeo, stanza.New(head, stanza.El(vcard.NS, "vCard")))
		if got.Type == stanza.TypeError {
			if _, ok := h.Entry(jid.MustParse("romeo@example.org"), "vcard"); ok || len(e.Elements()) > 0 {
				t.Errorf("%q is lost: %v", s, got)
			}
			return
		}
		if got.Content() != set.Content() {
			t.Errorf("%q became %q", set.Content(), got.Content())
		}
	})
}
