// Package pipeline runs the stage handlers of extensions: match first, call
// after. What each handler wants is compiled at start into one table by stage
// and kind, so that a stanza which nobody asked for passes without a call.
package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/core/iq"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Pipeline is the table. It does not change after New.
type Pipeline struct {
	table [extension.Write + 1][stanza.IQ + 1][]handler
}

type handler struct {
	guest *host.Guest
	*extension.StageHandler
}

// New compiles the stage handlers of guests in the given order. Every handler
// must have its place in it, and every place, once, its handler.
func New(guests []*host.Guest, order extension.Order) (*Pipeline, error) {
	p := &Pipeline{}
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
		for kind := stanza.Message; kind <= stanza.IQ; kind++ {
			if len(h.Match.Kinds) == 0 || slices.Contains(h.Match.Kinds, kind) {
				p.table[stage][kind] = append(p.table[stage][kind], handler{g, h})
			}
		}
	}
	return any
}

// Outcome is what the handlers of a stage decided together.
type Outcome uint8

const (
	Pass    Outcome = iota // e.Stanza goes on; it may be another one than before
	Drop                   // it ends here: dropped, or handled by an extension
	Refused                // it ends here, and the sender gets the error
)

// Wants says whether any handler of a stage may want stanzas of this kind.
func (p *Pipeline) Wants(stage extension.Stage, kind stanza.Kind) bool {
	return len(p.table[stage][kind]) > 0
}

// Run shows e to the handlers of a stage, in order. It replaces e.Stanza where
// they say so, and collects in fx what they asked for.
func (p *Pipeline) Run(stage extension.Stage, e *extension.Envelope, fx *host.Effects) (Outcome, *stanza.Error) {
	for i := range p.table[stage][e.Stanza.Kind] {
		h := &p.table[stage][e.Stanza.Kind][i]
		if !matches(&h.Match, e.Stanza) {
			continue
		}
		v, changed, err := h.call(e, fx)
		if err != nil {
			h.guest.Log("stage handler", err)
			if h.Class == extension.Observe || h.Policy == extension.Open {
				continue
			}
			return Refused, stanza.AsError(err)
		}
		if h.Class == extension.Observe {
			continue
		}
		switch v.Action {
		case extension.Drop, extension.Handled:
			return Drop, nil
		case extension.Refuse:
			if v.Error == nil {
				return Refused, stanza.Err(stanza.NotAcceptable, "")
			}
			return Refused, v.Error
		}
		e.Stanza = changed
	}
	return Pass, nil
}

// call returns what the handler decided, and the stanza as it goes on then. A
// handler that makes of an iq what is none has failed.
func (h *handler) call(e *extension.Envelope, fx *host.Effects) (v extension.Verdict, changed *stanza.Stanza, err error) {
	shown := *e // a handler may keep or change what it is shown
	original := e.Stanza
	err = fx.Collect(h.guest, h.Class == extension.Observe, func(ctx context.Context, host *extension.Host) (err error) {
		shown.Stanza = original // it may be called again
		if v, err = h.Handle(ctx, host, &shown); err != nil {
			return err
		}
		if h.Class == extension.Observe {
			return nil // whatever it says
		}
		changed = change(original, &v)
		if wrong := iq.Check(changed); wrong != nil {
			return fmt.Errorf("the stanza that it returned: %s", wrong.Text)
		}
		return nil
	})
	return v, changed, err
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
