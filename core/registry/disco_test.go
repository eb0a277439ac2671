package registry_test

import (
	"context"
	"crypto"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	sessions "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func newRegistry(t *testing.T, regs ...extension.Registration) (*registry.Registry, error) {
	t.Helper()
	h := host.New(host.Deps{Domains: []string{"example.test", "example.net"}, Store: store.New(), Sessions: sessions.New(),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Workers: 1})
	t.Cleanup(func() {
		if err := h.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return registry.New(h, []string{"example.test", "example.net"}, regs)
}

// people is a host of which romeo has two sessions, one of them available, and
// juliet is subscribed to him.
type people struct{ extension.Sessions }

func (people) Of(account jid.JID) []extension.Session {
	if account != jid.MustParse("romeo@example.test") {
		return nil
	}
	return []extension.Session{{JID: jid.MustParse("romeo@example.test/x&y"), Available: true}, {JID: jid.MustParse("romeo@example.test/hidden")}}
}

func (people) Subscribed(_ context.Context, account, contact jid.JID) (bool, error) {
	switch contact.Bare().String() {
	case "juliet@example.net":
		return account == jid.MustParse("romeo@example.test"), nil
	case "broken@example.net":
		return false, errors.New("storage")
	}
	return false, nil
}

func (people) Known(jid.JID, jid.JID) (bool, error) { return false, nil }

// ask asks a claim as romeo; node "" asks without one.
func ask(t *testing.T, c registry.Claim, space, to, node string) (string, error) {
	t.Helper()
	return askAs(t, c, "romeo@example.test/x", space, to, node)
}

func (people) Listed(_, _ jid.JID) (bool, error) { panic("not asked") }

func askAs(t *testing.T, c registry.Claim, from, space, to, node string) (string, error) {
	t.Helper()
	q := stanza.El(space, "query")
	if node != "" {
		q.Attrs = append(q.Attrs, stanza.At("node", node))
	}
	h := stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: "1", From: jid.MustParse(from)}
	if to != "" {
		h.To = jid.MustParse(to)
	}
	s := stanza.New(h, q)
	e, err := c.Handler.Handle(t.Context(), &extension.Host{Rosters: people{}, Sessions: people{}}, extension.IQ{Stanza: s, Child: s.Children()[0]})
	if err != nil {
		return "", err
	}
	return string(e.Append(nil, "")), nil
}

func TestDisco(t *testing.T) {
	form := stanza.El("jabber:x:data", "x")
	r, err := newRegistry(t,
		extension.Registration{Name: "b", Server: extension.Disco{Features: []string{"urn:z", "urn:a", registry.NSInfo}, Identities: []extension.Identity{{Category: "pubsub", Type: "pep"}}},
			Account: extension.Disco{Features: []string{"urn:acc"}, Forms: []*stanza.Element{form}}},
		extension.Registration{Name: "a", Server: extension.Disco{Features: []string{"urn:m", "urn:a"}, Identities: []extension.Identity{{Category: "pubsub", Type: "pep"}, {Category: "auth", Type: "cert", Name: "n"}}},
			Components: []extension.Component{{Domain: "z.$domain"}, {Domain: "all.example.org"}, {Domain: "a.$domain", Disco: extension.Disco{Features: []string{"urn:c", "urn:c"}}}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	const f, i = "<query xmlns='http://jabber.org/protocol/disco#info'>", "<query xmlns='http://jabber.org/protocol/disco#items'"
	always := "<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>"
	account := f + "<identity category='account' type='registered'/>" + always + "<feature var='urn:acc'/><x xmlns='jabber:x:data'/></query>"
	for _, row := range []struct{ rule, space, to, want string }{
		{"XEP-0030 3.1 each feature once, sorted", registry.NSInfo, "example.test", f + "<identity category='auth' type='cert' name='n'/><identity category='pubsub' type='pep'/>" +
			"<identity category='server' type='im' name='hexmpp'/><feature var='http://jabber.org/protocol/caps'/>" + always + "<feature var='urn:a'/><feature var='urn:m'/><feature var='urn:z'/></query>"},
		{"XEP-0030 3.1 the own account", registry.NSInfo, "romeo@example.test", account},
		{"RFC 6120 10.3.3 no to is the own account", registry.NSInfo, "", account},
		{"XEP-0030 4.1 components of the domain that is asked, sorted", registry.NSItems, "example.test", i + "><item jid='a.example.test'/><item jid='all.example.org'/><item jid='z.example.test'/></query>"},
		{"XEP-0030 4.1 components of the domain that is asked, sorted", registry.NSItems, "example.net", i + "><item jid='a.example.net'/><item jid='all.example.org'/><item jid='z.example.net'/></query>"},
		{"XEP-0030 4.1 the own account: available resources", registry.NSItems, "romeo@example.test", i + "><item jid='romeo@example.test/x&amp;y'/></query>"},
		{"XEP-0030 4.1 no to is the own account", registry.NSItems, "", i + "><item jid='romeo@example.test/x&amp;y'/></query>"},
	} {
		to := extension.ToOwnAccount
		if strings.HasPrefix(row.to, "example.") {
			to = extension.ToServer
		}
		c, ok := r.IQ(stanza.Child{Space: row.space, Local: "query"}, stanza.Get, to)
		if !ok {
			t.Errorf("%s: nobody answers", row.rule)
			continue
		}
		if got, err := ask(t, c, row.space, row.to, ""); err != nil || got != row.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", row.rule, err, got, row.want)
		}
		if _, err := ask(t, c, row.space, row.to, "urn:node"); err == nil || stanza.AsError(err).Condition != stanza.ItemNotFound {
			t.Errorf("XEP-0030 7 unknown node, %s: %v", row.rule, err)
		}
		if _, ok := r.IQ(stanza.Child{Space: row.space, Local: "query"}, stanza.Set, to); ok {
			t.Errorf("XEP-0030 3.1 a set is answered: %s", row.rule)
		}
	}
	c := r.Component("a.example.test")
	claim, ok := c.Disco(stanza.Child{Space: registry.NSInfo, Local: "query"}, stanza.Get)
	if got, err := ask(t, claim, registry.NSInfo, "a.example.test", ""); !ok || err != nil || got != f+always+"<feature var='urn:c'/></query>" {
		t.Error(got, err)
	}
	if _, err := ask(t, claim, registry.NSInfo, "a.example.test", "x"); err == nil || stanza.AsError(err).Condition != stanza.ItemNotFound {
		t.Error(err)
	}
	claim, _ = c.Disco(stanza.Child{Space: registry.NSItems, Local: "query"}, stanza.Get)
	if got, err := ask(t, claim, registry.NSItems, "a.example.test", ""); err != nil || got != i+"/>" {
		t.Error(got, err)
	}
	if _, ok := c.Disco(stanza.Child{Space: registry.NSInfo, Local: "query"}, stanza.Set); ok {
		t.Error("a component answers a set")
	}
	if r.Component("b.example.test") != nil || r.Hosted("a.example.test") || !r.Hosted("example.net") || r.Default() != "example.test" {
		t.Error("domains")
	}
}

// XEP-0030 8: who is told of an account, and what all others are told, whether or
// not there is such an account.
func TestDiscoOfAccounts(t *testing.T) {
	r, err := newRegistry(t, extension.Registration{Name: "a", Account: extension.Disco{Features: []string{"urn:acc"}}})
	if err != nil {
		t.Fatal(err)
	}
	const romeo, juliet, nurse = "romeo@example.test", "juliet@example.net/balcony", "nurse@example.net/house"
	const none = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
	for _, row := range []struct {
		rule, space, from, to, node, want string
		condition                         stanza.Condition
	}{
		{"3.1 a contact", registry.NSInfo, juliet, romeo, "", "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='account' type='registered'/>" +
			"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='urn:acc'/></query>", ""},
		{"3.2 a node that is not there", registry.NSInfo, juliet, romeo, "n", "", stanza.ItemNotFound},
		{"8 item 1.2: not authorized", registry.NSInfo, nurse, romeo, "", "", stanza.ServiceUnavailable},
		{"8 item 1.2: with a node", registry.NSInfo, nurse, romeo, "n", "", stanza.ServiceUnavailable},
		{"8 item 1.2: the other direction does not count", registry.NSInfo, romeo + "/x", "juliet@example.net", "", "", stanza.ServiceUnavailable},
		{"8 item 1.1: no such account", registry.NSInfo, nurse, "nobody@example.test", "", "", stanza.ServiceUnavailable},
		{"8 item 1.1: no such account, a node", registry.NSInfo, juliet, "nobody@example.test", "n", "", stanza.ServiceUnavailable},
		{"8 item 1.2: a server is no contact", registry.NSInfo, "example.net", romeo, "", "", stanza.ServiceUnavailable},
		{"storage fails", registry.NSInfo, "broken@example.net/x", romeo, "", "", stanza.InternalServerError},
		{"4.1 a contact", registry.NSItems, juliet, romeo, "", "<query xmlns='http://jabber.org/protocol/disco#items'><item jid='romeo@example.test/x&amp;y'/></query>", ""},
		{"4.2 a node that is not there", registry.NSItems, juliet, romeo, "n", "", stanza.ItemNotFound},
		{"8 item 2.2: not authorized", registry.NSItems, nurse, romeo, "", none, ""},
		{"8 item 2.1: no such account", registry.NSItems, nurse, "nobody@example.test", "", none, ""},
		{"8 item 2: with a node", registry.NSItems, nurse, romeo, "n'", "<query xmlns='http://jabber.org/protocol/disco#items' node='n&apos;'/>", ""},
		{"8 item 2: with a node", registry.NSItems, nurse, "nobody@example.test", "n'", "<query xmlns='http://jabber.org/protocol/disco#items' node='n&apos;'/>", ""},
		{"storage fails", registry.NSItems, "broken@example.net/x", romeo, "", "", stanza.InternalServerError},
	} {
		c, ok := r.IQ(stanza.Child{Space: row.space, Local: "query"}, stanza.Get, extension.ToAccount)
		if !ok || c.Handler.Inline {
			t.Fatal("nobody answers, or without looking at storage")
		}
		got, err := askAs(t, c, row.from, row.space, row.to, row.node)
		refused := stanza.AsError(err)
		switch {
		case refused == nil && row.condition == "" && got == row.want:
		case refused != nil && refused.Condition == row.condition && (row.condition != stanza.ServiceUnavailable || refused.Text == ""):
		default:
			t.Errorf("XEP-0030 %s: %v\ngot  %s\nwant %s %s", row.rule, err, got, row.want, row.condition)
		}
	}
}

func TestItemsOfComponent(t *testing.T) {
	fails := stanza.Err(stanza.Forbidden, "")
	var fail error
	r, err := newRegistry(t, extension.Registration{Name: "a", Components: []extension.Component{{Domain: "a.example.org",
		Items: func(context.Context, *extension.Host, extension.IQ) ([]extension.Item, error) {
			return []extension.Item{{JID: jid.MustParse("r@a.example.org"), Node: "n&", Name: "N"}, {JID: jid.MustParse("a.example.org")}}, fail
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	claim, ok := r.Component("a.example.org").Disco(stanza.Child{Space: registry.NSItems, Local: "query"}, stanza.Get)
	if !ok || claim.Handler.Inline {
		t.Error("Items may wait")
	}
	want := "<query xmlns='http://jabber.org/protocol/disco#items'><item jid='r@a.example.org' node='n&amp;' name='N'/><item jid='a.example.org'/></query>"
	if got, err := ask(t, claim, registry.NSItems, "a.example.org", ""); err != nil || got != want {
		t.Error(got, err)
	}
	fail = fails
	if _, err := ask(t, claim, registry.NSItems, "a.example.org", ""); err != fails {
		t.Error(err)
	}
}

func TestClaims(t *testing.T) {
	handle := func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) { return nil, nil }
	iq := func(name, typ string, to extension.To) extension.Registration {
		return extension.Registration{Name: name, IQ: []extension.IQHandler{{Space: "urn:x", Local: "q", Type: typ, To: to, Handle: handle}}}
	}
	component := func(name string, types ...string) extension.Registration {
		c := extension.Component{Domain: name + ".$domain"}
		for _, typ := range types {
			c.IQ = append(c.IQ, extension.IQHandler{Space: "urn:x", Local: "q", Type: typ, Handle: handle})
		}
		return extension.Registration{Name: name, Components: []extension.Component{c}}
	}
	for _, row := range []struct {
		rule string
		regs []extension.Registration
		want string // part of the error, "" for none
	}{
		{"one payload, two addressees", []extension.Registration{iq("a", "", extension.ToServer), iq("b", "", extension.ToAccount|extension.ToOwnAccount)}, ""},
		{"get and set", []extension.Registration{iq("a", "get", extension.ToServer), iq("b", "set", extension.ToServer)}, ""},
		{"both types over one", []extension.Registration{iq("a", "set", extension.ToServer), iq("b", "", extension.ToServer|extension.ToStream)}, "a and b both claim iq set <q xmlns='urn:x'/>"},
		{"no function", []extension.Registration{{Name: "a", IQ: []extension.IQHandler{{Space: "urn:x", Local: "q", To: extension.ToServer}}}}, "a: an iq handler needs a payload name, addressees and a function: <q xmlns='urn:x'/>"},
		{"ordered and inline", []extension.Registration{{Name: "a", IQ: []extension.IQHandler{{Space: "urn:x", Local: "q", To: extension.ToServer, Handle: handle, Inline: true, Ordered: true}}}}, "a: an iq handler that is Ordered may have to wait"},
		{"a stage without a function", []extension.Registration{{Name: "a", Permissions: []extension.Permission{extension.SeeStanzas}, Stages: []extension.StageHandler{{Stage: extension.Submit}}}}, "a: a handler of the stage"},
		{"two of one component", []extension.Registration{component("a", "set", ""), component("b", "get", "")}, "a has two handlers of a.example.test for iq set <q xmlns='urn:x'/>"},
		{"get and set of one component", []extension.Registration{component("a", "set", "get")}, ""},
		{"a component's without a function", []extension.Registration{{Name: "a", Components: []extension.Component{{Domain: "a.$domain", IQ: []extension.IQHandler{{Space: "urn:x", Local: "q"}}}}}}, "a: an iq handler of a.example.test needs a payload name and a function: <q xmlns='urn:x'/>"},
		{"no addressee", []extension.Registration{iq("a", "", 0)}, "a: an iq handler needs"},
		{"service discovery", []extension.Registration{{Name: "a", IQ: []extension.IQHandler{{Space: registry.NSInfo, Local: "query", To: extension.ToServer, Handle: handle}}}}, "disco and a both claim iq get"},
		{"the name disco is taken", []extension.Registration{{Name: "disco"}}, `two extensions are called "disco"`},
		{"no name", []extension.Registration{{}}, "without a name"},
		{"a component that is an account", []extension.Registration{{Name: "a", Components: []extension.Component{{Domain: "x@$domain"}}}}, "is not a domain"},
	} {
		_, err := newRegistry(t, row.regs...)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.rule, err, row.want)
		}
	}
}

func TestStreamFeatures(t *testing.T) {
	feature := func(before bool, name string) extension.StreamFeature {
		return extension.StreamFeature{Before: before, Element: func(domain string) *stanza.Element {
			if domain != "example.test" {
				return nil
			}
			return stanza.El("urn:f", name)
		}}
	}
	r, err := newRegistry(t, extension.Registration{Name: "a", StreamFeatures: []extension.StreamFeature{feature(true, "one"), feature(true, "two"), feature(false, "after")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		domain string
		before bool
		want   []string
	}{
		{"example.test", true, []string{"one", "two"}}, {"example.test", false, []string{"c", "after"}}, {"example.net", true, nil}, {"example.net", false, []string{"c"}},
	} {
		var got []string
		for _, e := range r.StreamFeatures(row.domain, row.before) {
			got = append(got, e.Local)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%+v: %v", row, got)
		}
	}
}

// XEP-0115 6.2, 6.3: the hash in the stream features is that of the answer to
// disco#info, also under the node that the features name.
func TestCaps(t *testing.T) {
	form := stanza.El("jabber:x:data", "x", stanza.At("type", "result")).Add(
		stanza.El("jabber:x:data", "field", stanza.At("var", "FORM_TYPE"), stanza.At("type", "hidden")).Add(stanza.El("jabber:x:data", "value").WithText("urn:f")))
	r, err := newRegistry(t, extension.Registration{Name: "a", Server: extension.Disco{
		Features: []string{"urn:z", "urn:a"}, Identities: []extension.Identity{{Category: "pubsub", Type: "pep", Name: "n"}}, Forms: []*stanza.Element{form}}})
	if err != nil {
		t.Fatal(err)
	}
	c := r.StreamFeatures("example.net", false)[0]
	if len(r.StreamFeatures("example.net", true)) > 0 {
		t.Error("offered before login")
	}
	info, _ := r.IQ(stanza.Child{Space: registry.NSInfo, Local: "query"}, stanza.Get, extension.ToServer)
	plain, err := ask(t, info, registry.NSInfo, "example.net", "")
	if err != nil {
		t.Fatal(err)
	}
	query, err := stanza.ParseElement(plain, "")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := caps.Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	if ver := answer.Ver(crypto.SHA1); c.Attr("hash") != "sha-1" || c.Attr("ver") != ver {
		t.Errorf("%s, want ver %s", c.Append(nil, ""), ver)
	}
	node := c.Attr("node") + "#" + c.Attr("ver")
	want := strings.Replace(plain, ">", " node='"+node+"'>", 1)
	if got, err := ask(t, info, registry.NSInfo, "example.net", node); err != nil || got != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
	items, _ := r.IQ(stanza.Child{Space: registry.NSItems, Local: "query"}, stanza.Get, extension.ToServer)
	for _, bad := range []struct {
		claim           registry.Claim
		space, to, node string
	}{
		{info, registry.NSInfo, "example.net", c.Attr("node")},
		{info, registry.NSInfo, "example.net", node + "="},
		{info, registry.NSInfo, "romeo@example.test", node},
		{items, registry.NSItems, "example.net", node},
	} {
		if _, err := ask(t, bad.claim, bad.space, bad.to, bad.node); err == nil || stanza.AsError(err).Condition != stanza.ItemNotFound {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	_, err = newRegistry(t, extension.Registration{Name: "a", Server: extension.Disco{Forms: []*stanza.Element{form}}},
		extension.Registration{Name: "b", Server: extension.Disco{Forms: []*stanza.Element{form}}})
	if err == nil || !strings.Contains(err.Error(), "a form comes twice") {
		t.Errorf("two forms of one type: %v", err)
	}
}
