package pipeline_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// handle is a stage handler without a Host.
type handle = func(*extension.Envelope) (extension.Verdict, error)

func handler(stage extension.Stage, f handle) extension.StageHandler {
	return extension.StageHandler{Stage: stage, Class: extension.Decide,
		Handle: func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			return f(e)
		}}
}

func guests(t *testing.T, regs ...extension.Registration) []*host.Guest {
	t.Helper()
	return guestsOn(t, store.New(), regs...)
}

func guestsOn(t *testing.T, s storage.Store, regs ...extension.Registration) (out []*host.Guest) {
	t.Helper()
	h := host.New(host.Deps{Domains: []string{"example.test"}, Store: s, Sessions: registry.New(),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Workers: 1})
	t.Cleanup(func() {
		if err := h.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for i := range regs {
		out = append(out, h.NewGuest(&regs[i], regs[i].Permissions, nil))
	}
	return out
}

// run shows a stanza to the handlers of a stage.
func run(p *pipeline.Pipeline, stage extension.Stage, s *stanza.Stanza) *pipeline.Passage {
	w := &pipeline.Passage{Stage: stage, Envelope: extension.Envelope{Stanza: s, Account: to, Session: from}}
	p.Run(w)
	return w
}

// one returns a pipeline with one handler, and runs an envelope through it.
func one(t *testing.T, h extension.StageHandler) func(*stanza.Stanza) (*stanza.Stanza, pipeline.Outcome, *stanza.Error) {
	t.Helper()
	p, err := pipeline.New(guests(t, extension.Registration{Name: "one", Stages: []extension.StageHandler{h}}), extension.Order{h.Stage: {"one"}}, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	return func(s *stanza.Stanza) (*stanza.Stanza, pipeline.Outcome, *stanza.Error) {
		w := run(p, h.Stage, s)
		return w.Envelope.Stanza, w.Outcome, w.Refusal
	}
}

var (
	from = jid.MustParse("romeo@example.test/x")
	to   = jid.MustParse("juliet@example.test")
)

func message(typ string, children ...*stanza.Element) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, Type: typ, ID: "1", From: from, To: to}, children...)
}

// The order is the list's, whatever the order of registration; several
// handlers of one extension keep theirs.
func TestOrder(t *testing.T) {
	var seen []string
	see := func(name string) handle {
		return func(*extension.Envelope) (extension.Verdict, error) {
			seen = append(seen, name)
			return extension.Verdict{}, nil
		}
	}
	regs := []extension.Registration{
		{Name: "a", Stages: []extension.StageHandler{handler(extension.Submit, see("a1")), handler(extension.Deliver, see("a-deliver")), handler(extension.Submit, see("a2"))}},
		{Name: "b", Stages: []extension.StageHandler{handler(extension.Submit, see("b"))}},
		{Name: "c", Stages: []extension.StageHandler{handler(extension.Submit, see("c"))}},
	}
	p, err := pipeline.New(guests(t, regs...), extension.Order{extension.Submit: {"c", "not enabled", "a", "b"}, extension.Deliver: {"a"}}, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	for stage, want := range map[extension.Stage]string{extension.Submit: "c a1 a2 b", extension.Deliver: "a-deliver", extension.Write: "", extension.Undelivered: ""} {
		seen = nil
		if w := run(p, stage, message("")); w.Outcome != pipeline.Pass || strings.Join(seen, " ") != want {
			t.Errorf("stage %d: %v", stage, seen)
		}
		if p.Wants(stage, stanza.Message) != (want != "") {
			t.Errorf("stage %d: Wants is wrong", stage)
		}
	}
	for _, row := range []struct {
		submit, deliver []string
		want            string
	}{
		{[]string{"a", "b"}, []string{"a"}, "c has a handler"},
		{[]string{"a", "b", "c", "a"}, []string{"a"}, "a is twice in the order of the stage"},
		{[]string{"a", "b", "c"}, []string{"a", "b"}, "b is in the order of the stage 2 but has no handler for it"},
	} {
		if _, err := pipeline.New(guests(t, regs...), extension.Order{extension.Submit: row.submit, extension.Deliver: row.deliver}, pipeline.Memory{}); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v, want %s", err, row.want)
		}
	}
}

