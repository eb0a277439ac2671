package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// Connections that begin as something else, such as a request of HTTP, are
// accepted and read by others first. Then they are adopted, and are like all
// others from there on: no goroutine and no buffer while they are idle.

// adopts is the listener of adopted connections.
var adopts = &listener{name: "another server's"}

// Errors of Reserve and Take.
var (
	ErrRefused = errors.New("tcp: a limit on connections is reached, or the server stops")
	errNoTCP   = errors.New("tcp: this is no connection over TCP that can be adopted")
)

// Front ends the TLS of connections that others read first.
type Front struct{ configs *tlsConfigs }

// NewFront returns a Front that chooses certificates as Options.GetCertificate
// does and takes clients that ask for the protocol alpn, or for none.
func NewFront(choose func(*tls.ClientHelloInfo) (*tls.Certificate, error), alpn string) *Front {
	return &Front{configs: newTLSConfigs(&Options{GetCertificate: choose, MinVersion: tls.VersionTLS12}, alpn)}
}

// Server is tls.Server for a connection that may be adopted.
func (f *Front) Server(nc net.Conn) *tls.Conn { return tls.Server(&fronted{Conn: nc}, f.configs.base) }

// fronted is what the tls.Conn of a Front reads from: the connection that was
// accepted, and from the adoption on a tlsSide, so that nothing is held of the former.
type fronted struct {
	net.Conn        // changed by Take, when nobody else uses it
	endPoint []byte // until then
}

func (f *fronted) preset() string        { return "" }
func (f *fronted) shows(endPoint []byte) { f.endPoint = endPoint }

// Place is room for one connection. It is used or released, once.
type Place struct {
	srv *Server
	c   *conn
}

// adoption is how an adopted connection begins.
type adoption struct {
	peer      transport.Peer
	newStream func(transport.Peer, transport.Conn) transport.Stream
}

// Reserve counts a connection of peer's, by the limits that hold for accepted ones;
// ErrRefused if there are too many. One that comes too soon is served later.
func (s *Server) Reserve(peer netip.AddrPort) (*Place, error) {
	c, delay := s.admit(adopts, peer, netip.AddrPort{})
	if c == nil {
		return nil, ErrRefused
	}
	c.pause = delay
	return &Place{srv: s, c: c}, nil
}

// Release gives the place back.
func (p *Place) Release() { p.srv.ended(p.c) }

// Take serves nc, which is a *net.TCPConn, something that wraps one (and has a
// method NetConn, and perhaps Release, for whoever counts connections), or what
// Front.Server made of either. Nobody else reads from or writes to it any more, and
// no deadline is set on it. newStream is Deps.NewStream; the first Feed comes at
// once, with nil. peer's Local and TLS are filled in. With an error the place is
// released, and nc is the caller's.
func (p *Place) Take(nc net.Conn, peer transport.Peer, newStream func(transport.Peer, transport.Conn) transport.Stream) error {
	c, s := p.c, p.srv
	raw, over, front, release := unwrap(nc)
	if raw == nil || (over != nil) != (front != nil) {
		p.Release()
		return errNoTCP
	}
	c.local = addrPort(raw.LocalAddr())
	peer.Local = c.local
	if over != nil {
		c.tls = &tlsSide{c: c, conn: over, endPoint: front.endPoint, held: true}
		peer.TLS = c.tls.facts()
	}
	c.adopted = &adoption{peer: peer, newStream: newStream}
	if err := s.backend.take(c, raw); err != nil {
		p.Release()
		return fmt.Errorf("tcp: adopt: %w", err)
	}
	if front != nil {
		front.Conn, front.endPoint = c.tls, nil
	}
	for _, f := range release {
		f()
	}
	s.mu.Lock()
	stopping := s.state == stateStopping
	s.mu.Unlock()
	if stopping { // Stop may not have seen it
		c.fail(errStopped)
	}
	delay := c.pause
	c.pause = 0
	c.start(delay)
	return nil
}

// unwrap finds the TCP connection in nc, and what is around it.
func unwrap(nc net.Conn) (raw *net.TCPConn, over *tls.Conn, front *fronted, release []func()) {
	for nc != nil {
		switch c := nc.(type) {
		case *net.TCPConn:
			return c, over, front, release
		case *tls.Conn:
			over = c
		case *fronted:
			front, nc = c, c.Conn
			continue
		}
		if r, ok := nc.(interface{ Release() }); ok {
			release = append(release, r.Release)
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = w.NetConn()
	}
	return nil, nil, nil, nil
}

// openAdopted is open for an adopted connection: its handshake is done, and
// some of its input may have been read.
func (c *conn) openAdopted(b *round) {
	a := c.adopted
	c.adopted = nil
	if c.turn.Load()&turnFail != 0 { // the server stops: run sees it
		return
	}
	c.serve(b, a.newStream(a.peer, c))
	c.turn.Or(turnRested | turnRead)
}
