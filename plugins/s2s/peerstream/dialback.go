package peerstream

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Authorize asks the peer to let us send for a pair (XEP-0220 2.1.1), unless it was asked. The answer is
// Handler.Authorized. It may be called by any goroutine, once Run is under way or about to be.
func (s *Stream) Authorize(p Pair) error {
	key := s.c.Key(p.Far, p.Local, s.id)
	s.mu.Lock()
	switch {
	case s.ending || s.over:
		s.mu.Unlock()
		return ErrClosed
	case s.outward[p] != 0:
		s.mu.Unlock()
		return nil
	case len(s.outward) >= s.c.MaxPairs:
		s.mu.Unlock()
		return stanza.Err(stanza.ResourceConstraint, "the stream has too many domain pairs")
	}
	s.outward[p] = asked
	s.mu.Unlock()
	s.Send(element("result", p.Local, p.Far, "", "", key))
	time.AfterFunc(s.c.Dialback, func() {
		if s.forget(p) {
			s.h.Authorized(s, p, stanza.Err(stanza.RemoteServerTimeout, "the peer does not answer to dialback"))
		}
	})
	return nil
}

// forget takes back a request that was not answered.
func (s *Stream) forget(p Pair) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outward[p] != asked {
		return false
	}
	delete(s.outward, p)
	return true
}

// Verify asks the peer, as the authoritative server of p.Far, for a key that came on the stream id
// (XEP-0220 2.1.2). said is called once, as in Handler.Verify; not within the call.
func (s *Stream) Verify(p Pair, id, key string, said func(error)) error {
	v := verification{p.Local, p.Far, id}
	s.mu.Lock()
	switch {
	case s.ending || s.over:
		s.mu.Unlock()
		return ErrClosed
	case s.asking[v] != nil:
		s.mu.Unlock()
		return stanza.Err(stanza.ResourceConstraint, "it is being verified")
	case len(s.asking) >= s.c.MaxPairs:
		s.mu.Unlock()
		return stanza.Err(stanza.ResourceConstraint, "too many keys are being verified")
	}
	s.asking[v] = said
	s.mu.Unlock()
	s.Send(element("verify", p.Local, p.Far, id, "", key))
	time.AfterFunc(s.c.Dialback, func() {
		s.answered(v, stanza.Err(stanza.RemoteServerTimeout, "the authoritative server does not answer"))
	})
	return nil
}

// answered ends a verification of ours, if it is still waited for.
func (s *Stream) answered(v verification, err error) bool {
	s.mu.Lock()
	said := s.asking[v]
	delete(s.asking, v)
	s.mu.Unlock()
	if said == nil {
		return false
	}
	said(err)
	return true
}

// element returns <db:result/> or <db:verify/>.
func element(name, from, to, id, typ, content string) string {
	b := append([]byte("<db:"), name...)
	for _, a := range [...][2]string{{"from", from}, {"to", to}, {"id", id}, {"type", typ}} {
		if a[1] != "" {
			b = append(append(append(b, ' '), a[0]...), "='"...)
			b = append(stanza.AppendAttr(b, a[1]), '\'')
		}
	}
	if content == "" {
		return string(append(b, "/>"...))
	}
	b = append(append(b, '>'), content...)
	return string(append(append(append(b, "</db:"...), name...), '>'))
}

// outcome returns the answer to a request: valid, invalid or an error (XEP-0220 2.5).
func outcome(name, from, to, id string, err error) string {
	switch e := (*stanza.Error)(nil); {
	case err == nil:
		return element(name, from, to, id, "valid", "")
	case errors.Is(err, ErrInvalid):
		return element(name, from, to, id, "invalid", "")
	default:
		if !errors.As(err, &e) {
			e = stanza.Err(stanza.RemoteServerTimeout, "")
		}
		short := &stanza.Error{Condition: e.Condition, Type: stanza.Cancel}
		return element(name, from, to, id, "error", string(short.Element().Append(nil, "")))
	}
}

// dialback takes an element of XEP-0220. Only the reader calls it.
func (s *Stream) dialback(ctx context.Context, e *stanza.Element) *stream.Error {
	from, ok := canonical(e.Attr("from"))
	to, ok2 := canonical(e.Attr("to"))
	if !ok || !ok2 {
		return stream.Err(stream.ImproperAddressing, "dialback needs domains in from and to")
	}
	typ := e.Attr("type")
	switch {
	case e.Local == "result" && typ == "":
		return s.asksFor(ctx, Pair{to, from}, strings.TrimSpace(e.Text()))
	case e.Local == "result":
		return s.result(Pair{to, from}, typ, e)
	case e.Local == "verify" && typ == "":
		s.authoritative(from, to, e.Attr("id"), strings.TrimSpace(e.Text()))
	case e.Local == "verify":
		var err error
		switch typ {
		case "valid":
		case "error":
			err = dialbackError(e)
		default:
			err = ErrInvalid
		}
		// What we did not ask for on this stream is nothing (XEP-0220 3.1).
		s.answered(verification{to, from, e.Attr("id")}, err)
	default:
		return stream.Err(stream.UnsupportedStanzaType, "no element of dialback")
	}
	return nil
}