// A verdict that makes of an iq what RFC 6120 8.2.3 forbids is a failure of its
// handler, and nothing that it asked for is done.
func TestVerdictsOnIQs(t *testing.T) {
	request := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: "1", From: from, To: to}, stanza.El("urn:x", "q"))
	q, two := request.Header, stanza.El("urn:x", "q")
	nameless, strange := q, q
	nameless.ID, strange.Type = "", "ask"
	for rule, v := range map[string]extension.Verdict{
		"patch: no child left": {Action: extension.Patch, Remove: []extension.Name{{Space: "urn:x"}}},
		"patch: two children":  {Action: extension.Patch, Append: []*stanza.Element{two}},
		"replace: no child":    {Action: extension.Replace, Stanza: stanza.New(q)},
		"replace: no id":       {Action: extension.Replace, Stanza: stanza.New(nameless, two)},
		"replace: no type":     {Action: extension.Replace, Stanza: stanza.New(strange, two)},
	} {
		for policy, want := range map[extension.Policy]pipeline.Outcome{extension.Closed: pipeline.Refused, extension.Open: pipeline.Pass} {
			h := extension.StageHandler{Stage: extension.Submit, Class: extension.Decide, Policy: policy,
				Handle: func(_ context.Context, h *extension.Host, _ *extension.Envelope) (extension.Verdict, error) {
					h.Store.Put(jid.JID{}, "k", nil)
					return v, nil
				}}
			p, err := pipeline.New(guests(t, extension.Registration{Name: "one", Stages: []extension.StageHandler{h}}), extension.Order{extension.Submit: {"one"}}, pipeline.Memory{})
			if err != nil {
				t.Fatal(err)
			}
			w := run(p, extension.Submit, request)
			if w.Outcome != want || w.Envelope.Stanza != request || w.Effects.Pending() || want == pipeline.Refused && w.Refusal.Condition != stanza.InternalServerError {
				t.Errorf("%s, policy %d: outcome %d, %v, %v", rule, policy, w.Outcome, w.Refusal, w.Envelope.Stanza)
			}
		}
	}
	swap := extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Space: "urn:x"}}, Append: []*stanza.Element{stanza.El("urn:y", "q")}}
	got, o, _ := one(t, handler(extension.Submit, func(*extension.Envelope) (extension.Verdict, error) { return swap, nil }))(request)
	if o != pipeline.Pass || len(got.Children()) != 1 || got.Children()[0].Space != "urn:y" {
		t.Errorf("one child for another: outcome %d, %v", o, got)
	}
}

// A verdict that ends the stanza's way keeps it from those behind.
func TestFirstDecisionHolds(t *testing.T) {
	behind := 0
	for action, want := range map[extension.Action]pipeline.Outcome{
		extension.Drop: pipeline.Drop, extension.Handled: pipeline.Drop, extension.Refuse: pipeline.Refused, extension.Pass: pipeline.Pass,
	} {
		regs := []extension.Registration{
			{Name: "a", Stages: []extension.StageHandler{handler(extension.Submit, func(*extension.Envelope) (extension.Verdict, error) { return extension.Verdict{Action: action}, nil })}},
			{Name: "b", Stages: []extension.StageHandler{handler(extension.Submit, func(*extension.Envelope) (extension.Verdict, error) { behind++; return extension.Verdict{}, nil })}},
		}
		p, err := pipeline.New(guests(t, regs...), extension.Order{extension.Submit: {"a", "b"}}, pipeline.Memory{})
		if err != nil {
			t.Fatal(err)
		}
		behind = 0
		w := run(p, extension.Submit, message(""))
		if w.Outcome != want || (behind == 1) != (want == pipeline.Pass) || (w.Refusal != nil) != (want == pipeline.Refused) {
			t.Errorf("action %d: outcome %d, refusal %v, %d behind", action, w.Outcome, w.Refusal, behind)
		}
	}
}

