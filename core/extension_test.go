package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const ask = "<iq type='get' id='1' to='example.test'><q xmlns='urn:x'/></iq>"

// answering returns an extension that answers <q xmlns='urn:x'/>.
func answering(inline bool, handle func(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error)) extension.Registration {
	return extension.Registration{Name: "test", IQ: []extension.IQHandler{{
		Space: "urn:x", Local: "q", Type: stanza.Get, To: extension.ToServer | extension.ToOwnAccount | extension.ToAccount, Inline: inline, Handle: handle,
	}}}
}

func TestIQHandler(t *testing.T) {
	for _, inline := range []bool{true, false} {
		w := newWorld(t, with(answering(inline, func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
			switch q.Payload().Text() {
			case "refuse":
				return nil, stanza.Err(stanza.Forbidden, "no")
			case "fail":
				return nil, errors.New("secret cause")
			case "panic":
				panic("secret cause")
			}
			h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, ID: "behind", From: jid.MustParse("example.test"), To: q.From}))
			return stanza.El("urn:x", "a"), nil
		})))
		romeo := w.login("romeo@example.test/x", "")
		romeo.send(ask)
		romeo.want("<iq from='example.test' to='romeo@example.test/x' id='1' type='result'><a xmlns='urn:x'/></iq>" +
			"<message from='example.test' to='romeo@example.test/x' id='behind'/>") // the answer comes first
		for text, want := range map[string]string{"refuse": "<forbidden ", "fail": "<internal-server-error ", "panic": "<internal-server-error "} {
			romeo.send(strings.Replace(ask, "/>", ">"+text+"</q>", 1))
			out := romeo.take()
			if !strings.Contains(out, want) || strings.Contains(out, "secret") || strings.Contains(out, "behind") {
				t.Errorf("%s: %s", text, out)
			}
		}
	}
}

func TestHandlerIsATransaction(t *testing.T) {
	owner := jid.MustParse("example.test")
	fail := true
	w := newWorld(t, with(answering(false, func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		if e, ok, _ := h.Store.Get(ctx, jid.JID{}, "k"); ok {
			return stanza.El("urn:x", "a").WithText(string(e.Value)), nil
		}
		h.Store.Put(jid.JID{}, "k", []byte("v1"))
		h.Store.Put(jid.JID{}, "k", []byte("v2"))
		h.Store.Put(jid.JID{}, "gone", nil)
		h.Store.Delete(jid.JID{}, "gone")
		if e, ok, _ := h.Store.Get(ctx, jid.JID{}, "k"); !ok || string(e.Value) != "v2" {
			t.Error("a read does not see the own write")
		}
		if _, ok, _ := h.Store.Get(ctx, jid.JID{}, "gone"); ok {
			t.Error("a read does not see the own deletion")
		}
		if list, err := h.Store.Scan(ctx, jid.JID{}, "", "", 10); err != nil || len(list) != 1 || list[0].Key != "k" {
			t.Error("scan:", list, err)
		}
		h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: owner, To: jid.MustParse("romeo@example.test/x")}))
		if fail {
			fail = false
			return nil, errors.New("no")
		}
		return stanza.El("urn:x", "wrote"), nil
	})))
	romeo := w.login("romeo@example.test/x", "")
	romeo.send(ask).wantPart("internal-server-error")
	romeo.want("") // nothing was sent
	romeo.send(ask).want("<iq from='example.test' to='romeo@example.test/x' id='1' type='result'><wrote xmlns='urn:x'/></iq><message from='example.test' to='romeo@example.test/x'/>")
	romeo.send(ask).wantPart("<a xmlns='urn:x'>v2</a>")
}

func TestSwapConflictRunsTheHandlerAgain(t *testing.T) {
	runs := 0
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		store := p.Store
		with(answering(false, func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
			runs++
			e, _, err := h.Store.Get(ctx, jid.JID{}, "n")
			if err != nil {
				return nil, err
			}
			if runs == 1 { // somebody else comes between read and write
				other := hostOps("test", "n", "other")
				if err := store.Commit(ctx, storage.Writes{Ops: other}); err != nil {
					t.Error(err)
				}
			}
			h.Store.Swap(jid.JID{}, "n", append(e.Value, '!'), e.Revision)
			return stanza.El("urn:x", "a").WithText(string(e.Value)), nil
		}))(o, p)
	})
	w.login("romeo@example.test/x", "").send(ask).wantPart("<a xmlns='urn:x'>other</a>")
	if runs != 2 {
		t.Errorf("%d runs, want 2", runs)
	}
}

