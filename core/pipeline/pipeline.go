// Package pipeline runs the stage handlers of extensions: match first, call
// after. What each handler wants is compiled at start into one table by stage
// and kind, so that a stanza which nobody asked for passes without a call.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/iq"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Pipeline is the table. It does not change after New.
type Pipeline struct {
	table    [Fanout + 1][stanza.IQ + 1][]handler
	resident [Fanout + 1][stanza.IQ + 1]bool // some handler may read what is resident
	memory   Memory
}

// Fanout is the stage Deliver for copies of a group: it has those handlers that want
// them.
const Fanout = extension.Write + 1

// Memory is where the pipeline looks up what handlers ask for by Match.Mark and
// Match.Resident.
type Memory struct {
	Sessions cluster.Registry
	Resident func(account jid.JID) *host.Resident // host.Hosts.Resident
	// Copied says whether a session of those of the account that have a mark would
	// get a copy of a message that origin sends: router.Copied.
	Copied func(s extension.Stage, st *stanza.Stanza, origin jid.JID, sessions []cluster.Entry, mark string) bool
}

type handler struct {
	guest *host.Guest
	*extension.StageHandler
	mark    string        // full name of Match.Mark
	index   int           // in the list of its registration
	breaker *host.Breaker // of a handler that decides elsewhere
	ahead   *ahead        // of it: see Ask
}

// New compiles the stage handlers of guests in the given order. Every handler
// must have its place in it, and every place, once, its handler.
func New(guests []*host.Guest, order extension.Order, m Memory) (*Pipeline, error) {
	p := &Pipeline{memory: m}
	for stage := extension.Submit; stage <= extension.Write; stage++ {
		for n, name := range order[stage] {
			if slices.Contains(order[stage][:n], name) {
				return nil, fmt.Errorf("pipeline: %s is twice in the order of the stage %v", name, stage)
			}
			i := slices.IndexFunc(guests, func(g *host.Guest) bool { return g.Reg.Name == name })
			if i >= 0 && !p.add(stage, guests[i]) { // an extension that is not enabled leaves a gap
				return nil, fmt.Errorf("pipeline: %s is in the order of the stage %v but has no handler for it", name, stage)
			}
		}
		for _, g := range guests {
			for _, h := range g.Reg.Stages {
				if h.Stage == stage && !slices.Contains(order[stage], g.Reg.Name) {
					return nil, fmt.Errorf("pipeline: %s has a handler for the stage %v but no place in its order", g.Reg.Name, stage)
				}
			}
		}
	}
	return p, nil
}

// add enters the guest's handlers for a stage; false if it has none.
func (p *Pipeline) add(stage extension.Stage, g *host.Guest) (any bool) {
	for i := range g.Reg.Stages {
		h := &g.Reg.Stages[i]
		if h.Stage != stage {
			continue
		}
		any = true
		entry := handler{guest: g, StageHandler: h, index: i}
		if g.Elsewhere() && h.Class == extension.Decide {
			entry.breaker, entry.ahead = &host.Breaker{}, newAhead()
		}
		if h.Match.Mark != "" {
			entry.mark = g.MarkName(h.Match.Mark)
		}
		for kind := stanza.Message; kind <= stanza.IQ; kind++ {
			if len(h.Match.Kinds) == 0 || slices.Contains(h.Match.Kinds, kind) {
				p.enter(stage, kind, entry)
				if stage == extension.Deliver && h.Fanout {
					p.enter(Fanout, kind, entry)
				}
			}
		}
	}
	return any
}

func (p *Pipeline) enter(stage extension.Stage, kind stanza.Kind, h handler) {
	p.table[stage][kind] = append(p.table[stage][kind], h)
	p.resident[stage][kind] = p.resident[stage][kind] || stage != extension.Write && len(h.guest.Reg.Residents) > 0
}

// Outcome is what the handlers of a stage decided together.
type Outcome uint8

const (
	Pass    Outcome = iota // e.Stanza goes on; it may be another one than before
	Drop                   // it ends here: dropped, or handled by an extension
	Refused                // it ends here, and the sender gets the error
	Held                   // Write: the session keeps it back
	Waits                  // nothing is decided: a handler is to be waited for, by RunWaiting
)

// Wants says whether any handler of a stage may want stanzas of this kind.
func (p *Pipeline) Wants(stage extension.Stage, kind stanza.Kind) bool {
	return len(p.table[stage][kind]) > 0
}

