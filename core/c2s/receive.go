package c2s

import (
	"context"

	"github.com/hexmpp/hexmpp/core/iq"
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/router"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// receive takes a stanza of a bound client: count, check, stamp, Submit.
func (s *Stream) receive(b *transport.Batch, t *xmlstream.Token) transport.Wait {
	sess := s.session.Load()
	if sess == nil || !sess.Begin(s) { // it has ended, or another stream has taken it over: who did that closes
		s.state = ended
		return nil
	}
	s.srv.Observe.Received(t.Stanza.Kind)
	s.pace.stanzas++
	w := s.submit(b, t, sess)
	s.envelope.Stanza = nil            // an idle session holds no stanza
	if c := sess.Crowded(); c != nil { // the disk is slower than the client
		calm := func(ctx context.Context) { await(ctx, c) }
		if w == nil {
			w = calm
		} else {
			w = transport.Sequence([]transport.Wait{w, calm})
		}
	}
	return s.done(sess, w)
}

// done ends what Begin or BeginElement began: now, or behind what is left to wait
// for, which is the kernel's.
func (s *Stream) done(sess *session.Session, w transport.Wait) transport.Wait {
	if w == nil {
		sess.Done()
		return nil
	}
	return s.srv.Router.Hosts.Own(func(ctx context.Context) {
		defer sess.Done()
		w(ctx)
	})
}

// submit does so for a session that stays the same, whatever becomes of the
// stream meanwhile.
func (s *Stream) submit(b *transport.Batch, t *xmlstream.Token, sess *session.Session) transport.Wait {
	st := t.Stanza
	if t.Malformed == "from" || !st.From.IsZero() && st.From != sess.JID && st.From != s.user {
		s.fail(b, stream.Err(stream.InvalidFrom, "")) // RFC 6120 4.9.3.9
		return nil
	}
	st.From = sess.JID // 8.1.2.1; nobody else has seen this stanza yet
	if t.Malformed != "" {
		st.To, _ = jid.Parse(s.domain)                           // what was no address can't be one of the answer
		answer(b, sess, st, stanza.Err(stanza.JIDMalformed, "")) // 8.3.3.8
		return nil
	}
	if st.ManagesSubscription() {
		st.From = s.user // RFC 6121 3.1.2
	}
	st = s.srv.Forgery.Strip(st)
	s.envelope.Stanza = st
	if err := s.refusal(st, sess); err != nil {
		answer(b, sess, st, err)
		return nil
	}
	switch st.Kind {
	case stanza.IQ:
		if err := checkIQ(st); err != nil {
			answer(b, sess, st, err)
			return nil
		}
		if w, done := s.streamIQ(b, sess, st); done {
			return w
		}
	case stanza.Presence:
		return s.srv.Router.SubmitPresence(b, &s.envelope, func(b *transport.Batch, e *extension.Envelope) transport.Wait {
			w, err := s.srv.Presence.FromClient(b, sess, e)
			if err != nil {
				answer(b, sess, e.Stanza, err)
			}
			return w
		})
	}
	if st.Kind == stanza.Message {
		s.way = router.Way{Session: sess}
		return s.srv.Router.Message(b, &s.envelope, &s.way)
	}
	s.way = router.Way{Session: sess, Asker: s}
	return s.srv.Router.Request(b, &s.envelope, &s.way)
}

// behind returns what a token has to wait for, since messages of the client are under
// way; nil for nothing. A message can follow them as long as there is room, and
// acknowledgements are of no order; anything else comes when they have come to their end.
func (s *Stream) behind(t *xmlstream.Token) <-chan struct{} {
	if s.replaced != nil && t.Kind == xmlstream.Stanza { // nobody can tell the two sessions apart
		if c := s.replaced.Over(); c != nil {
			return c
		}
		s.replaced = nil
	}
	sess := s.session.Load()
	switch {
	case sess == nil || !sess.Busy():
		return nil
	case t.Kind == xmlstream.Stanza && t.Stanza.Kind == stanza.Message:
		if !sess.LineFull() {
			return nil
		}
		return sess.LineRoom()
	case t.Kind == xmlstream.Element && t.Element.Space == session.NSManagement && (t.Element.Local == "r" || t.Element.Local == "a"):
		return nil
	}
	return sess.LineIdle()
}

// underway returns what the end of the stream has to wait for: messages of the client; nil
// for nothing.
func (s *Stream) underway() <-chan struct{} {
	if sess := s.session.Load(); sess != nil {
		return sess.LineIdle()
	}
	return nil
}

// streamIQ answers what belongs to the stream and to the account's roster: a
// second bind is refused (RFC 6120 7.1), a session is a no-op (RFC 3921 3).
func (s *Stream) streamIQ(b *transport.Batch, sess *session.Session, st *stanza.Stanza) (w transport.Wait, done bool) {
	if st.Type != stanza.Get && st.Type != stanza.Set {
		return nil, false
	}
	own := st.To.IsZero() || st.To == s.user
	server := st.To.IsZero() || st.To.String() == s.domain
	switch space := st.Children()[0].Space; {
	case space == roster.NS && own:
		return s.srv.Presence.RosterIQ(b, sess, st), true
	case st.Type != stanza.Set || !server:
		return nil, false
	case space == xmpp.NSBind:
		answer(b, sess, st, stanza.Err(stanza.NotAllowed, "a resource is bound already"))
	case space == xmpp.NSSession:
		sess.Send(b, stanza.New(st.Reply(stanza.Result)))
	default:
		return nil, false
	}
	return nil, true
}

// answer sends an error back to the client of a session.
func answer(b *transport.Batch, sess *session.Session, st *stanza.Stanza, err *stanza.Error) {
	if reply := st.ErrorReply(err); reply != nil {
		sess.Send(b, reply)
	}
}

// answer sends an error back to a client that is not bound yet.
func (s *Stream) answer(b *transport.Batch, st *stanza.Stanza, err *stanza.Error) {
	if reply := st.ErrorReply(err); reply != nil {
		s.send(b, reply)
	}
}

// send queues a stanza of the stream itself. A client that does not read its
// answers loses the stream, not an answer (RFC 6120 8.2.3). A Wait may call it.
func (s *Stream) send(b *transport.Batch, st *stanza.Stanza) {
	if s.direct(b, st) == session.Full {
		s.End(b, stream.Err(stream.ResourceConstraint, "the client does not read what it is sent"))
	}
}

func checkIQ(st *stanza.Stanza) *stanza.Error { return iq.Check(st) }