func TestMatch(t *testing.T) {
	iq := func(typ string) *stanza.Stanza {
		return stanza.New(stanza.Header{Kind: stanza.IQ, Type: typ, ID: "1"}, stanza.El("urn:x", "q"))
	}
	presence := func(typ string) *stanza.Stanza {
		return stanza.New(stanza.Header{Kind: stanza.Presence, Type: typ})
	}
	body, other := stanza.El("", "body"), stanza.El("urn:x", "body")
	for _, row := range []struct {
		rule string
		m    extension.Match
		s    *stanza.Stanza
		want bool
	}{
		{"nothing matches anything", extension.Match{}, message(""), true},
		{"nothing matches anything", extension.Match{}, presence("unavailable"), true},
		{"kind", extension.Match{Kinds: []stanza.Kind{stanza.Message}}, message(""), true},
		{"kind", extension.Match{Kinds: []stanza.Kind{stanza.Message}}, iq("get"), false},
		{"one of two kinds", extension.Match{Kinds: []stanza.Kind{stanza.Presence, stanza.IQ}}, iq("get"), true},
		{"RFC 6121 5.2.2 no type is normal", extension.Match{Types: []string{stanza.Normal}}, message(""), true},
		{"RFC 6121 5.2.2 an unknown type is normal", extension.Match{Types: []string{stanza.Normal}}, message("nonsense"), true},
		{"RFC 6121 5.2.2 normal", extension.Match{Types: []string{stanza.Normal}}, message("normal"), true},
		{"RFC 6121 5.2.2 chat is not", extension.Match{Types: []string{stanza.Normal}}, message("chat"), false},
		{"one of two types", extension.Match{Types: []string{stanza.Chat, stanza.Headline}}, message("headline"), true},
		{"RFC 6121 4.7.1 presence without type is available", extension.Match{Types: []string{""}}, presence(""), true},
		{"RFC 6121 4.7.1 presence without type is not normal", extension.Match{Types: []string{stanza.Normal}}, presence(""), false},
		{"iq by type", extension.Match{Types: []string{stanza.Set}}, iq("get"), false},
		{"child", extension.Match{Child: &extension.Name{Local: "body"}}, message("", body), true},
		{"child in the content namespace", extension.Match{Child: &extension.Name{Space: "jabber:client", Local: "body"}}, message("", body), true},
		{"child of another namespace", extension.Match{Child: &extension.Name{Local: "body"}}, message("", other), false},
		{"child that comes second", extension.Match{Child: &extension.Name{Local: "body"}}, message("", other, body), true},
		{"any child of a namespace", extension.Match{Child: &extension.Name{Space: "urn:x"}}, message("", body, other), true},
		{"no child", extension.Match{Child: &extension.Name{Local: "body"}}, message(""), false},
		{"type and child", extension.Match{Types: []string{"chat"}, Child: &extension.Name{Local: "body"}}, message("", body), false},
		{"all of it", extension.Match{Kinds: []stanza.Kind{stanza.Message}, Types: []string{"chat"}, Child: &extension.Name{Local: "body"}}, message("chat", body), true},
	} {
		called := false
		h := handler(extension.Deliver, func(*extension.Envelope) (extension.Verdict, error) { called = true; return extension.Verdict{}, nil })
		h.Match = row.m
		if _, o, _ := one(t, h)(row.s); called != row.want || o != pipeline.Pass {
			t.Errorf("%s: %s: called %v", row.rule, row.s, called)
		}
	}
}

func TestVerdicts(t *testing.T) {
	body, x := stanza.El("", "body").WithText("hi"), stanza.El("urn:x", "x")
	elsewhere := stanza.Header{Kind: stanza.Message, Type: "chat", ID: "2", From: jid.MustParse("mallory@example.test"), To: jid.MustParse("far.test")}
	for _, row := range []struct {
		rule string
		v    extension.Verdict
		want string
	}{
		{"pass", extension.Verdict{Error: stanza.Err(stanza.Gone, "")}, "<message xmlns='jabber:client' from='romeo@example.test/x' to='juliet@example.test' id='1'><body>hi</body><x xmlns='urn:x'/></message>"},
		{"replace keeps to and from", extension.Verdict{Action: extension.Replace, Stanza: stanza.New(elsewhere, stanza.El("urn:y", "y"))},
			"<message xmlns='jabber:client' from='romeo@example.test/x' to='juliet@example.test' id='2' type='chat'><y xmlns='urn:y'/></message>"},
		{"patch of what is no iq breaks no rule of iqs", extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Local: "body"}, {Space: "urn:x"}}}, "<message xmlns='jabber:client' from='romeo@example.test/x' to='juliet@example.test' id='1'/>"},
		{"replace by nothing", extension.Verdict{Action: extension.Replace}, "<message xmlns='jabber:client' from='romeo@example.test/x' to='juliet@example.test' id='1'><body>hi</body><x xmlns='urn:x'/></message>"},
		{"replace by another kind", extension.Verdict{Action: extension.Replace, Stanza: stanza.New(stanza.Header{Kind: stanza.IQ})},
			"<message xmlns='jabber:client' from='romeo@example.test/x' to='juliet@example.test' id='1'><body>hi</body><x xmlns='urn:x'/></message>"},
		{"patch", extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Local: "body"}}, Append: []*stanza.Element{stanza.El("urn:z", "z"), nil}},
			"<message xmlns='jabber:client' from='romeo@example.test/x' to='juliet@example.test' id='1'><x xmlns='urn:x'/><z xmlns='urn:z'/></message>"},
		{"patch by namespace", extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Space: "urn:x"}, {Space: "urn:nothing"}}},
			"<message xmlns='jabber:client' from='romeo@example.test/x' to='juliet@example.test' id='1'><body>hi</body></message>"},
		{"patch nothing", extension.Verdict{Action: extension.Patch}, "<message xmlns='jabber:client' from='romeo@example.test/x' to='juliet@example.test' id='1'><body>hi</body><x xmlns='urn:x'/></message>"},
	} {
		s := message("", body, x)
		before := s.String()
		got, o, _ := one(t, handler(extension.Submit, func(*extension.Envelope) (extension.Verdict, error) { return row.v, nil }))(s)
		if got.String() != row.want || o != pipeline.Pass {
			t.Errorf("%s: outcome %d\ngot  %s\nwant %s", row.rule, o, got, row.want)
		}
		if s.String() != before {
			t.Errorf("%s: the stanza itself, which others share, was changed", row.rule)
		}
	}
	_, o, refusal := one(t, handler(extension.Submit, func(*extension.Envelope) (extension.Verdict, error) {
		return extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.Gone, "moved")}, nil
	}))(message(""))
	if o != pipeline.Refused || refusal == nil || refusal.Condition != stanza.Gone {
		t.Error(o, refusal)
	}
	if _, o, refusal = one(t, handler(extension.Submit, func(*extension.Envelope) (extension.Verdict, error) {
		return extension.Verdict{Action: extension.Refuse}, nil
	}))(message("")); o != pipeline.Refused || refusal == nil {
		t.Error("a refusal without a reason:", o, refusal)
	}
}

