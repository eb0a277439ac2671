package extensiontest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// rounds is how much garbage each handler gets from each origin.
const rounds = 120

// Run is the suite that each extension passes. newReg is called for every test:
// registrations must not share state. The suite checks that
//
//   - the registration is complete and says nothing twice (Check);
//   - every iq handler answers every payload that has the right name, from
//     everybody who can reach it, with a result or a stanza error of its own:
//     no panic, no internal error, nothing that is not XML;
//   - handlers of stages, components and notices stand any stanza, those of elements any
//     content, timers and replies any state;
//   - handlers may run at the same time (under the race detector).
func Run(t *testing.T, newReg func() extension.Registration) {
	t.Run("Registration", func(t *testing.T) {
		if err := Check(newReg()); err != nil {
			t.Error(err)
		}
	})
	t.Run("StreamFeatures", func(t *testing.T) { testStreamFeatures(t, newReg()) })
	t.Run("IQ", func(t *testing.T) { testIQ(t, newReg()) })
	t.Run("Stages", func(t *testing.T) { testStages(t, newReg()) })
	t.Run("Elements", func(t *testing.T) { testElements(t, newReg()) })
	t.Run("Components", func(t *testing.T) { testComponents(t, newReg()) })
	t.Run("Events", func(t *testing.T) { testEvents(t, newReg()) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, newReg()) })
}

// The people of the suite: on two hosted domains, and elsewhere.
var (
	romeo  = Client("romeo@example.org/orchard")
	juliet = Client("juliet@example.net/balcony")
)

const stranger = "nurse@far.example/house"

// suite returns a harness with accounts and sessions, which have every mark of the
// registration: so every stage handler is called.
func suite(t testing.TB, reg extension.Registration) *Harness {
	h := New(t, reg, Options{})
	var marks []string
	for _, m := range reg.Marks {
		marks = append(marks, m.Name)
	}
	for _, o := range []extension.Origin{romeo, juliet} {
		h.Accounts.Add(o.Session.Bare().String(), "secret")
		h.AddSession(extension.Session{JID: o.Session, Available: true, Marks: marks})
	}
	h.Subscribe("romeo@example.org", "juliet@example.net")
	return h
}

func testStreamFeatures(t *testing.T, reg extension.Registration) {
	h := suite(t, reg)
	for _, domain := range h.domains {
		seen := map[extension.Name]bool{}
		for _, f := range reg.StreamFeatures {
			e := f.Element(domain)
			if e == nil {
				continue
			}
			name := extension.Name{Space: e.Space, Local: e.Local}
			if e.Space == "" || e.Local == "" || seen[name] {
				t.Errorf("%s: feature <%s xmlns='%s'/> has no name, or comes twice", domain, e.Local, e.Space)
			}
			seen[name] = true
			if _, err := stanza.ParseElement(string(e.Append(nil, "")), ""); err != nil {
				t.Errorf("%s: feature %v: %v", domain, name, err)
			}
		}
	}
}

// approach is a way to reach a handler: who sends, and to whom.
type approach struct {
	origin   extension.Origin
	from, to string
}

// approaches lists ways to the addressees of to.
func approaches(to extension.To) []approach {
	var list []approach
	if to&extension.ToServer != 0 {
		list = append(list, approach{romeo, "", "example.org"}, approach{juliet, "", "example.org"}, approach{Far(), stranger, "example.org"},
			approach{Far(), "far.example", "example.org"}, approach{Far(), "romeo@example.org", "example.org"})
	}
	if to&extension.ToOwnAccount != 0 {
		list = append(list, approach{romeo, "", ""}, approach{romeo, "", "romeo@example.org"}, approach{Far(), "romeo@example.org", ""})
	}
	if to&extension.ToAccount != 0 {
		list = append(list, approach{juliet, "", "romeo@example.org"}, approach{Far(), stranger, "romeo@example.org"},
			approach{Far(), stranger, "nobody@example.org"})
	}
	if to&extension.ToStream != 0 {
		clear := Stream("example.org")
		clear.Secure = false
		list = append(list, approach{Stream("example.org"), "", ""}, approach{Stream("example.net"), "", "example.net"}, approach{clear, "", ""})
	}
	return list
}

