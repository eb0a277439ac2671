package adhoc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/adhoc"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var (
	bard   = extensiontest.Client("bard@example.org/globe")
	moor   = extensiontest.Client("othello@example.org/venice")
	nobody = jid.JID{}
)

// service has a command "name", which asks for a name and stores it, "now", which
// counts, and "fail". The bard and the moor may run them.
func service() extension.Registration {
	return serving(func(j jid.JID) bool { return j == bard.Session.Bare() || j == moor.Session.Bare() })
}

func serving(may func(jid.JID) bool) extension.Registration {
	c := adhoc.Commands{
		Disco: extension.Disco{Identities: []extension.Identity{{Category: "component", Type: "generic", Name: "Test"}}, Features: []string{"urn:x"}},
		May:   may,
		List: []adhoc.Command{{
			Node: "name", Name: "Give a name",
			Form: func(context.Context, *extension.Host, adhoc.Request) (*form.Form, error) {
				return &form.Form{Type: form.Ask, Title: "Name", Fields: []form.Field{{Var: "name", Required: true}}}, nil
			},
			Do: func(ctx context.Context, h *extension.Host, r adhoc.Request, v form.Values) (string, error) {
				if v.Get("name") == "unspeakable" {
					return "", adhoc.BadPayload("unspeakable")
				}
				e, _, err := h.Store.Get(ctx, nobody, "names")
				h.Store.Swap(nobody, "names", append(append([]byte(nil), e.Value...), (v.Get("name")+" by "+r.From.Local()+" at "+r.To.String()+" in "+r.Lang+";")...), e.Revision)
				return "Named.", err
			},
		}, {
			Node: "now", Name: "At once",
			Do: func(_ context.Context, h *extension.Host, _ adhoc.Request, v form.Values) (string, error) {
				h.Store.Put(nobody, "done", []byte(fmt.Sprint(v == nil)))
				return "", nil
			},
		}, {
			Node: "fail", Name: "Fail",
			Do: func(context.Context, *extension.Host, adhoc.Request, form.Values) (string, error) {
				return "", stanza.Err(stanza.Conflict, "")
			},
		}},
	}
	return extension.Registration{Name: "test", Components: []extension.Component{{Domain: "c.example.org", IQ: c.Handlers()}}}
}

func harness(t testing.TB) *extensiontest.Harness {
	return extensiontest.New(t, service(), extensiontest.Options{})
}

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return serving(func(jid.JID) bool { return true }) })
}

func ask(t testing.TB, h *extensiontest.Harness, o extension.Origin, typ, payload string) *stanza.Stanza {
	t.Helper()
	return h.IQ(o, extensiontest.Parse(t, "<iq type='"+typ+"' id='1' to='c.example.org' xml:lang='de'>"+payload+"</iq>"))
}

func command(attrs, content string) string {
	return "<command xmlns='http://jabber.org/protocol/commands' " + attrs + ">" + content + "</command>"
}

func submit(value string) string {
	return "<x xmlns='jabber:x:data' type='submit'><field var='name'><value>" + value + "</value></field></x>"
}

// begin executes a command with a form and returns the id of its session.
func begin(t testing.TB, h *extensiontest.Harness, o extension.Origin) string {
	t.Helper()
	answer := ask(t, h, o, stanza.Set, command("node='name'", ""))
	e := answer.Find(adhoc.NS, "command")
	if e == nil || e.Attr("status") != "executing" || e.Attr("sessionid") == "" {
		t.Fatalf("not executing: %v", answer)
	}
	return e.Attr("sessionid")
}

func names(h *extensiontest.Harness) string {
	e, _ := h.Entry(nobody, "names")
	return string(e.Value)
}