func TestPermissions(t *testing.T) {
	w := newWorld(t, with(answering(true, func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		msg := func(from string) *stanza.Stanza {
			return stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse(from), To: jid.MustParse("juliet@example.test")})
		}
		for _, from := range []string{"romeo@example.test", "juliet@example.test/a", "far.test"} {
			if err := h.Stanzas.Send(msg(from)); !errors.Is(err, extension.ErrPermission) {
				t.Errorf("send from %s: %v", from, err)
			}
		}
		for _, from := range []string{"example.test", "example.net", "juliet@example.test"} {
			if err := h.Stanzas.Send(msg(from)); err != nil {
				t.Errorf("send from %s: %v", from, err)
			}
		}
		if err := h.Stanzas.SendAs(q.From.Bare(), msg("x.test")); !errors.Is(err, extension.ErrPermission) || !strings.Contains(err.Error(), "send-as-account") {
			t.Error(err)
		}
		if err := h.Sessions.End(q.From.Bare(), "conflict", ""); !errors.Is(err, extension.ErrPermission) {
			t.Error(err)
		}
		if err := h.Accounts.Remove(context.Background(), q.From.Bare()); !errors.Is(err, extension.ErrPermission) {
			t.Error(err)
		}
		return nil, nil
	})))
	w.login("romeo@example.test/x", "").send(ask).want("<iq from='example.test' to='romeo@example.test/x' id='1' type='result'/>")
}

func TestStages(t *testing.T) {
	stage := func(s extension.Stage, m extension.Match, f func(e *extension.Envelope) extension.Verdict) extension.StageHandler {
		return extension.StageHandler{Stage: s, Class: extension.Decide, Match: m, Handle: func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			return f(e), nil
		}}
	}
	body := func(e *extension.Envelope) string { return e.Stanza.Find("", "body").Text() }
	hasBody := extension.Match{Kinds: []stanza.Kind{stanza.Message}, Child: &extension.Name{Local: "body"}}
	var undelivered []string
	reg := extension.Registration{Name: "test", Permissions: []extension.Permission{extension.SeeStanzas}, Stages: []extension.StageHandler{
		stage(extension.Submit, hasBody, func(e *extension.Envelope) extension.Verdict {
			switch body(e) {
			case "drop":
				return extension.Verdict{Action: extension.Drop}
			case "refuse":
				return extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.PolicyViolation, "")}
			case "panic":
				panic("at the disco")
			}
			return extension.Verdict{}
		}),
		stage(extension.Deliver, hasBody, func(e *extension.Envelope) extension.Verdict {
			if e.Account.String() != "juliet@example.test" {
				t.Errorf("account %s", e.Account)
			}
			return extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Space: "urn:forged"}}, Append: []*stanza.Element{stanza.El("urn:mark", "m")}}
		}),
		stage(extension.Undelivered, hasBody, func(e *extension.Envelope) extension.Verdict {
			undelivered = append(undelivered, body(e))
			return extension.Verdict{Action: extension.Handled}
		}),
		stage(extension.Write, hasBody, func(e *extension.Envelope) extension.Verdict {
			if body(e) == "hold" {
				return extension.Verdict{Action: extension.Drop}
			}
			return extension.Verdict{}
		}),
	}}
	w := newWorld(t, with(reg))
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	say := func(to, text string) {
		romeo.send("<message type='chat' id='1' to='" + to + "'><body>" + text + "</body><x xmlns='urn:forged'/></message>")
	}
	say("juliet@example.test", "hi")
	juliet.want("<message from='romeo@example.test/x' to='juliet@example.test' id='1' type='chat'><body>hi</body><m xmlns='urn:mark'/></message>")
	say("juliet@example.test", "drop")
	say("juliet@example.test", "hold")
	romeo.want("")
	say("juliet@example.test", "refuse")
	romeo.wantPart("<policy-violation ")
	say("juliet@example.test", "panic") // Closed: refused
	romeo.wantPart("<internal-server-error ")
	juliet.want("")
	juliet.send("<presence type='unavailable'/>").take()
	say("juliet@example.test", "late")
	romeo.want("")
	if len(undelivered) != 1 || undelivered[0] != "late" {
		t.Error(undelivered)
	}
	romeo.send("<message type='chat' id='2' to='juliet@example.test'><subject/></message>").wantPart("service-unavailable") // no body: no match
}

func TestStageWritesBeforeDelivery(t *testing.T) {
	reg := extension.Registration{Name: "test", Permissions: []extension.Permission{extension.SeeStanzas}, Stages: []extension.StageHandler{{
		Stage: extension.Deliver, Class: extension.Decide,
		Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			h.Store.Put(jid.JID{}, e.Stanza.ID, []byte(e.Stanza.Content()))
			return extension.Verdict{}, nil
		},
	}}}
	st := &gate{}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		with(reg)(o, p)
		st.Store = p.Store
		p.Store = st
	})
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	st.before = func() { juliet.want("") }
	romeo.send("<message id='1' to='juliet@example.test/a'><body>hi</body></message>")
	juliet.wantPart("<body>hi</body>")
	st.fail = errors.New("disk full")
	romeo.send("<message id='2' to='juliet@example.test/a'><body>hi</body></message>").wantPart("id='2' type='error'><error type='cancel'><internal-server-error ")
	juliet.want("")
}