func testIQ(t *testing.T, reg extension.Registration) {
	for i := range reg.IQ {
		q := &reg.IQ[i]
		t.Run(fmt.Sprintf("%s %s %s", q.Space, q.Local, q.Type), func(t *testing.T) {
			h := suite(t, reg)
			for _, a := range approaches(q.To) {
				h.garbageIQ(q, a, 1, rounds)
			}
		})
	}
}

// garbageIQ sends count pieces of garbage to a handler, and checks the answers
// until one is wrong.
func (h *Harness) garbageIQ(q *extension.IQHandler, a approach, seed uint64, count int) {
	types := []string{q.Type}
	if q.Type == "" {
		types = []string{stanza.Get, stanza.Set}
	}
	g := newGarbage(seed, []string{q.Space}, []string{q.Local})
	for n := range count {
		payload := stanza.El(q.Space, q.Local) // the first is empty
		if n > 0 {
			payload = g.payload(q.Space, q.Local)
		}
		head := stanza.Header{Kind: stanza.IQ, Type: types[n%len(types)], ID: fmt.Sprint("g", n), To: parsed(a.to), From: parsed(a.from)}
		asked := stanza.New(head, payload)
		answer := h.IQ(a.origin, asked)
		fault := checkAnswer(stamp(a.origin, asked), answer)
		if errs := h.Errors(); len(errs) > 0 {
			fault = errors.Join(errs...)
		}
		if fault != nil {
			h.t.Errorf("%v\nasked %.500s\nanswer %.500v", fault, asked, answer)
			return
		}
	}
}

// checkAnswer says what is wrong with an answer (RFC 6120 8.2.3, 8.3.1).
func checkAnswer(asked, answer *stanza.Stanza) error {
	switch {
	case answer == nil:
		return errors.New("no answer")
	case answer.Type != stanza.Result && answer.Type != stanza.TypeError,
		answer.ID != asked.ID, answer.To != asked.From, answer.From != asked.To:
		return errors.New("the answer's type, id or addresses")
	case answer.Type == stanza.Result && len(answer.Children()) > 1:
		return errors.New("a result with more than one child")
	}
	_, err := stanza.ParseElement(answer.String(), "")
	return err
}

func parsed(s string) jid.JID {
	if s == "" {
		return jid.JID{}
	}
	return jid.MustParse(s)
}

// stanza makes a stanza of any type, from one to another.
func (g *garbage) stanza(kind stanza.Kind, from, to jid.JID, n int) *stanza.Stanza {
	head := stanza.Header{Kind: kind, ID: fmt.Sprint("g", n), From: from, To: to}
	switch kind {
	case stanza.Message:
		head.Type = g.pick([]string{"", stanza.Normal, stanza.Chat, stanza.GroupChat, stanza.Headline, stanza.TypeError, "strange"})
	case stanza.Presence:
		head.Type = g.pick([]string{"", stanza.Unavailable, stanza.Subscribe, stanza.Unsubscribe, stanza.Probe, stanza.TypeError})
	default:
		head.Type = g.pick([]string{stanza.Get, stanza.Set, stanza.Result, stanza.TypeError})
		return stanza.New(head, g.payload(g.pick(g.spaces), g.pick(g.locals)))
	}
	return stanza.New(head, g.content()...)
}

var kinds = []stanza.Kind{stanza.Message, stanza.Presence, stanza.IQ}

func testStages(t *testing.T, reg extension.Registration) {
	if len(reg.Stages) == 0 {
		t.Skip("no stage handlers")
	}
	suite(t, reg).garbageStages(2, 20*rounds)
}

// garbageStages shows count pieces of garbage to stage handlers, and checks what
// becomes of them until one is wrong.
func (h *Harness) garbageStages(seed uint64, count int) {
	var spaces, locals []string
	for _, s := range h.reg.Stages {
		if c := s.Match.Child; c != nil {
			spaces = append(spaces, c.Space)
			if c.Local != "" {
				locals = append(locals, c.Local)
			}
		}
	}
	g := newGarbage(seed, spaces, locals)
	for n := range count {
		s := g.stanza(kinds[n%len(kinds)], romeo.Session, juliet.Session, n)
		e := extension.Envelope{Stanza: s, Origin: romeo, Account: juliet.Session.Bare(), Session: juliet.Session}
		stage := extension.Submit + extension.Stage(g.IntN(int(extension.Write)))
		out := h.Stage(stage, e)
		if out.Stanza != nil {
			if _, err := stanza.ParseElement(out.Stanza.String(), ""); err != nil || out.Stanza.Kind != s.Kind {
				h.t.Errorf("stage %d made %.500s of %.500s", stage, out.Stanza, s)
				return
			}
		}
		if c := out.Copy; c != nil {
			if _, err := stanza.ParseElement(c.Stanza.String(), ""); err != nil {
				h.t.Errorf("stage %d copied %.500s as %.500s", stage, s, c.Stanza)
				return
			}
		}
		if errs := h.Errors(); len(errs) > 0 {
			h.t.Errorf("stage %d: %v\nshown %.500s", stage, errors.Join(errs...), s)
			return
		}
	}
}

