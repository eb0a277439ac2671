package httpd

import (
	"crypto/tls"
	"net"
	"sync"
)

// bounded is a listener whose connections are served while there is room among
// those that are open; the others wait, one of them here, the rest in the system's
// queue. Each open connection is a file descriptor, and clients of XMPP need those.
type bounded struct {
	net.Listener
	room   chan struct{} // holds one for each open connection; shared by all listeners
	closed chan struct{}
	once   sync.Once
}

func bound(l net.Listener, room chan struct{}) *bounded {
	return &bounded{Listener: l, room: room, closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *bounded) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case l.room <- struct{}{}:
		return &counted{Conn: c, room: l.room}, nil
	case <-l.closed:
		c.Close()
		return nil, net.ErrClosed
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
	room chan struct{}
	once sync.Once
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.Release()
	return c.Conn.Close()
}

// Release makes room: the connection is another one's, who does not close it here.
func (c *counted) Release() { c.once.Do(func() { <-c.room }) }

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