func TestDiscovery(t *testing.T) {
	const (
		info  = "http://jabber.org/protocol/disco#info"
		items = "http://jabber.org/protocol/disco#items"
		heads = "<feature var='http://jabber.org/protocol/commands'/><feature var='" + info + "'/><feature var='" + items + "'/>"
	)
	stranger := extensiontest.Client("iago@example.org/x")
	for _, row := range []struct {
		rule, space, node string
		by                extension.Origin
		want              string // "" for an error
		condition         stanza.Condition
	}{
		{"XEP-0050 2.1", info, "", stranger, "<identity category='component' type='generic' name='Test'/>" + heads + "<feature var='urn:x'/>", ""},
		{"XEP-0050 2.2 the node of the list", info, adhoc.NS, stranger, "<identity category='automation' type='command-list' name='Commands'/>" + heads, ""},
		{"XEP-0050 2.2 example 6", info, "now", bard, "<identity category='automation' type='command-node' name='At once'/>" + heads + "<feature var='jabber:x:data'/>", ""},
		{"XEP-0050 2.2 not available to the requester", info, "now", stranger, "", stanza.Forbidden},
		{"XEP-0030 7 no such node", info, "x", bard, "", stanza.ItemNotFound},
		{"XEP-0050 2.2 example 4", items, adhoc.NS, bard, "<item jid='c.example.org' node='name' name='Give a name'/><item jid='c.example.org' node='now' name='At once'/><item jid='c.example.org' node='fail' name='Fail'/>", ""},
		{"XEP-0050 2.2 not the same list to all", items, adhoc.NS, stranger, " ", ""},
		{"XEP-0030 no items", items, "", bard, " ", ""},
		{"XEP-0030 no items of a command", items, "now", bard, " ", ""},
		{"XEP-0030 7 no items of what is not there", items, "x", bard, "", stanza.ItemNotFound},
	} {
		h := harness(t)
		attr := ""
		if row.node != "" {
			attr = " node='" + row.node + "'"
		}
		got := ask(t, h, row.by, stanza.Get, "<query xmlns='"+row.space+"'"+attr+"/>")
		if row.want == "" {
			if got.Type != stanza.TypeError || stanza.ParseError(got).Condition != row.condition {
				t.Errorf("%s: %v", row.rule, got)
			}
			continue
		}
		t.Run(row.rule, func(t *testing.T) {
			extensiontest.Expect(t, got, "<iq type='result' id='1' from='c.example.org' to='"+row.by.Session.String()+"'><query xmlns='"+row.space+"'"+attr+">"+strings.TrimSpace(row.want)+"</query></iq>")
		})
	}
}

// The way through a command (2.4.2), and back out of it (2.4.3).
func TestStages(t *testing.T) {
	const head = "<iq type='result' id='1' from='c.example.org' to='bard@example.org/globe'>"
	for _, action := range []string{"", "action='execute'", "action='complete'"} {
		h := harness(t)
		asked := ask(t, h, bard, stanza.Set, command("node='name' action='execute' status='ignored'", ""))
		id := asked.Find(adhoc.NS, "command").Attr("sessionid")
		extensiontest.Expect(t, asked, head+command("node='name' sessionid='"+id+"' status='executing' xml:lang='en'",
			"<actions execute='complete'><complete/></actions><x xmlns='jabber:x:data' type='form'><title>Name</title><field var='name'><required/></field></x>")+"</iq>")
		done := ask(t, h, bard, stanza.Set, command("node='name' sessionid='"+id+"' "+action, submit("Hamlet")))
		extensiontest.Expect(t, done, head+command("node='name' sessionid='"+id+"' status='completed' xml:lang='en'", "<note type='info'>Named.</note>")+"</iq>")
		if got := names(h); got != "Hamlet by bard at c.example.org in de;" {
			t.Errorf("done: %q", got)
		}
	}
	h := harness(t)
	id := begin(t, h, bard)
	extensiontest.Expect(t, ask(t, h, bard, stanza.Set, command("node='name' sessionid='"+id+"' action='cancel'", submit("x"))),
		head+command("node='name' sessionid='"+id+"' status='canceled' xml:lang='en'", "")+"</iq>")
	if got := names(h); got != "" {
		t.Errorf("cancelled, but %q", got)
	}
	done := ask(t, h, bard, stanza.Set, command("node='now'", ""))
	if e := done.Find(adhoc.NS, "command"); e == nil || e.Attr("status") != "completed" || e.Attr("sessionid") == "" || len(e.Elements()) != 0 {
		t.Errorf("a command without a form: %v", done)
	}
	if e, _ := h.Entry(nobody, "done"); string(e.Value) != "true" {
		t.Errorf("done: %q", e.Value)
	}
}

