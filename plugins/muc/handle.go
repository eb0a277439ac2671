package muc

import (
	"context"
	"errors"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// turn is the handling of one stanza, or of one thing that happened, to one room.
type turn struct {
	context.Context
	*extension.Host
	s    *Service
	keys *keys
	in   *stanza.Stanza // what came; nil if it is no stanza
	addr jid.JID        // of the room: a bare JID
	r    *room          // nil: there is none
}

// handle takes each stanza to the service, its rooms and occupants, but what is asked of the
// service itself. A *stanza.Error is the answer.
func (s *Service) handle(ctx context.Context, h *extension.Host, e *extension.Envelope) error {
	in := e.Stanza
	if in.To.Local() == "" {
		return s.toService(ctx, h, in)
	}
	return s.within(ctx, h, in.To.Bare(), func(t *turn) error {
		t.in = in
		switch in.Kind {
		case stanza.Presence:
			return echoing(in, t.presence())
		case stanza.Message:
			return t.message()
		}
		return t.iq()
	})
}

// echoing has a refusal to enter a room say that it is one: <x/> comes back, as in the examples of
// XEP-0045 7.2, since clients go by it.
func echoing(in *stanza.Stanza, err error) error {
	refusal, ok := errors.AsType[*stanza.Error](err)
	if _, enters := in.Child(nsMUC, "x"); !ok || !enters {
		return err
	}
	e := *refusal
	e.Echo = stanza.El(nsMUC, "x")
	return &e
}

// toService takes what comes to the domain of the service and nobody has claimed.
func (s *Service) toService(_ context.Context, _ *extension.Host, in *stanza.Stanza) error {
	if in.Kind == stanza.Presence || in.Type == stanza.TypeError || in.Type == stanza.Result {
		return nil
	}
	return stanza.Err(stanza.ServiceUnavailable, "")
}

// within calls f in a turn of a room. What is known by heart of it is dropped if that fails, since
// none of what f has asked for is done then; but not for a refusal that comes before anything was
// changed, which anybody can bring about.
func (s *Service) within(ctx context.Context, h *extension.Host, addr jid.JID, f func(t *turn) error) error {
	k, err := s.secrets(ctx, h)
	if err != nil {
		return err
	}
	now := h.Now()
	s.sweep(now)
	t := &turn{Context: ctx, Host: h, s: s, keys: k, addr: addr}
	if t.r, err = t.find(); err != nil {
		return err
	}
	ok := false
	defer func() { // a panic, too
		if !ok {
			s.Forget(addr.String())
		}
	}()
	if t.r != nil {
		t.r.dirty = false
	}
	err = f(t)
	_, refused := errors.AsType[*stanza.Error](err)
	ok = err == nil || refused && t.r != nil && !t.r.dirty
	return err
}

// iq takes requests to rooms and occupants, and answers of occupants.
func (t *turn) iq() error {
	if t.in.Type == stanza.Result || t.in.Type == stanza.TypeError {
		return nil
	}
	children := t.in.Children()
	if len(children) != 1 {
		return t.fail(stanza.BadRequest, "")
	}
	if t.in.Type != stanza.Get && t.in.Type != stanza.Set {
		return t.fail(stanza.BadRequest, "")
	}
	if children[0].Space == nsPing && t.in.Type == stanza.Get && t.pingsItself() {
		return t.ping()
	}
	payload := t.in.Element(children[0])
	if t.r != nil && !t.in.To.IsBare() {
		return t.relay(payload)
	}
	if t.in.To.IsBare() {
		switch space, local := children[0].Space, children[0].Local; {
		case space == nsAdmin:
			return t.admin(payload)
		case space == nsOwner:
			return t.owner(payload)
		case space == nsModerate && local == "moderate" && t.in.Type == stanza.Set:
			return t.moderate(payload)
		case space == nsVCard && local == "vCard":
			return t.card(payload)
		case space == nsCommands && local == "command" && t.in.Type == stanza.Set:
			return t.command(payload)
		case space == nsRegister:
			return t.register(payload)
		case space == mam.NS && local == "query" && t.in.Type == stanza.Set:
			return t.query(payload)
		case space == mam.NS && local == "query":
			return t.fields()
		case space == mam.NS && local == "metadata" && t.in.Type == stanza.Get:
			return t.metadata()
		case space == nsDiscoInfo && t.in.Type == stanza.Get:
			return t.info(payload)
		case space == nsDiscoItems && t.in.Type == stanza.Get:
			return t.occupantItems(payload)
		}
	}
	return stanza.Err(stanza.ServiceUnavailable, "")
}

// fail is an error by the room (XEP-0045 7.2 and others).
func (t *turn) fail(c stanza.Condition, text string) error {
	e := stanza.Err(c, text)
	e.By = t.addr.String()
	return e
}

// failAs is fail with another type than the usual one.
func (t *turn) failAs(typ stanza.ErrorType, c stanza.Condition, text string) error {
	e := stanza.Err(c, text)
	e.Type, e.By = typ, t.addr.String()
	return e
}