// What a handler does to the envelope that it is shown changes nothing.
func TestEnvelopeIsShown(t *testing.T) {
	got, o, _ := one(t, handler(extension.Submit, func(e *extension.Envelope) (extension.Verdict, error) {
		e.Stanza, e.Account = message("chat"), to
		return extension.Verdict{}, nil
	}))(message(""))
	if got.Type != "" || o != pipeline.Pass {
		t.Error(got, o)
	}
}

func TestObserveAndPolicy(t *testing.T) {
	fail := errors.New("disk full")
	for _, row := range []struct {
		rule    string
		class   extension.Class
		policy  extension.Policy
		verdict extension.Action
		err     error
		panics  bool
		want    pipeline.Outcome
		refusal stanza.Condition
	}{
		{"a verdict of Observe is ignored", extension.Observe, extension.Closed, extension.Drop, nil, false, pipeline.Pass, ""},
		{"a verdict of Observe is ignored", extension.Observe, extension.Closed, extension.Refuse, nil, false, pipeline.Pass, ""},
		{"an error of Observe is ignored", extension.Observe, extension.Closed, extension.Pass, fail, false, pipeline.Pass, ""},
		{"a panic of Observe is ignored", extension.Observe, extension.Closed, extension.Pass, nil, true, pipeline.Pass, ""},
		{"Closed: an error refuses", extension.Decide, extension.Closed, extension.Pass, fail, false, pipeline.Refused, stanza.InternalServerError},
		{"Closed: the error is told if it is for the peer", extension.Decide, extension.Closed, extension.Pass, stanza.Err(stanza.Forbidden, ""), false, pipeline.Refused, stanza.Forbidden},
		{"Closed: a panic refuses", extension.Decide, extension.Closed, extension.Pass, nil, true, pipeline.Refused, stanza.InternalServerError},
		{"Open: an error passes", extension.Decide, extension.Open, extension.Drop, fail, false, pipeline.Pass, ""},
		{"Open: a panic passes", extension.Decide, extension.Open, extension.Drop, nil, true, pipeline.Pass, ""},
		{"Open: a verdict holds", extension.Decide, extension.Open, extension.Drop, nil, false, pipeline.Drop, ""},
	} {
		h := handler(extension.Deliver, func(*extension.Envelope) (extension.Verdict, error) {
			if row.panics {
				panic("at the disco")
			}
			return extension.Verdict{Action: row.verdict}, row.err
		})
		h.Class, h.Policy = row.class, row.policy
		_, o, refusal := one(t, h)(message(""))
		if o != row.want || (refusal == nil) != (row.refusal == "") || refusal != nil && refusal.Condition != row.refusal {
			t.Errorf("%s: outcome %d, %v", row.rule, o, refusal)
		}
	}
}

