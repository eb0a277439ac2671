package c2s

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/router"
	"github.com/hexmpp/hexmpp/core/sasl"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// state is how far the negotiation has come (RFC 6120 4.3).
type state uint8

const (
	connected     state = iota // a stream header is expected
	opened                     // features are sent; TLS and SASL come here
	authenticated              // SASL is done; a new header is expected
	unbound                    // features are sent; a resource must be bound
	bound                      // stanzas flow
	ended
)

// Stream is one client stream. Its fields belong to the stream's turns (see
// package transport) unless they say otherwise.
type Stream struct {
	srv  *Server
	conn transport.Conn
	peer transport.Peer
	rd   *xmlstream.Reader
	out  atomic.Pointer[session.Outbox] // any goroutine; the session's, once bound

	state    state
	domain   string                          // hosted domain that the client asked for
	claims   jid.JID                         // bare from of the latest header, zero if it had none
	user     jid.JID                         // bare, once authenticated
	since    time.Time                       // when it was
	session  atomic.Pointer[session.Session] // once bound
	envelope extension.Envelope              // of the stanza in hand
	way      router.Way                      // of it, if it is a message
	held     *xmlstream.Token                // was read, and waits for what is under way
	replaced *session.Session                // the one that this one has replaced, until all that it was sent has come to its end

	login    *login                 // while not authenticated
	resume   func(*transport.Batch) // what the last Wait left to do
	deadline time.Time              // for the negotiation
	failures int                    // refused binds
	pace     pace
	asking   asking

	// greeting guards greeted: our header was sent on the present stream. Any
	// goroutine may end the stream, and must know.
	greeting sync.Mutex
	greeted  bool
}

// New returns the stream of a connection.
func (srv *Server) New(peer transport.Peer, conn transport.Conn) *Stream {
	s := &Stream{
		srv: srv, conn: conn, peer: peer,
		rd:       newReader(peer.Framing, srv.Limits.before()),
		login:    &login{},
		deadline: srv.Now().Add(srv.Limits.UnauthenticatedTime),
	}
	s.out.Store(session.NewOutbox(conn, srv.Limits.Outbox()))
	return s
}

// Feed implements transport.Stream: it reads token by token until the input is
// used up, or something must be waited for.
func (s *Stream) Feed(b *transport.Batch, p []byte) transport.Wait {
	s.rested()
	s.answered()
	s.pace.bytes += len(p)
	if f := s.resume; f != nil {
		s.resume = nil
		if s.state != ended {
			f(b)
		}
	}
	if s.state == ended {
		return nil
	}
	if s.login != nil {
		if s.login.bytes += len(p); s.login.bytes > s.srv.Limits.UnauthenticatedBytes {
			s.fail(b, stream.Err(stream.PolicyViolation, "too much input before login"))
			return nil
		}
	}
	s.rd.Feed(p)
	var turn turn
	for s.state != ended {
		if s.unanswered() {
			s.rd.Hold()
			return nil
		}
		if turn.over() { // others first; what is left is held
			s.rd.Hold()
			s.conn.Pause(0)
			return nil
		}
		t, ok, err := s.next()
		if err != nil {
			if c := s.underway(); c != nil { // next returns it again
				return func(ctx context.Context) { await(ctx, c) }
			}
			s.fail(b, stream.AsError(err))
			return nil
		}
		if !ok {
			s.pause()
			return nil
		}
		if c := s.behind(&t); c != nil {
			held := t // t is on the stack
			s.held = &held
			s.rd.Hold()
			return func(ctx context.Context) { await(ctx, c) }
		}
		if w := s.handle(b, &t); w != nil {
			s.rd.Hold()
			return w
		}
	}
	return nil
}

// next returns the next token: the one that has waited, or else one that is read.
func (s *Stream) next() (t xmlstream.Token, ok bool, err error) {
	if s.held == nil {
		return s.rd.Next()
	}
	t, s.held = *s.held, nil
	return t, true, nil
}

// handle takes one token to where the state sends it.
func (s *Stream) handle(b *transport.Batch, t *xmlstream.Token) transport.Wait {
	switch {
	case t.Kind == xmlstream.Close:
		s.end(b)
		return nil
	case s.login != nil && s.login.held != nil && t.Kind == xmlstream.Element && t.Element.Space == xmpp.NSSASL && t.Element.Local == "abort":
		s.login.held = nil
		return s.refused(b, sasl.Aborted, "") // the attempt itself is counted already
	case s.login != nil && s.login.held != nil: // a client waits for the answer (RFC 6120 6.4.2)
		s.fail(b, stream.Err(stream.PolicyViolation, "the answer to the last login is not sent yet"))
		return nil
	}
	switch s.state {
	case connected, authenticated: // the reader lets nothing but a header come first
		s.open(b, t.Header)
		return nil
	case opened:
		return s.negotiate(b, t)
	case unbound:
		if t.Kind == xmlstream.Element && t.Element.Space == session.NSManagement {
			return s.beforeBind(b, t.Element)
		}
		return s.bind(b, t)
	}
	if t.Kind == xmlstream.Element && t.Element.Space == session.NSManagement {
		s.manage(b, t.Element)
		return nil
	}
	if t.Kind != xmlstream.Stanza {
		return s.element(b, t)
	}
	return s.receive(b, t)
}