// authoritative answers a request for verification (XEP-0220 2.2.2): from is the receiving domain, to the one that is ours.
func (s *Stream) authoritative(from, to, id, key string) {
	var err error
	switch {
	case !s.c.Ours(to):
		err = stanza.Err(stanza.ItemNotFound, "")
	case id == "" || subtle.ConstantTimeCompare([]byte(s.c.Key(from, to, id)), []byte(key)) != 1:
		err = ErrInvalid
	}
	s.Send(outcome("verify", to, from, id, err))
}

// asksFor is a request to be let send for a pair (XEP-0220 2.2.1).
func (s *Stream) asksFor(ctx context.Context, p Pair, key string) *stream.Error {
	if s.initiator && !s.Bidi() {
		return stream.Err(stream.NotAuthorized, "the stream is for one direction")
	}
	terms := s.c.Terms(p.Far)
	var err error
	s.mu.Lock()
	full := len(s.accepted)+len(s.checking) >= s.c.MaxPairs
	known, checking := s.accepted[p], s.checking[p]
	s.mu.Unlock()
	switch {
	case checking:
		return nil // it is being verified
	case !s.c.Ours(p.Local):
		err = stanza.Err(stanza.ItemNotFound, "")
	case terms.Refused, !s.secure && !terms.NoTLS:
		err = stanza.Err(stanza.PolicyViolation, "")
	case known:
	case full:
		err = stanza.Err(stanza.ResourceConstraint, "")
	case s.Valid(ctx, p.Far) == nil:
		err = s.h.Accept(s, p) // its certificate says more than its key
	case terms.Certificate:
		err = stanza.Err(stanza.NotAuthorized, "")
	default:
		s.mu.Lock()
		s.checking[p] = true
		s.mu.Unlock()
		s.h.Verify(s, p, key, func(err error) { s.checked(p, err) })
		return nil
	}
	s.decided(p, err)
	return nil
}

// checked ends a verification that the peer waits for, on any goroutine.
func (s *Stream) checked(p Pair, err error) {
	s.mu.Lock()
	was := s.checking[p]
	delete(s.checking, p)
	s.mu.Unlock()
	if !was {
		return
	}
	if err == nil {
		err = s.h.Accept(s, p)
	}
	s.decided(p, err)
}

// decided answers a request for a pair.
func (s *Stream) decided(p Pair, err error) {
	s.mu.Lock()
	others := len(s.accepted) > 0 || len(s.any) > 0 || s.initiator
	back := err == nil && s.bidi
	if err == nil {
		s.accepted[p] = true
		if back {
			s.outward[p] = may
		}
		s.authenticated()
	}
	s.mu.Unlock()
	invalid := errors.Is(err, ErrInvalid)
	if invalid && others {
		err = stanza.Err(stanza.Forbidden, "") // it is one pair of many
	}
	s.Send(outcome("result", p.Local, p.Far, "", err))
	switch {
	case invalid && !others:
		s.Close(nil)
	case back:
		s.h.Authorized(s, p, nil)
	}
}

// authenticated notes that the peer is somebody. s.mu is held.
func (s *Stream) authenticated() {
	if s.deadline.IsZero() {
		return
	}
	s.deadline = time.Time{}
	if !s.ending {
		_ = s.conn.SetReadDeadline(idle(s.c.Idle))
	}
}

func idle(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// result is the answer to Authorize.
func (s *Stream) result(p Pair, typ string, e *stanza.Element) *stream.Error {
	s.mu.Lock()
	if s.outward[p] != asked {
		s.mu.Unlock()
		return nil // not asked for on this stream (XEP-0220 3.1)
	}
	var err error
	switch typ {
	case "valid":
		s.outward[p] = may
		if s.bidi && s.initiator {
			s.accepted[p] = true
		}
		s.authenticated()
	case "error":
		err = dialbackError(e)
	default:
		err = ErrInvalid
	}
	if err != nil {
		delete(s.outward, p)
	}
	s.mu.Unlock()
	s.h.Authorized(s, p, err)
	return nil
}