// testElements gives element handlers garbage under the right names.
func testElements(t *testing.T, reg extension.Registration) {
	if len(reg.Elements) == 0 {
		t.Skip("no elements")
	}
	h := suite(t, reg)
	g := newGarbage(6, nil, nil)
	for n := range rounds * len(reg.Elements) {
		x := reg.Elements[n%len(reg.Elements)]
		e := g.payload(x.Space, x.Local)
		fault, known := h.Element(romeo.Session, e)
		var end *stream.Error
		if errs := h.Errors(); !known || fault != nil && !errors.As(fault, &end) {
			t.Fatalf("%v, %v\ngot %.500s", fault, errors.Join(errs...), e.Append(nil, ""))
		}
	}
}

func testComponents(t *testing.T, reg extension.Registration) {
	if len(reg.Components) == 0 {
		t.Skip("no components")
	}
	h := suite(t, reg)
	for _, c := range h.componentDomains() {
		for i := range c.spec.IQ {
			h.garbageIQ(&c.spec.IQ[i], approach{romeo, "", c.domain}, 3, rounds)
			h.garbageIQ(&c.spec.IQ[i], approach{Far(), stranger, c.domain}, 3, rounds)
		}
		if c.spec.Handle == nil {
			continue
		}
		g := newGarbage(4, nil, nil)
		addresses := []string{c.domain, "room@" + c.domain, "room@" + c.domain + "/nick", c.domain + "/r"}
		for n := range 5 * rounds {
			s := g.stanza(kinds[n%len(kinds)], romeo.Session, parsed(g.pick(addresses)), n)
			h.Component(extension.Envelope{Stanza: s, Origin: romeo})
			if errs := h.Errors(); len(errs) > 0 {
				t.Fatalf("component %s: %v\ngot %.500s", c.domain, errors.Join(errs...), s)
			}
		}
	}
}

// testEvents gives Timer and Reply what an earlier version of the extension
// may have left, and garbage as answers and as the last presence of sessions.
func testEvents(t *testing.T, reg extension.Registration) {
	h := suite(t, reg)
	g := newGarbage(5, nil, nil)
	for n := range rounds {
		if reg.Timer != nil {
			h.mu.Lock()
			h.timers[g.value()] = timer{h.now.Add(time.Second), []byte(g.value())}
			h.mu.Unlock()
		}
		if reg.Reply != nil {
			s := g.stanza(stanza.IQ, romeo.Session, parsed("example.org"), n)
			if s.Type == stanza.Result || s.Type == stanza.TypeError {
				h.reply(extension.Reply{Answer: s, State: []byte(g.value())})
			}
			h.reply(extension.Reply{State: []byte(g.value())})
		}
		for _, event := range reg.Notices {
			last := stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable, From: romeo.Session}, g.content()...)
			h.Notice(extension.Notice{Event: event, Session: romeo.Session, At: h.Now(), Presence: last})
		}
	}
	h.step(h.Now()) // nothing is due yet
	for range rounds {
		if !h.step(h.Now().Add(time.Minute)) {
			break
		}
	}
	for _, err := range h.Errors() {
		t.Error(err)
	}
}

func testConcurrent(t *testing.T, reg extension.Registration) {
	h := suite(t, reg)
	var wait sync.WaitGroup
	for i := range reg.IQ {
		q := &reg.IQ[i]
		for n, a := range slices.Concat(approaches(q.To), approaches(q.To)) {
			wait.Go(func() { h.garbageIQ(q, a, uint64(100+n), rounds/8) })
		}
	}
	if len(reg.Stages) > 0 {
		for n := range 4 {
			wait.Go(func() { h.garbageStages(uint64(200+n), rounds) })
		}
	}
	wait.Wait()
}
