package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/transport"
	"go.uber.org/zap"
)

var errNoStartTLS = errors.New("tcp: STARTTLS asked for where it is not available")

// beginStartTLS starts what Conn.StartTLS asked for: input in clear is thrown
// away (RFC 6120 5.4.3.3), output in clear is written, then turnClear follows.
func (c *conn) beginStartTLS() {
	c.startTLS = false
	if c.tls != nil || c.lis.configs == nil {
		c.fail(errNoStartTLS)
		return
	}
	c.phase = phaseStartTLS
	c.nextTick.Store(0)
	c.setDeadline(c.srv.opts.HandshakeTimeout)
	// All that came before <proceed/> is written is clear text. What comes too
	// late for this fails the handshake, so it is never taken for XML either.
	buf := readBufs.get()
	for taken := 0; taken < transport.MaxTurn; {
		n, err := c.sock.read(*buf)
		if err != nil {
			break // an end is seen again by the handshake
		}
		taken += n
	}
	readBufs.put(buf)
	c.write.want.Or(wantTLS)
	c.Flush()
}

// beginHandshake hands the turns to a goroutine of the handshake pool.
func (c *conn) beginHandshake() outcome {
	c.phase = phaseHandshake
	c.tls = &tlsSide{c: c}
	c.slow.Store(&slowWork{ready: make(chan struct{}, 1)})
	c.srv.handshakes.submit(c)
	return gone
}

// handshake is the work of the handshake pool.
func (c *conn) handshake(b *round) {
	t := c.tls
	t.conn = tls.Server(t, c.lis.configs.base)
	c.srv.cpu <- struct{}{}
	err := t.conn.Handshake()
	<-c.srv.cpu
	c.slow.Store(nil)
	c.deadline.Store(0)
	if err != nil {
		c.srv.logHandshake(c, err)
		c.shut(fmt.Errorf("tcp: TLS handshake with %s: %w", c.peer, err), true)
		c.turn.Or(turnRead)
		c.proceed(b)
		return
	}
	if c.stream == nil {
		c.open(b, t.facts())
	} else {
		c.phase = phaseOpen
		c.write.wire.Store(wireTLS)
		c.stream.Secured(&b.batch, t.facts())
		c.nextTick.Store(1) // the Stream's time was not looked at meanwhile
		c.Flush()
	}
	// The client's first data often came with its Finished, and is in tls.Conn
	// already: read once before waiting for the socket.
	t.held = true
	c.turn.Or(turnRead)
	c.proceed(b)
}

// handshakeRead reads from the socket, and waits for it if it has nothing. A
// handshake computes only while it has one of the server's CPU tokens, so that
// a thousand of them don't delay those who are logged in already.
func (c *conn) handshakeRead(p []byte) (int, error) {
	s := c.slow.Load()
	for {
		bits := c.turn.Load()
		switch {
		case bits&turnFail != 0:
			return 0, *c.failure.Load()
		case bits&turnClose != 0:
			return 0, errors.New("closed by the kernel")
		case bits&turnTimeout != 0 && c.expired():
			return 0, context.DeadlineExceeded
		}
		n, err := c.sock.read(p)
		if err != errAgain {
			return n, err
		}
		if c.write.left.Load() {
			c.Flush()
		}
		<-c.srv.cpu
		<-s.ready
		c.srv.cpu <- struct{}{}
	}
}

// logHandshake notes a failed handshake: scanners cause many, so it is for
// debugging only, and at most once a second.
//
// One that took too long after the certificate was sent is another matter: a
// person may have been asked to trust it.
func (s *Server) logHandshake(c *conn, err error) {
	if errors.Is(err, context.DeadlineExceeded) && c.tls.endPoint != nil {
		if skipped, ok := s.slowLog.allow(); ok {
			s.log.Info("a client did not end its TLS handshake in time, perhaps since it asked its user to trust the certificate",
				zap.Stringer("peer", c.peer), zap.String("listener", c.lis.name), zap.Duration("limit", s.opts.HandshakeTimeout),
				zap.Int64("others_not_logged", skipped))
		}
		return
	}
	skipped, ok := s.handshakeLog.allow()
	if !ok {
		return
	}
	s.log.Debug("TLS handshake failed", zap.Stringer("peer", c.peer), zap.String("listener", c.lis.name),
		zap.Int64("others_not_logged", skipped), zap.Error(err))
}
