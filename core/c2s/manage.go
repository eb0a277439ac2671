package c2s

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// manage handles an element of stream management on a bound stream (XEP-0198).
func (s *Stream) manage(b *transport.Batch, e *stanza.Element) {
	sess := s.session.Load()
	if sess == nil { // taken over by another stream
		s.state = ended
		return
	}
	switch e.Local {
	case "enable":
		if !sess.Enable(b, s.srv.Resumables, boolean(e.Attr("resume")), seconds(e.Attr("max"))) {
			s.refuseManagement(b, stanza.UnexpectedRequest, nil)
		}
	case "resume":
		s.refuseManagement(b, stanza.UnexpectedRequest, nil)
	case "r":
		if sess.Managed() {
			s.queued(b, sess.Answer(b))
		} else {
			s.refuseManagement(b, stanza.UnexpectedRequest, nil)
		}
	case "a":
		s.acknowledged(b, sess, e)
	default:
		s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
	}
}

func (s *Stream) acknowledged(b *transport.Batch, sess *session.Session, e *stanza.Element) {
	h, ok := count(e.Attr("h"))
	if !ok {
		s.fail(b, stream.Err(stream.BadFormat, "h is a number"))
		return
	}
	if err := sess.Ack(b, h); err != nil {
		s.fail(b, wrongCount(h, sess))
	}
}

// wrongCount is the stream error for an h above what was sent, or below what was
// acknowledged before: modulo 2^32 that is the same (XEP-0198 4).
func wrongCount(h uint32, sess *session.Session) *stream.Error {
	e := stream.Err(stream.UndefinedCondition, "h is more than was sent, or less than was acknowledged before")
	e.App = stanza.El(session.NSManagement, "handled-count-too-high",
		stanza.At("h", strconv.FormatUint(uint64(h), 10)), stanza.At("send-count", strconv.FormatUint(uint64(sess.Outbox().Sent()), 10)))
	return e
}

// refuseManagement sends <failed/>, with the count of a past session if it is
// known.
func (s *Stream) refuseManagement(b *transport.Batch, c stanza.Condition, h *uint32) {
	f := stanza.El(session.NSManagement, "failed")
	if h != nil {
		f.Attrs = append(f.Attrs, stanza.At("h", strconv.FormatUint(uint64(*h), 10)))
	}
	s.reply(b, string(f.Add(stanza.El(xmpp.NSStanzas, string(c))).Append(nil, "")))
}

// beforeBind handles stream management between login and a bound resource:
// nothing but a resumption (XEP-0198 5).
func (s *Stream) beforeBind(b *transport.Batch, e *stanza.Element) transport.Wait {
	if e.Local != "resume" {
		s.refuseManagement(b, stanza.UnexpectedRequest, nil)
		return nil
	}
	h, ok := count(e.Attr("h"))
	if !ok {
		s.refuseManagement(b, stanza.BadRequest, nil)
		return nil
	}
	sess, _, _ := s.srv.Resumables.Find(e.Attr("previd"), s.user)
	if sess == nil {
		if c := s.leaving(e); c != nil {
			return func(ctx context.Context) {
				s.awaitLeaving(ctx, e)
				s.resume = func(b *transport.Batch) { s.notResumed(b, e) }
			}
		}
		s.notResumed(b, e)
		return nil
	}
	old, busy, ok := sess.TakeOver(s)
	if !ok {
		s.tooLate(b, sess)
		return nil
	}
	if old != nil {
		old.Replaced(b)
	}
	s.session.Store(sess)
	if busy == nil && !sess.Busy() && sess.Returned() == nil && sess.Settled() == nil {
		s.resumed(b, sess, h)
		return nil
	}
	return func(ctx context.Context) {
		settled := await(ctx, busy) && await(ctx, sess.LineIdle()) && // what is in hand may be under way then, and need the spool
			s.returned(ctx, sess) && await(ctx, sess.Settled()) // <resumed/> counts all of it
		s.resume = func(b *transport.Batch) {
			if settled {
				s.resumed(b, sess, h)
				return
			}
			s.state = ended // the session goes on without this stream
			s.out.Load().Finish(b, s.Closing(stream.Err(stream.ConnectionTimeout, "what was sent before is not safe yet")))
		}
	}
}