func TestComponent(t *testing.T) {
	reg := extension.Registration{Name: "echo", Components: []extension.Component{{
		Domain: "echo.$domain",
		Disco:  extension.Disco{Identities: []extension.Identity{{Category: "component", Type: "generic", Name: "Echo"}}, Features: []string{"urn:echo"}},
		Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) error {
			if e.Stanza.Kind == stanza.IQ {
				return stanza.Err(stanza.FeatureNotImplemented, "")
			}
			back := e.Stanza.Header
			back.To, back.From = back.From, back.To
			return h.Stanzas.Send(e.Stanza.With(back))
		},
	}}}
	w := newWorld(t, with(reg))
	romeo := w.login("romeo@example.test/x", "")
	romeo.send("<message id='1' to='a@echo.example.test'><body>hi</body></message><message id='2' to='echo.example.net'/>")
	romeo.want("<message from='a@echo.example.test' to='romeo@example.test/x' id='1'><body>hi</body></message><message from='echo.example.net' to='romeo@example.test/x' id='2'/>")
	romeo.send("<iq type='get' id='3' to='echo.example.test'><q xmlns='urn:x'/></iq>").wantPart("feature-not-implemented")
	romeo.send("<iq type='get' id='4' to='echo.example.test'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>").
		wantPart("<identity category='component' type='generic' name='Echo'/><feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='urn:echo'/>")
	romeo.send("<iq type='get' id='5' to='example.test'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>").
		wantPart("#items'><item jid='echo.example.test'/></query>")
}

func TestRequestAndTimer(t *testing.T) {
	replies, fired := make(chan extension.Reply, 3), make(chan extension.Timer, 1)
	server := jid.MustParse("example.test")
	reg := answering(true, func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		request := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: server, To: q.From}, stanza.El("urn:y", "q"))
		if err := h.Stanzas.Request(request, time.Minute, []byte("state")); err != nil {
			return nil, err
		}
		h.Timers.Set("t", time.Hour, nil)
		return nil, h.Timers.Set("t", time.Nanosecond, []byte("tick"))
	})
	reg.Reply = func(_ context.Context, _ *extension.Host, r extension.Reply) error { replies <- r; return nil }
	reg.Timer = func(_ context.Context, _ *extension.Host, tm extension.Timer) error { fired <- tm; return nil }
	w := newWorld(t, with(reg))
	romeo := w.login("romeo@example.test/x", "")
	romeo.send(ask)
	out := romeo.take()
	_, id, _ := strings.Cut(out, "<iq from='example.test' to='romeo@example.test/x' id='")
	_, id, _ = strings.Cut(id, "<iq from='example.test' to='romeo@example.test/x' id='")
	id, _, _ = strings.Cut(id, "'")
	if id == "" || !strings.Contains(out, "<q xmlns='urn:y'/>") {
		t.Fatal(out)
	}
	juliet := w.login("juliet@example.test/a", "")
	juliet.send("<iq type='result' to='example.test' id='" + id + "'/>") // somebody else can't answer
	romeo.send("<iq type='result' to='example.test' id='" + id + "'><a xmlns='urn:y'/></iq>")
	if r := <-replies; r.Answer == nil || r.Answer.From != jid.MustParse("romeo@example.test/x") || string(r.State) != "state" {
		t.Errorf("%+v", r)
	}
	if tm := <-fired; tm.Key != "t" || string(tm.State) != "tick" {
		t.Errorf("%+v", tm)
	}
}

func TestClaimsAreExclusive(t *testing.T) {
	one, two := answering(true, nil), answering(true, nil)
	handle := func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) { return nil, nil }
	one.IQ[0].Handle, two.IQ[0].Handle, two.Name = handle, handle, "second"
	comp := func(name, domain string) extension.Registration {
		return extension.Registration{Name: name, Components: []extension.Component{{Domain: domain}}}
	}
	stages := extension.Registration{Name: "s", Permissions: []extension.Permission{extension.SeeStanzas}, Stages: []extension.StageHandler{{Stage: extension.Submit,
		Handle: func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
			return extension.Verdict{}, nil
		}}}}
	for name, row := range map[string]struct {
		regs []extension.Registration
		want string
	}{
		"iq":               {[]extension.Registration{one, two}, "test and second both claim"},
		"name":             {[]extension.Registration{one, one}, `two extensions are called "test"`},
		"domain":           {[]extension.Registration{comp("a", "x.$domain"), comp("b", "x.example.test")}, "a and b both claim the domain x.example.test"},
		"hosted":           {[]extension.Registration{comp("a", "example.net")}, "hosted domain"},
		"stage, no order":  {[]extension.Registration{stages}, "no place in its order"},
		"stage, no permit": {[]extension.Registration{{Name: "s", Stages: stages.Stages}}, "see-stanzas"},
	} {
		o := core.Options{Domains: []string{"example.test", "example.net"}}
		var p core.Ports
		newPorts(&p)
		p.Extensions = row.regs
		if _, err := core.New(o, p); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}
