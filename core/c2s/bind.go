package c2s

import (
	"context"

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
func (s *Stream) bind(b *transport.Batch, t *xmlstream.Token) transport.Wait {
	if t.Kind != xmlstream.Stanza {
		s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
		return nil
	}
	st := t.Stanza
	req, asks := st.Child(xmpp.NSBind, "bind")
	if st.Kind != stanza.IQ || !asks {
		s.fail(b, stream.Err(stream.NotAuthorized, "bind a resource first")) // 7.1
		return nil
	}
	full, err := s.resource(st, req)
	if err != nil {
		s.refuseBind(b, st, err)
		return nil
	}
	return s.claim(b, st, full)
}

// refuseBind answers a bind with an error, a bounded number of times (7.7.3).
func (s *Stream) refuseBind(b *transport.Batch, st *stanza.Stanza, err *stanza.Error) {
	s.answer(b, st, err)
	if s.failures++; s.failures >= s.srv.Limits.BindAttempts {
		s.fail(b, stream.Err(stream.PolicyViolation, "too many refused resources"))
	}
}

// maxBind bounds the request, in bytes: a resource that is all references is shorter.
const maxBind = 8 << 10

// resource returns the full JID that a request asks for, or a new one that
// can't be guessed (7.6, 7.7).
func (s *Stream) resource(st *stanza.Stanza, req stanza.Child) (jid.JID, *stanza.Error) {
	if err := checkIQ(st); err != nil {
		return jid.JID{}, err
	}
	if st.Type != stanza.Set {
		return jid.JID{}, stanza.Err(stanza.BadRequest, "a resource is bound by an iq of type set")
	}
	if req.Size() > maxBind {
		return jid.JID{}, stanza.Err(stanza.BadRequest, "not a resource") // 7.7.2.1
	}
	name := randomID()
	if r := st.Element(req).Child(xmpp.NSBind, "resource"); r != nil && r.Text() != "" {
		name = r.Text()
	}
	full, err := s.user.WithResource(name)
	if err != nil {
		return jid.JID{}, stanza.Err(stanza.BadRequest, "not a resource") // 7.7.2.1
	}
	return full, nil
}

// claim makes the session. One that had the same full JID ends with conflict
// (7.7.2.2, third way), and the client is told that it is bound when everybody
// has been told of that end. What others send meanwhile is held back.
func (s *Stream) claim(b *transport.Batch, st *stanza.Stanza, full jid.JID) transport.Wait {
	if _, replaces := s.srv.Sessions.Session(full); !replaces && len(s.srv.Sessions.Sessions(s.user)) >= s.srv.Limits.SessionsPerAccount {
		s.refuseBind(b, st, stanza.Err(stanza.ResourceConstraint, "too many sessions of this account")) // 7.6.2.1
		return nil
	}
	sess := session.New(full, s, s.out.Load(), s.srv.Pipeline, s.srv.Kernel)
	s.out.Load().Hold()
	release := s.srv.Kernel.Hold(sess) // nobody can see the old session any more, before it ends
	defer release()
	fence, replaced := s.srv.Sessions.Claim(cluster.Entry{JID: full, Receiver: sess})
	if !sess.Claimed(fence) { // somebody else claims it already
		s.srv.Sessions.Release(full, fence)
	}
	s.session.Store(sess)
	if replaced == nil {
		s.bound(b, st, sess)
		return nil
	}
	gone := replaced.Receiver.End(b, stream.Err(stream.Conflict, "replaced by a new session"))
	if old, ok := replaced.Receiver.(*session.Session); ok {
		s.replaced = old
	}
	select {
	case <-gone:
		s.bound(b, st, sess)
		return nil
	default:
	}
	return func(ctx context.Context) {
		await(ctx, gone)
		s.resume = func(b *transport.Batch) { s.bound(b, st, sess) }
	}
}

// bound tells the client that it has its resource, unless the account is gone.
func (s *Stream) bound(b *transport.Batch, st *stanza.Stanza, sess *session.Session) {
	if len(s.srv.Sessions.Sessions(s.user)) > s.srv.Limits.SessionsPerAccount { // binds at the same time
		s.fail(b, stream.Err(stream.ResourceConstraint, "too many sessions of this account"))
		return
	}
	s.envelope.Origin = s.origin()
	s.envelope.Origin.Session, s.envelope.Origin.Fence = sess.JID, sess.Fence()
	s.state = bound
	s.out.Load().Release(b, stanza.New(st.Reply(stanza.Result),
		stanza.El(xmpp.NSBind, "bind").Add(stanza.El(xmpp.NSBind, "jid").WithText(sess.JID.String()))))
	if s.srv.Removed(s.user, s.since) { // behind the claim: either this sees the removal, or the removal the claim
		s.fail(b, stream.Err(stream.NotAuthorized, "the account was removed"))
		return
	}
	s.srv.Log.Debug("session", zap.Stringer("jid", sess.JID), zap.Stringer("addr", s.peer.Addr))
}