// leaving returns a channel that is closed when more is safe of what the client had sent
// on the session that it asks for, which has ended; nil if there is nothing to wait for.
func (s *Stream) leaving(resume *stanza.Element) <-chan struct{} {
	sess := s.srv.Resumables.Leaving(resume.Attr("previd"), s.user)
	if sess == nil || s.srv.Full() {
		return nil
	}
	if c := sess.Over(); c != nil {
		return c
	}
	if c := sess.Returned(); c != nil {
		return c
	}
	return sess.Settled()
}

// maxLeaving is how long a client waits for that.
const maxLeaving = 10 * time.Second

// awaitLeaving waits until what the client had sent is safe: told before, it would send
// again what is still to become so. It gives up after a time, or
// where too many wait.
func (s *Stream) awaitLeaving(ctx context.Context, resume *stanza.Element) {
	defer s.srv.returning.Add(-1)
	if s.srv.returning.Add(1) > maxReturning {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, maxLeaving)
	defer cancel()
	for c := s.leaving(resume); c != nil; c = s.leaving(resume) {
		if !await(ctx, c) {
			return
		}
	}
}

// notResumed answers a client whose session is not there any more, with the count of what
// it had sent if that is known.
func (s *Stream) notResumed(b *transport.Batch, resume *stanza.Element) {
	if s.failures++; s.failures >= s.srv.Limits.BindAttempts {
		s.fail(b, stream.Err(stream.PolicyViolation, "too many failed resumptions"))
		return
	}
	id := resume.Attr("previd")
	var told *uint32
	if sess, past, known := s.srv.Resumables.Find(id, s.user); sess == nil && known {
		told = &past
	}
	if sess := s.srv.Resumables.Leaving(id, s.user); sess != nil { // nobody may have noted the last of it yet
		if h, ok := sess.Count(); ok {
			told = &h
		}
	}
	s.srv.Observe.Resumed(false)
	why := stanza.ItemNotFound
	if !s.srv.Resumables.Enabled() {
		why = stanza.FeatureNotImplemented
	}
	s.refuseManagement(b, why, told)
}

// maxReturning is how many streams may wait for extensions elsewhere before they resume a
// session: they hold goroutines which all streams share.
const maxReturning = 64

// returned waits for what extensions elsewhere have of the client. It is false if that
// takes too long, or too many wait for it: the client tries again a while later.
func (s *Stream) returned(ctx context.Context, sess *session.Session) bool {
	c := sess.Returned()
	if c == nil {
		return true
	}
	defer s.srv.returning.Add(-1)
	return s.srv.returning.Add(1) <= maxReturning && await(ctx, c)
}

// tooLate answers a client whose session has ended while it was about to resume it.
func (s *Stream) tooLate(b *transport.Batch, sess *session.Session) {
	var told *uint32
	if h, ok := sess.Count(); ok {
		told = &h
	}
	s.refuseManagement(b, stanza.ItemNotFound, told)
}