// Holds says whether a session may have to hold anything back.
func (p *Pipeline) Holds() bool {
	return p.Wants(extension.Write, stanza.Message) || p.Wants(extension.Write, stanza.Presence) || p.Wants(extension.Write, stanza.IQ)
}

// Missing says whether a handler of the stage may read what is resident of the
// account, and that is not in memory: it is to be loaded before Run. In the stage
// Write nobody may, since a session's output can't wait.
func (p *Pipeline) Missing(w *Passage) bool {
	if !p.resident[w.Stage][w.Envelope.Stanza.Kind] {
		return false
	}
	w.Resident = p.memory.Resident(w.Envelope.Account)
	return w.Resident == nil
}

// Concerns says whether any handler of the stage wants the stanza.
func (p *Pipeline) Concerns(w *Passage) bool {
	list := p.table[w.Stage][w.Envelope.Stanza.Kind]
	for i := range list {
		if matches(&list[i].Match, w.Envelope.Stanza) && p.concerns(&list[i], w) {
			return true
		}
	}
	return false
}

// Passage is one stanza's way through one stage.
type Passage struct {
	Stage    extension.Stage
	Envelope extension.Envelope // Run replaces its Stanza where handlers say so
	Resident *host.Resident     // of Envelope.Account; nil: see Missing
	Marks    []string           // Write: of the session
	Told     Told               // who observes elsewhere, and was told; it outlives a Run
	Asked    *Asked             // of whom was asked ahead, until Run has used the verdict; it outlives a Run that has not

	// What comes of it.
	Outcome Outcome
	Refusal *stanza.Error // of Refused
	Effects host.Effects  // what handlers asked for
	Copy    *Copy         // what other sessions get
	Key     string        // of Held
}

// Copy is extension.Copy with the full name of its mark.
type Copy struct {
	Mark   string
	Stanza *stanza.Stanza
}

// Run shows the stanza to the handlers of the stage, in order, and notes what
// they decided. It does not wait: where a handler that runs elsewhere has to decide
// the Outcome is Waits, and all that was asked for until then is to be forgotten.
func (p *Pipeline) Run(w *Passage) { p.run(context.Background(), w, false) }

// RunWaiting is Run that waits for verdicts.
func (p *Pipeline) RunWaiting(ctx context.Context, w *Passage) { p.run(ctx, w, true) }

func (p *Pipeline) run(ctx context.Context, w *Passage, waits bool) {
	e := &w.Envelope
	list := p.table[w.Stage][e.Stanza.Kind]
	for i := range list {
		h := &list[i]
		if !matches(&h.Match, e.Stanza) || !p.concerns(h, w) {
			continue
		}
		var v extension.Verdict
		var changed *stanza.Stanza
		var err error
		switch {
		case !h.guest.Elsewhere():
			v, changed, err = h.call(w)
		case h.Class == extension.Observe:
			h.tell(w, i)
			continue
		case !waits && !w.answered(h) && !h.breaker.Open(h.guest.Now()):
			w.Outcome = Waits
			return
		default:
			v, changed, err = h.consult(ctx, w)
		}
		if err != nil {
			h.guest.Log("stage handler", err)
			if h.Class == extension.Observe || h.Policy == extension.Open {
				continue
			}
			w.refuse(stanza.AsError(err))
			return
		}
		if h.Class == extension.Observe {
			continue
		}
		switch v.Action {
		case extension.Drop, extension.Handled:
			w.end(Drop)
			return
		case extension.Refuse:
			if v.Error == nil {
				v.Error = stanza.Err(stanza.NotAcceptable, "")
			}
			w.refuse(v.Error)
			return
		case extension.Hold:
			w.Outcome, w.Key = Held, v.Key
		}
		e.Stanza = changed
		if v.ArchiveID != "" && w.Stage == extension.Submit {
			e.ArchiveID = v.ArchiveID
		}
		if v.Copy != nil {
			w.Copy = &Copy{h.markName(v.Copy.Mark), v.Copy.Stanza}
		}
	}
}

// markName is the full name of a mark, mostly the one that the handler matches by.
func (h *handler) markName(mark string) string {
	if mark == h.Match.Mark {
		return h.mark
	}
	return h.guest.MarkName(mark)
}

func (w *Passage) end(o Outcome) { w.Outcome, w.Copy = o, nil }

func (w *Passage) refuse(e *stanza.Error) {
	w.end(Refused)
	w.Refusal = e
}