// negotiate handles what may come between the features and login.
func (s *Stream) negotiate(b *transport.Batch, t *xmlstream.Token) transport.Wait {
	switch {
	case t.Kind == xmlstream.Stanza && t.Stanza.Kind == stanza.IQ && s.secure():
		return s.before(b, t.Stanza)
	case t.Kind == xmlstream.Stanza:
		s.fail(b, stream.Err(stream.NotAuthorized, "log in first")) // RFC 6120 4.9.3.12
	case t.Element.Space == xmpp.NSTLS:
		s.startTLS(b, t.Element)
	case t.Element.Space == xmpp.NSSASL:
		return s.sasl(b, t.Element)
	case t.Element.Space == "" || t.Element.Space == xmpp.NSClient:
		s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
	default:
		s.fail(b, stream.Err(stream.NotAuthorized, "log in first"))
	}
	return nil
}

// before hands an iq to an extension that answers before login; all others end
// the stream.
func (s *Stream) before(b *transport.Batch, st *stanza.Stanza) transport.Wait {
	toUs := st.To.IsZero() || st.To.String() == s.domain
	if err := checkIQ(st); err == nil && toUs {
		e := &extension.Envelope{Stanza: st, Origin: s.origin()}
		w, ok := s.srv.Router.Before(b, e, s, func(b *transport.Batch, answer *stanza.Stanza) {
			s.send(b, answer)
		})
		if ok {
			return w
		}
	}
	s.fail(b, stream.Err(stream.NotAuthorized, "log in first"))
	return nil
}

// origin says where this stream's stanzas come from.
func (s *Stream) origin() extension.Origin {
	return extension.Origin{Domain: s.domain, Addr: s.peer.Addr.Addr(), Secure: s.private()}
}

// secure says whether the stream may be used to log in.
func (s *Stream) secure() bool { return s.private() || !s.srv.TLSRequired }

// private says whether nobody on the way can read along.
func (s *Stream) private() bool { return s.peer.TLS != nil || s.peer.Private }

// Tick implements transport.Stream: it ends negotiations that take too long.
func (s *Stream) Tick(b *transport.Batch, now time.Time) time.Time {
	switch {
	case s.state == bound:
		return s.tick(b, now)
	case s.state == ended:
		return time.Time{}
	}
	s.release(b, now)
	if now.Before(s.deadline) {
		return earlier(s.deadline, now.Add(time.Second))
	}
	s.fail(b, stream.Err(stream.ConnectionTimeout, "the login took too long"))
	return time.Time{}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Drain implements transport.Stream.
func (s *Stream) Drain(dst []byte, max int) []byte {
	return s.out.Load().Drain(s.conn, dst, max, s.peer.Framing)
}

// Session returns the session of the stream, nil if it has none. Any goroutine may call
// it.
func (s *Stream) Session() *session.Session { return s.session.Load() }

// Closed implements transport.Stream.
func (s *Stream) Closed(b *transport.Batch, err error) {
	s.state = ended
	s.unmeter()
	if sess := s.session.Load(); sess == nil {
		s.out.Load().Take()
	} else if !sess.Detach(s) {
		sess.End(b, nil)
		sess.Bury(b)
	}
	if err != nil {
		s.srv.Log.Debug("connection lost", zap.Stringer("addr", s.peer.Addr), zap.Stringer("user", s.user), zap.Error(err))
	}
	s.srv.Gone(s)
}

// GiveUp writes nothing more of what a session left that has ended: it goes where it
// would go if the connection were gone. Any goroutine may call it.
func (s *Stream) GiveUp(b *transport.Batch) {
	if sess := s.session.Load(); sess != nil {
		sess.Bury(b)
	}
}

// end answers the client's end of the stream (RFC 6120 4.4).
func (s *Stream) end(b *transport.Batch) {
	s.state = ended
	last := s.last()
	if sess := s.session.Load(); sess != nil {
		sess.Close(b, last)
		return
	}
	s.out.Load().Finish(b, last)
}

// fail ends the stream with an error (RFC 6120 4.9).
func (s *Stream) fail(b *transport.Batch, e *stream.Error) {
	s.state = ended
	s.srv.Log.Debug("stream error", zap.Stringer("addr", s.peer.Addr), zap.Stringer("user", s.user), zap.Error(e))
	s.End(b, e)
}

// End ends the stream with an error. Any goroutine may call it.
func (s *Stream) End(b *transport.Batch, e *stream.Error) {
	if sess := s.session.Load(); sess != nil {
		sess.End(b, e)
		return
	}
	s.greeting.Lock()
	defer s.greeting.Unlock()
	var dst []byte
	if !s.greeted { // RFC 6120 4.9.1.2: our header comes before any error
		s.greeted = true
		dst = s.appendHeader(dst, header(s.srv.Registry.Default(), jid.JID{}))
		if s.framed() {
			dst = append(dst, xmlstream.EndOfMessage)
		}
	}
	s.out.Load().Finish(b, string(dst)+s.Closing(e))
}

// Closing implements session.Owner: the last bytes of a stream whose header was
// sent.
func (s *Stream) Closing(e *stream.Error) string {
	dst := e.Append(nil, s.framed())
	if s.framed() {
		dst = append(dst, xmlstream.EndOfMessage)
	}
	return string(append(dst, s.last()...))
}

// greet sends our header, unless the stream was ended in between.
func (s *Stream) greet(b *transport.Batch, h stream.Header) {
	s.greeting.Lock()
	defer s.greeting.Unlock()
	if !s.greeted {
		s.greeted = true
		s.raw(b, string(s.appendHeader(nil, h)))
	}
}

// restart begins a new stream on the same connection (4.3.3): its header is
// still to come.
func (s *Stream) restart() {
	s.greeting.Lock()
	defer s.greeting.Unlock()
	s.greeted = false
}