// await waits for a channel, and is false if ctx ends before. There is nothing to wait
// for in nil.
func await(ctx context.Context, c <-chan struct{}) bool {
	if c == nil {
		return true
	}
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// resumed goes on with a session of before.
func (s *Stream) resumed(b *transport.Batch, sess *session.Session, h uint32) {
	mine := s.out.Load()
	pending := string(bytes.TrimSuffix(mine.Drain(s.conn, nil, 1<<20, s.peer.Framing), []byte{xmlstream.EndOfMessage}))
	out, err := sess.Resume(b, s, s.conn, h, pending)
	if err != nil {
		mine.Raw(b, pending)
	}
	if errors.Is(err, session.ErrAck) { // this stream is wrong; the session can be resumed by another
		s.state = ended
		mine.Finish(b, s.Closing(wrongCount(h, sess)))
		return
	}
	if err != nil && !sess.Ended() { // it goes on without this stream
		s.state = ended
		s.conn.Close()
		return
	}
	if err != nil { // it has just ended; what it held is lost to this client
		if s.session.CompareAndSwap(sess, nil) {
			sess.Bury(b)
		}
		s.tooLate(b, sess)
		return
	}
	s.out.Store(out)
	if s.session.Load() != sess { // it was taken away in between
		s.leave()
		s.state = ended
		return
	}
	s.state = bound
	s.envelope.Origin = s.origin()
	s.envelope.Origin.Session, s.envelope.Origin.Fence = sess.JID, sess.Fence()
	sess.Reconnected(b)
	s.srv.Presence.Resumed(b, sess)
	s.srv.Observe.Resumed(true)
	s.srv.Log.Debug("session resumed", zap.Stringer("jid", sess.JID), zap.Stringer("addr", s.peer.Addr))
}

// Replaced implements session.Owner.
func (s *Stream) Replaced(b *transport.Batch) {
	s.leave().Finish(b, s.Closing(stream.Err(stream.Conflict, "the session was resumed on another stream")))
}

// Suspend ends the stream of a session that can be resumed behind a restart of the
// server; it is false if there is none such, and does nothing then. Any goroutine may
// call it.
//
// The stream is left unfinished (XEP-0198 7): its connection is closed and nothing is
// said. Behind a stream error must come the end of the stream (RFC 6120 4.9.1.1), and
// there are clients that take this for the end of the session, and forget it.
func (s *Stream) Suspend() bool {
	sess := s.session.Load()
	if sess == nil || !sess.Suspend(s) {
		return false
	}
	s.leave().Take()
	s.conn.Close()
	return true
}

// leave parts the stream from its session, and returns an Outbox of its own. That
// comes first: the end of the connection ends the Outbox of a stream without a
// session.
func (s *Stream) leave() *session.Outbox {
	own := session.NewOutbox(s.conn, s.srv.Limits.Outbox())
	s.out.Store(own)
	s.session.Store(nil)
	return own
}

// ackTick is how often a session that owes acknowledgements is asked, and how
// long it has to answer: a client that does not has lost its connection.
const ackTick = time.Minute

// tick looks after acknowledgements of a bound stream.
func (s *Stream) tick(b *transport.Batch, now time.Time) time.Time {
	sess := s.session.Load()
	if sess == nil {
		return time.Time{}
	}
	if sess.Managed() && sess.Ask(b, ackTick) && !s.rests(now, ackTick) {
		s.srv.Log.Debug("the client does not acknowledge: its connection is given up", zap.Stringer("jid", sess.JID))
		s.state = ended
		s.conn.Close()
		return time.Time{}
	}
	return now.Add(ackTick)
}

func boolean(s string) bool { return s == "true" || s == "1" }

func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

func count(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// raw queues bytes of the stream itself.
func (s *Stream) raw(b *transport.Batch, xml string) { s.out.Load().Raw(b, xml) }

// reply queues an answer that is no stanza. Whoever asks and does not read is
// cut off, as with stanzas.
func (s *Stream) reply(b *transport.Batch, xml string) { s.queued(b, s.out.Load().Raw(b, xml)) }

func (s *Stream) queued(b *transport.Batch, r session.Result) {
	if r == session.Full {
		s.fail(b, stream.Err(stream.ResourceConstraint, "the client does not read what it is sent"))
	}
}

// direct queues a stanza of the stream itself.
func (s *Stream) direct(b *transport.Batch, st *stanza.Stanza) session.Result {
	return s.out.Load().Stanza(b, st, jid.JID{})
}
