package muc

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// relayTime is how long an occupant has for an answer to another one's request.
const relayTime = time.Minute

// relayed is what the kernel keeps of a request until its answer is there.
type relayed struct {
	To   string // full JID of who has asked
	From string // occupant JID of who was asked
	ID   string
}

// relay passes a request on to another occupant, neither of whom learns the other's address (17.4).
// What is asked of the account rather than of a client, its vCard, goes to the bare JID.
func (t *turn) relay(payload *stanza.Element) error {
	s := t.r.session(t.in.From)
	if s == nil {
		if payload.Space == nsDiscoInfo || payload.Space == nsDiscoItems {
			return t.fail(stanza.BadRequest, "You are not in the room.") // 6.6
		}
		return t.fail(stanza.NotAcceptable, "You are not in the room.")
	}
	o := t.r.byNick(t.in.To.Resource())
	switch {
	case o == nil:
		return t.fail(stanza.ItemNotFound, "There is nobody of this name in the room.")
	case t.in.Size() > t.s.options.MaxMessage:
		return t.failAs(stanza.Modify, stanza.PolicyViolation, "The request is too long.")
	}
	to := o.shown().jid
	if payload.Space == nsVCard {
		to = to.Bare()
	}
	state, err := json.Marshal(relayed{To: t.in.From.String(), From: o.addr.String(), ID: t.in.ID})
	if err != nil {
		return err
	}
	h := stanza.Header{Kind: stanza.IQ, Type: t.in.Type, Lang: t.in.Lang, From: s.of.addr, To: to}
	err = t.Stanzas.Request(t.in.With(h), relayTime, state)
	if errors.Is(err, extension.ErrBound) {
		return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "Too many requests wait for an answer.")
	}
	return err
}

// reply passes the answer on. It needs nothing of the room.
func (s *Service) reply(_ context.Context, h *extension.Host, r extension.Reply) error {
	var k relayed
	err := json.Unmarshal(r.State, &k)
	to, badTo := jid.Parse(k.To)
	from, badFrom := jid.Parse(k.From)
	if err = errors.Join(err, badTo, badFrom); err != nil {
		h.Log.Warn("the answer to an occupant's request is dropped: what was kept of the request is damaged", "error", err)
		return nil
	}
	head := stanza.Header{Kind: stanza.IQ, Type: stanza.TypeError, ID: k.ID, From: from, To: to}
	switch {
	case r.Answer == nil:
		e := stanza.Err(stanza.RemoteServerTimeout, "There is no answer.")
		return h.Stanzas.Send(stanza.New(head, e.Element()))
	case r.Answer.Type == stanza.TypeError:
		return h.Stanzas.Send(stanza.New(head, anonymous(r.Answer).Element()))
	}
	head.Type, head.Lang = stanza.Result, r.Answer.Lang
	return h.Stanzas.Send(r.Answer.With(head))
}

// anonymous returns the error of a stanza without what may tell an address: texts and data.
func anonymous(st *stanza.Stanza) *stanza.Error {
	e := stanza.ParseError(st)
	return &stanza.Error{Type: e.Type, Condition: e.Condition}
}