// concerns says whether the account or the session is one that the handler asks
// for.
func (p *Pipeline) concerns(h *handler, w *Passage) bool {
	if h.Match.Resident != "" {
		if _, ok := w.Resident.Get(h.guest.Reg.Name, h.Match.Resident); !ok {
			return false
		}
	}
	switch {
	case h.mark == "":
		return true
	case w.Stage == extension.Write:
		return slices.Contains(w.Marks, h.mark)
	}
	sessions := p.memory.Sessions.Sessions(w.Envelope.Account)
	if h.Match.Copies {
		return p.memory.Copied(w.Stage, w.Envelope.Stanza, w.Envelope.Origin.Session, sessions, h.mark)
	}
	for i := range sessions {
		if sessions[i].Marked(h.mark) {
			return true
		}
	}
	return false
}

// call returns what the handler decided, and the stanza as it goes on then. A
// handler that makes of an iq what is none has failed.
func (h *handler) call(w *Passage) (v extension.Verdict, changed *stanza.Stanza, err error) {
	shown := w.Envelope // a handler may keep or change what it is shown
	original := shown.Stanza
	var about *host.About
	if w.Resident != nil {
		about = &host.About{Account: w.Envelope.Account, Resident: w.Resident}
	}
	err = w.Effects.Collect(h.guest, about, h.Class == extension.Observe, func(ctx context.Context, host *extension.Host) (err error) {
		shown.Stanza = original // it may be called again
		if v, err = h.Handle(ctx, host, &shown); err != nil {
			return err
		}
		if h.Class == extension.Observe {
			return nil // whatever it says
		}
		changed = change(original, &v)
		return h.check(w, &v, changed)
	})
	return v, changed, err
}

// check says what is wrong with a verdict that makes changed of the stanza.
func (h *handler) check(w *Passage, v *extension.Verdict, changed *stanza.Stanza) error {
	original := w.Envelope.Stanza
	if v.Action == extension.Hold && w.Stage != extension.Write {
		return errors.New("only a session holds stanzas back, in the stage Write")
	}
	if c := v.Copy; c != nil {
		switch {
		case w.Stage > extension.Deliver:
			return errors.New("copies are made in the stages Submit and Deliver")
		case c.Stanza == nil || c.Stanza.Kind != stanza.Message || original.Kind != stanza.Message || w.Copy != nil:
			return errors.New("a copy is a message, of a message that has no other copy")
		case c.Stanza.From != w.Envelope.Account:
			return fmt.Errorf("a copy is from %s, not from %q", w.Envelope.Account, c.Stanza.From)
		}
		if err := h.guest.MayEmit(c.Stanza); err != nil {
			return err
		}
	}
	if wrong := iq.Check(changed); wrong != nil {
		return fmt.Errorf("the stanza that it returned: %s", wrong.Text)
	}
	if changed == original || h.guest.MayEmit(original) != nil { // a copy that carbons made stays one
		return nil
	}
	return h.guest.MayEmit(changed)
}

// change returns the stanza that goes on.
func change(s *stanza.Stanza, v *extension.Verdict) *stanza.Stanza {
	switch {
	case v.Action == extension.Replace && v.Stanza != nil && v.Stanza.Kind == s.Kind:
		head := v.Stanza.Header
		head.To, head.From = s.To, s.From
		return v.Stanza.With(head)
	case v.Action == extension.Patch:
		return s.Patch(func(c stanza.Child) bool { return named(v.Remove, c) }, v.Append...)
	}
	return s
}

func named(names []extension.Name, c stanza.Child) bool {
	return slices.ContainsFunc(names, func(n extension.Name) bool {
		return n.Space == c.Space && (n.Local == "" || n.Local == c.Local)
	})
}

func matches(m *extension.Match, s *stanza.Stanza) bool {
	if len(m.Types) > 0 && !slices.Contains(m.Types, effectiveType(s)) {
		return false
	}
	if m.Child == nil {
		return true
	}
	_, ok := s.Child(m.Child.Space, m.Child.Local)
	return ok
}

// effectiveType reads the type attribute as RFC 6121 5.2.2 does: a message of
// an absent or unknown type is a normal one.
func effectiveType(s *stanza.Stanza) string {
	if s.Kind != stanza.Message {
		return s.Type
	}
	switch s.Type {
	case stanza.Chat, stanza.GroupChat, stanza.Headline, stanza.TypeError:
		return s.Type
	}
	return stanza.Normal
}
