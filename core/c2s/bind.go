package c2s

import (
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// bind handles what comes between login and a bound resource: nothing but the
// request for one (RFC 6120 section 7).
func (s *Stream) bind(b *transport.Batch, t *xmlstream.Token) {
	if t.Kind != xmlstream.Stanza {
		s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
		return
	}
	st := t.Stanza
	req := st.Find(xmpp.NSBind, "bind")
	if st.Kind != stanza.IQ || req == nil {
		s.fail(b, stream.Err(stream.NotAuthorized, "bind a resource first")) // 7.1
		return
	}
	full, err := s.resource(st, req)
	if err == nil {
		err = s.claim(b, full)
	}
	if err != nil {
		s.answer(b, st, err)
		if s.failures++; s.failures >= s.srv.Limits.BindAttempts { // 7.7.3
			s.fail(b, stream.Err(stream.PolicyViolation, "too many refused resources"))
		}
		return
	}
	s.send(b, stanza.New(st.Reply(stanza.Result),
		stanza.El(xmpp.NSBind, "bind").Add(stanza.El(xmpp.NSBind, "jid").WithText(full.String()))))
}

// resource returns the full JID that a request asks for, or a new one that
// can't be guessed (7.6, 7.7).
func (s *Stream) resource(st *stanza.Stanza, req *stanza.Element) (jid.JID, *stanza.Error) {
	if err := checkIQ(st); err != nil {
		return jid.JID{}, err
	}
	if st.Type != stanza.Set {
		return jid.JID{}, stanza.Err(stanza.BadRequest, "a resource is bound by an iq of type set")
	}
	name := randomID()
	if r := req.Child(xmpp.NSBind, "resource"); r != nil && r.Text() != "" {
		name = r.Text()
	}
	full, err := s.user.WithResource(name)
	if err != nil {
		return jid.JID{}, stanza.Err(stanza.BadRequest, "not a resource") // 7.7.2.1
	}
	return full, nil
}

// claim makes the session. One that had the same full JID ends with conflict,
// before the new one is told that it is bound (7.7.2.2, third way).
func (s *Stream) claim(b *transport.Batch, full jid.JID) *stanza.Error {
	others := s.srv.Sessions.Sessions(full.Bare())
	if len(others) >= s.srv.Limits.SessionsPerAccount {
		if _, replaces := s.srv.Sessions.Session(full); !replaces {
			return stanza.Err(stanza.ResourceConstraint, "too many sessions of this account") // 7.6.2.1
		}
	}
	origin := s.origin()
	origin.Session = full
	sess := session.New(full, s, s.out.Load(), s.srv.Pipeline, s.srv.Kernel)
	fence, replaced := s.srv.Sessions.Claim(cluster.Entry{JID: full, Receiver: sess})
	if replaced != nil {
		replaced.Receiver.End(b, stream.Err(stream.Conflict, "replaced by a new session"))
	}
	if !sess.Claimed(fence) {
		s.srv.Sessions.Release(full, fence)
		return stanza.Err(stanza.Conflict, "")
	}
	if s.srv.Removed(s.user, s.since) { // behind the claim: either this sees the removal, or the removal the claim
		sess.End(b, stream.Err(stream.NotAuthorized, "the account was removed"))
		return stanza.Err(stanza.NotAuthorized, "the account was removed")
	}
	s.session.Store(sess)
	s.envelope.Origin = origin
	s.state = bound
	s.srv.Log.Debug("session", zap.Stringer("jid", full), zap.Stringer("addr", s.peer.Addr))
	return nil
}