func TestRefusals(t *testing.T) {
	for _, row := range []struct {
		rule      string
		by        extension.Origin
		attrs     string // %s is the session of the bard
		content   string
		condition stanza.Condition
		typ       stanza.ErrorType
		app       string
	}{
		{"4.4 not allowed to execute", extensiontest.Client("iago@example.org/x"), "node='name'", "", stanza.Forbidden, stanza.Cancel, ""},
		{"4.4 neither a session of another", extensiontest.Client("iago@example.org/x"), "node='name' sessionid='%s'", submit("x"), stanza.Forbidden, stanza.Cancel, ""},
		{"4.1 no node", bard, "", "", stanza.BadRequest, stanza.Modify, ""},
		{"4.4 no such node", bard, "node='x'", "", stanza.ItemNotFound, stanza.Cancel, ""},
		{"4.4 malformed-action", bard, "node='name' action='dance'", "", stanza.BadRequest, stanza.Modify, "malformed-action"},
		{"4.4 malformed-action in a session", bard, "node='name' sessionid='%s' action='Cancel'", "", stanza.BadRequest, stanza.Modify, "malformed-action"},
		{"4.4 bad-action: nothing to cancel", bard, "node='name' action='cancel'", "", stanza.BadRequest, stanza.Modify, "bad-action"},
		{"4.4 bad-action: nothing to complete", bard, "node='name' action='complete'", submit("x"), stanza.BadRequest, stanza.Modify, "bad-action"},
		{"4.4 bad-action: no stage before", bard, "node='name' sessionid='%s' action='prev'", "", stanza.BadRequest, stanza.Modify, "bad-action"},
		{"4.4 bad-action: no stage behind", bard, "node='name' sessionid='%s' action='next'", submit("x"), stanza.BadRequest, stanza.Modify, "bad-action"},
		{"3.7 bad-locale", bard, "node='name' xml:lang='fr-ca'", "", stanza.BadRequest, stanza.Modify, "bad-locale"},
		{"4.4 bad-payload: none", bard, "node='name' sessionid='%s'", "", stanza.BadRequest, stanza.Modify, "bad-payload"},
		{"4.4 bad-payload: a required field", bard, "node='name' sessionid='%s'", "<x xmlns='jabber:x:data' type='submit'/>", stanza.BadRequest, stanza.Modify, "bad-payload"},
		{"3.5.1 a cancelled form counts as submitted", bard, "node='name' sessionid='%s'", "<x xmlns='jabber:x:data' type='cancel'/>", stanza.BadRequest, stanza.Modify, "bad-payload"},
		{"4.4 bad-payload: of no type", bard, "node='name' sessionid='%s'", "<x xmlns='jabber:x:data'/>", stanza.BadRequest, stanza.Modify, "bad-payload"},
		{"4.4 bad-payload: a value that is not taken", bard, "node='name' sessionid='%s'", submit("unspeakable"), stanza.BadRequest, stanza.Modify, "bad-payload"},
		{"4.4 bad-sessionid", bard, "node='name' sessionid='1'", submit("x"), stanza.BadRequest, stanza.Modify, "bad-sessionid"},
		{"4.4 bad-sessionid: one that could be ours", bard, "node='name' sessionid='" + strings.Repeat("A", 43) + "'", submit("x"), stanza.BadRequest, stanza.Modify, "bad-sessionid"},
		{"3.3 valid for one requester", moor, "node='name' sessionid='%s'", submit("x"), stanza.BadRequest, stanza.Modify, "bad-sessionid"},
		{"3.3 another resource is another requester", extensiontest.Client("bard@example.org/swan"), "node='name' sessionid='%s'", submit("x"), stanza.BadRequest, stanza.Modify, "bad-sessionid"},
		{"3.3 valid for one command", bard, "node='now' sessionid='%s'", "", stanza.BadRequest, stanza.Modify, "bad-sessionid"},
		{"what Do returns", bard, "node='fail'", "", stanza.Conflict, stanza.Cancel, ""},
	} {
		h := harness(t)
		id := begin(t, h, bard)
		got := ask(t, h, row.by, stanza.Set, command(strings.ReplaceAll(row.attrs, "%s", id), row.content))
		e := stanza.ParseError(got)
		app := ""
		if e.App != nil && e.App.Space == adhoc.NS {
			app = e.App.Local
		}
		if got.Type != stanza.TypeError || e.Condition != row.condition || e.Type != row.typ || app != row.app {
			t.Errorf("XEP-0050 %s: %v", row.rule, got)
		}
		// The session is as it was.
		if done := ask(t, h, bard, stanza.Set, command("node='name' sessionid='"+id+"'", submit("Yorick"))); done.Type != stanza.Result || names(h) != "Yorick by bard at c.example.org in de;" {
			t.Errorf("XEP-0050 %s: afterwards %v, %q", row.rule, done, names(h))
		}
	}
}

func expired(s *stanza.Stanza) bool {
	e := stanza.ParseError(s)
	return s.Type == stanza.TypeError && e.Condition == stanza.NotAllowed && e.Type == stanza.Cancel && e.App != nil && e.App.Local == "session-expired"
}

