package httpd

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// bounded is a listener whose connections are served while there is room among
// those that are open; the others wait, one of them here, the rest in the system's
// queue. Each open connection is a file descriptor, and clients of XMPP need those.
type bounded struct {
	net.Listener
	room   chan struct{} // holds one for each open connection; shared by listeners of a kind
	from   *addresses
	closed chan struct{}
	once   sync.Once
}

func bound(l net.Listener, room chan struct{}, from *addresses) *bounded {
	return &bounded{Listener: l, room: room, from: from, closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *bounded) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		leave, ok := l.from.enter(c.RemoteAddr())
		if !ok {
			c.Close()
			continue
		}
		select {
		case l.room <- struct{}{}:
			return &counted{Conn: c, release: func() { <-l.room; leave() }}, nil
		case <-l.closed:
			leave()
			c.Close()
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (l *bounded) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// counted is a connection that makes room when it is closed.
type counted struct {
	net.Conn
	release func()
	once    sync.Once
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.Release()
	return c.Conn.Close()
}

// Release makes room: the connection is another one's, who does not close it here.
func (c *counted) Release() { c.once.Do(c.release) }

// NetConn returns the connection itself.
func (c *counted) NetConn() net.Conn { return c.Conn }

// secured is a listener of TLS.
type secured struct {
	net.Listener
	server func(net.Conn) *tls.Conn
}

// Accept implements net.Listener.
func (l secured) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.server(c), nil // the handshake is the server's, with its deadlines
}

// addresses counts the open connections of each address (IPv6: of each /64), so that
// one can't take all the room.
type addresses struct {
	most   int
	exempt []netip.Prefix // proxies, which have many clients

	mu   sync.Mutex // guards open
	open map[netip.Prefix]int
}

// enter counts a connection until leave is called; ok is false if it is one too many.
func (a *addresses) enter(peer net.Addr) (leave func(), ok bool) {
	tcp, is := peer.(*net.TCPAddr)
	if !is {
		return func() {}, true
	}
	addr, bits := tcp.AddrPort().Addr().Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	key, err := addr.Prefix(bits)
	if err != nil || slices.ContainsFunc(a.exempt, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return func() {}, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[key] >= a.most {
		return nil, false
	}
	a.open[key]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.open[key]--; a.open[key] == 0 {
			delete(a.open, key)
		}
	}, true
}
