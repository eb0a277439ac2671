package websocket

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// Stream stands between an adapter that carries bytes and a Stream of the kernel
// that reads and writes messages. It is also the Conn that the kernel knows.
type Stream struct {
	transport.Conn // the adapter's
	kernel         transport.Stream

	// Of the turns.
	in     decoder
	first  []byte // came together with the request
	over   bool   // nothing is read any more
	rests  bool   // the kernel asked for a rest in this turn
	leaves bool   // the peer's Close came: the end, once what came before is read

	closing atomic.Bool // no message follows those that are queued

	mu   sync.Mutex // guards all below
	pong []byte     // answers the last ping; nil if it is answered
	end  status     // of our Close
	sent bool       // our Close
}

// New returns the Stream of a connection whose handshake is done. first is what was
// read of it behind the request. newStream makes the kernel's; the Stream is nil if
// that is.
func New(newStream func(transport.Peer, transport.Conn) transport.Stream, p transport.Peer, c transport.Conn, first []byte) transport.Stream {
	s := &Stream{Conn: c, first: first, end: statusNormal}
	p.Framing = transport.FramingWebSocket
	if s.kernel = newStream(p, s); s.kernel == nil {
		return nil
	}
	return s
}

// buffers hold what was decoded of one Feed, or what the kernel gave to one Drain.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// keep is the largest buffer that goes back.
const keep = 128 << 10

func give(b *[]byte) {
	if cap(*b) <= keep {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// Feed implements transport.Stream.
func (s *Stream) Feed(b *transport.Batch, p []byte) transport.Wait {
	if s.first != nil {
		p = append(s.first, p...)
		s.first = nil
	}
	s.rests = false
	buf := buffers.Get().(*[]byte)
	defer give(buf)
	var failed status
	if !s.over && len(p) > 0 {
		var err error
		*buf, err = s.in.decode(*buf, p, func(f controlFrame) { s.control(b, f) })
		s.over = err != nil
		s.leaves = errors.Is(err, errClosed)
		errors.As(err, &failed)
	}
	w := s.kernel.Feed(b, *buf)
	switch {
	case failed != 0:
		s.mu.Lock()
		s.end = failed
		s.mu.Unlock()
		s.Close()
	case s.leaves && w == nil && !s.rests:
		s.Close()
	}
	return w
}

// control takes a control frame (RFC 6455 5.5).
func (s *Stream) control(b *transport.Batch, f controlFrame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f.op {
	case opPing: // the answer to the last is enough (5.5.3)
		if s.pong == nil {
			b.Add(s.Conn)
		}
		s.pong = appendFrame(nil, opPong, f.payload)
	case opClose: // answered with its own status (5.5.1)
		s.end = 0
		if len(f.payload) >= 2 {
			s.end = answer(status(f.payload[0])<<8 | status(f.payload[1]))
		}
	}
}

// answer is the status of our Close to one of the peer's: not each may be sent
// (RFC 6455 7.4).
func answer(s status) status {
	if s >= 1000 && s <= 1003 || s >= 1007 && s <= 1014 || s >= 3000 && s < 5000 {
		return s
	}
	return statusProtocol
}

// Drain implements transport.Stream: each message of the kernel becomes a frame.
func (s *Stream) Drain(dst []byte, max int) []byte {
	start := len(dst)
	s.mu.Lock()
	sent := s.sent
	if s.pong != nil && !sent {
		dst = append(dst, s.pong...)
	}
	s.pong = nil
	s.mu.Unlock()
	if sent || len(dst)-start >= max {
		return dst
	}
	closing := s.closing.Load() // before the kernel is asked for the last time
	buf := buffers.Get().(*[]byte)
	defer give(buf)
	*buf = s.kernel.Drain(*buf, max)
	for rest := *buf; len(rest) > 0; {
		message := rest
		if n := bytes.IndexByte(rest, endOfMessage); n >= 0 {
			message, rest = rest[:n], rest[n+1:]
		} else {
			rest = nil
		}
		dst = appendFrame(dst, opText, message)
	}
	if len(*buf) == 0 && closing {
		s.mu.Lock()
		s.sent = true
		dst = appendClose(dst, s.end)
		s.mu.Unlock()
	}
	return dst
}

// Secured implements transport.Stream. It is not called: TLS is below WebSocket
// (RFC 7395 3.9), and Peer.TLSAvailable is false.
func (s *Stream) Secured(b *transport.Batch, t *transport.TLS) { s.kernel.Secured(b, t) }

// Tick implements transport.Stream.
func (s *Stream) Tick(b *transport.Batch, now time.Time) time.Time { return s.kernel.Tick(b, now) }

// Closed implements transport.Stream.
func (s *Stream) Closed(b *transport.Batch, err error) { s.kernel.Closed(b, err) }

// Pause implements transport.Conn.
func (s *Stream) Pause(d time.Duration) {
	s.rests = true
	s.Conn.Pause(d)
}

// Hold implements transport.Conn.
func (s *Stream) Hold() {
	s.rests = true
	s.Conn.Hold()
}

// Close implements transport.Conn: what is queued, our Close, and the end.
func (s *Stream) Close() {
	s.closing.Store(true)
	s.Conn.Close()
}