// XEP-0050 4.4: a session that was completed, cancelled or timed out.
func TestSessionsEnd(t *testing.T) {
	for how, end := range map[string]func(h *extensiontest.Harness, id string){
		"completed": func(h *extensiontest.Harness, id string) {
			ask(t, h, bard, stanza.Set, command("node='name' sessionid='"+id+"'", submit("a")))
		},
		"cancelled": func(h *extensiontest.Harness, id string) {
			ask(t, h, bard, stanza.Set, command("node='name' action='cancel' sessionid='"+id+"'", ""))
		},
		"timed out": func(h *extensiontest.Harness, _ string) { h.Advance(15 * time.Minute) },
		"too many": func(h *extensiontest.Harness, _ string) {
			for range 10 {
				h.Advance(time.Second)
				begin(t, h, bard)
			}
		},
	} {
		h := harness(t)
		id, other := begin(t, h, bard), begin(t, h, moor)
		end(h, id)
		before := names(h)
		for _, content := range []string{submit("again"), ""} {
			if got := ask(t, h, bard, stanza.Set, command("node='name' sessionid='"+id+"'", content)); !expired(got) || names(h) != before {
				t.Errorf("%s: %v, %q", how, got, names(h))
			}
		}
		if got := ask(t, h, bard, stanza.Set, command("node='name' action='cancel' sessionid='"+id+"'", "")); !expired(got) {
			t.Errorf("%s, and cancelled: %v", how, got)
		}
		if done := ask(t, h, moor, stanza.Set, command("node='name' sessionid='"+other+"'", submit("b"))); how != "timed out" && done.Type != stanza.Result {
			t.Errorf("%s: the session of another: %v", how, done)
		}
	}
}

// An account has ten sessions at most, and none is kept for ever: the next one that is
// begun takes away those whose time is up.
func TestSessionsAreBounded(t *testing.T) {
	h := harness(t)
	var ids []string
	for range 12 {
		ids = append(ids, begin(t, h, bard))
		h.Advance(time.Second)
	}
	for i, id := range ids {
		if got := ask(t, h, bard, stanza.Set, command("node='name' sessionid='"+id+"' action='cancel'", "")); (got.Type == stanza.Result) != (i >= 2) {
			t.Errorf("session %d: %v", i, got)
		}
	}
	for range 10 {
		ids = append(ids, begin(t, h, bard))
	}
	h.Advance(time.Hour)
	begin(t, h, bard)
	if n := len(h.Entries(nobody, "adhoc/")); n != 1 {
		t.Errorf("%d sessions are stored", n)
	}
}

// The same form twice at once is one: the second one runs again, and finds the session
// gone.
func TestTwiceAtOnce(t *testing.T) {
	h := harness(t)
	id := begin(t, h, bard)
	complete := func() *stanza.Stanza {
		return ask(t, h, bard, stanza.Set, command("node='name' sessionid='"+id+"'", submit("once")))
	}
	var first *stanza.Stanza
	h.BeforeCommit(func() { first = complete() })
	if second := complete(); first.Type != stanza.Result || !expired(second) || names(h) != "once by bard at c.example.org in de;" {
		t.Errorf("%v\n%v\n%q", first, second, names(h))
	}
}

// What is not there, or can't be read, is nobody's session; storage that fails is an
// error of ours.
func TestStorageFails(t *testing.T) {
	h := harness(t)
	id := begin(t, h, bard)
	h.FailStore(errors.New("disk"))
	for _, payload := range []string{command("node='name'", ""), command("node='name' sessionid='"+id+"'", submit("x"))} {
		if got := ask(t, h, bard, stanza.Set, payload); stanza.ParseError(got).Condition != stanza.InternalServerError {
			t.Errorf("%v", got)
		}
	}
	h.FailStore(nil)
	if errs := h.Errors(); len(errs) != 2 {
		t.Errorf("logged %v", errs)
	}
	if done := ask(t, h, bard, stanza.Set, command("node='name' sessionid='"+id+"'", submit("x"))); done.Type != stanza.Result {
		t.Errorf("afterwards: %v", done)
	}
}

// FuzzCommand hands in what may stand for a command, of somebody who has a session.
func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		command("node='name'", ""), command("node='name' sessionid='%s'", submit("x")), command("node='name' sessionid='%s' action='cancel'", ""),
		command("node='now' sessionid='%s'", ""), command("node='name' sessionid='%s'", "<x xmlns='jabber:x:data' type='cancel'><field var='name'><value/></field></x>"),
		command("node='name' xml:lang='x' action='prev'", "<actions/>"), command("sessionid='"+strings.Repeat("_", 43)+"' node='name'", submit("&#10;")),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := harness(t)
		id := begin(t, h, bard)
		e, err := stanza.ParseElement(strings.ReplaceAll(text, "%s", id), "")
		if err != nil || e.Space != adhoc.NS || e.Local != "command" {
			return
		}
		got := h.IQ(bard, stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1", To: jid.MustParse("c.example.org")}, e))
		if got == nil || got.Type != stanza.Result && got.Type != stanza.TypeError || got.ID != "1" {
			t.Fatalf("answer %v", got)
		}
		if got.Type == stanza.TypeError && names(h) != "" {
			t.Errorf("refused, but done: %q", names(h))
		}
		if n := len(h.Entries(nobody, "adhoc/")); n > 2 {
			t.Errorf("%d sessions", n)
		}
	})
}