// What a failed handler asked for is not done; what the others asked for is.
func TestEffectsOfFailedHandlers(t *testing.T) {
	put := func(key string, err error) extension.StageHandler {
		return extension.StageHandler{Stage: extension.Deliver, Class: extension.Decide, Policy: extension.Open,
			Handle: func(_ context.Context, h *extension.Host, _ *extension.Envelope) (extension.Verdict, error) {
				h.Store.Put(jid.JID{}, key, []byte("v"))
				return extension.Verdict{}, err
			}}
	}
	s := store.New()
	p, err := pipeline.New(guestsOn(t, s, extension.Registration{Name: "a", Stages: []extension.StageHandler{put("kept", nil), put("failed", errors.New("no"))}}), extension.Order{extension.Deliver: {"a"}}, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	w := run(p, extension.Deliver, message(""))
	fx := &w.Effects
	if !fx.Pending() {
		t.Fatal("nothing to commit")
	}
	if err := fx.Commit(t.Context()); err != nil || fx.Pending() {
		t.Fatal(err)
	}
	list, err := s.Scan(t.Context(), "a", jid.JID{}, "", "", 10)
	if err != nil || len(list) != 1 || list[0].Key != "kept" {
		t.Error(list, err)
	}
}

// A copy, and what is made to look like one, is from the account, and carbons
// alone makes one (XEP-0280 7, 8, 11).
func TestCopiesAreMadeByCarbonsAlone(t *testing.T) {
	carbon := stanza.El("urn:xmpp:carbons:2", "received")
	copied := func(from jid.JID) extension.Verdict {
		s := stanza.New(stanza.Header{Kind: stanza.Message, From: from}, carbon)
		return extension.Verdict{Copy: &extension.Copy{Mark: "on", Stanza: s}}
	}
	patch := extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{carbon}}
	own := stanza.New(stanza.Header{Kind: stanza.Message, From: to, To: to}, stanza.El("urn:x", "x")) // juliet's bare JID, as PEP has it
	for _, row := range []struct {
		rule, guest string
		s           *stanza.Stanza
		v           extension.Verdict
		want        pipeline.Outcome
	}{
		{"a copy by carbons", "carbons", message(""), copied(to), pipeline.Pass},
		{"a copy by another", "one", message(""), copied(to), pipeline.Refused},
		{"a copy from another account", "carbons", message(""), copied(from.Bare()), pipeline.Refused},
		{"a copy from a resource", "carbons", message(""), copied(from), pipeline.Refused},
		{"a copy from nobody", "carbons", message(""), copied(jid.JID{}), pipeline.Refused},
		{"made of what is from a bare JID, by carbons", "carbons", own, patch, pipeline.Pass},
		{"made of what is from a bare JID, by another", "one", own, patch, pipeline.Refused},
		{"made of what is from a full JID, which clients ignore", "one", message(""), patch, pipeline.Pass},
		{"changed by another", "one", own.Patch(nil, carbon), extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:y", "y")}}, pipeline.Pass},
	} {
		h := handler(extension.Deliver, func(*extension.Envelope) (extension.Verdict, error) { return row.v, nil })
		reg := extension.Registration{Name: row.guest, Stages: []extension.StageHandler{h}}
		p, err := pipeline.New(guests(t, reg), extension.Order{extension.Deliver: {row.guest}}, pipeline.Memory{})
		if err != nil {
			t.Fatal(err)
		}
		if w := run(p, extension.Deliver, row.s); w.Outcome != row.want || (w.Copy != nil) != (row.v.Copy != nil && row.want == pipeline.Pass) {
			t.Errorf("%s: outcome %d, copy %v, %v", row.rule, w.Outcome, w.Copy, w.Refusal)
		}
	}
}

// Sessions hold stanzas back, nobody else: elsewhere the handler has failed, and
// the stanza does not vanish.
func TestHoldInWriteAlone(t *testing.T) {
	for stage := extension.Submit; stage <= extension.Write; stage++ {
		hold := one(t, handler(stage, func(*extension.Envelope) (extension.Verdict, error) {
			return extension.Verdict{Action: extension.Hold}, nil
		}))
		want := pipeline.Refused
		if stage == extension.Write {
			want = pipeline.Held
		}
		if _, got, refusal := hold(message("")); got != want || (refusal == nil) != (want == pipeline.Held) {
			t.Errorf("stage %d: outcome %d, %v", stage, got, refusal)
		}
	}
}
