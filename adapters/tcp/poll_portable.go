package tcp

import (
	"errors"
	"net"
	"sync"
)

// portable is the backend for systems without event loops of ours: a goroutine
// for each connection reads, and a short-lived one writes what is in flight.
type portable struct {
	srv   *Server
	table table
}

func newPortable(s *Server) *portable { return &portable{srv: s} }

func (p *portable) prepare(*listener) error { return nil }
func (p *portable) tables() []*table        { return []*table{&p.table} }
func (p *portable) close()                  {}

func (p *portable) accept(l *listener) {
	p.srv.serve(l, func() error {
		nc, err := l.ln.Accept()
		if err != nil {
			return err
		}
		c, delay := p.srv.admit(l, addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr()))
		if c == nil {
			nc.Close()
			return nil
		}
		p.serve(c, nc)
		c.start(delay)
		return nil
	})
}

// serve begins to read nc.
func (p *portable) serve(c *conn, nc net.Conn) {
	if t, ok := nc.(*net.TCPConn); ok {
		o := &p.srv.opts
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: o.KeepAliveIdle > 0, Idle: o.KeepAliveIdle,
			Interval: o.KeepAliveInterval, Count: o.KeepAliveCount,
		}) // fails if the peer has gone already: reading will tell
	}
	s := &netSocket{c: c, nc: nc, taken: make(chan struct{}, 1), closed: make(chan struct{})}
	c.sock = s
	p.table.add(c)
	p.srv.running.Go(s.readLoop)
}

// take implements backend.
func (p *portable) take(c *conn, nc *net.TCPConn) error {
	p.serve(c, nc)
	return nil
}

// netSocket gives a net.Conn the manners of a non-blocking socket.
type netSocket struct {
	c      *conn
	nc     net.Conn
	taken  chan struct{} // the input was taken: read on
	closed chan struct{}

	mu     sync.Mutex // guards all below
	in     []byte     // read, not taken yet
	inErr  error      // what comes after in
	out    []byte     // being written; nil if nothing is
	outErr error
}

// inputSize is the size of a connection's buffer: one that sends much takes
// more system calls here than with event loops.
const inputSize = 4 << 10

// readLoop reads and runs the turns that reading causes.
func (s *netSocket) readLoop() {
	buf := make([]byte, inputSize)
	var b round
	for {
		n, err := s.nc.Read(buf)
		s.mu.Lock()
		s.in, s.inErr = buf[:n], err
		s.mu.Unlock()
		bits := turnRead
		if err != nil {
			bits |= turnHangup
		}
		if s.c.signal(bits) {
			for s.c.run(&b) {
				b.flush()
			}
			b.flush()
		}
		if err != nil {
			return
		}
		select {
		case <-s.taken:
		case <-s.closed:
			return
		}
	}
}

func (s *netSocket) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.in) == 0 {
		if s.inErr != nil {
			return 0, s.inErr
		}
		return 0, errAgain
	}
	n := copy(p, s.in)
	if s.in = s.in[n:]; len(s.in) == 0 && s.inErr == nil {
		s.taken <- struct{}{} // never waits: readLoop hands over once for each
	}
	return n, nil
}

func (s *netSocket) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outErr != nil {
		return 0, s.outErr
	}
	if s.out != nil {
		return 0, errAgain
	}
	s.out = append([]byte(nil), p[:min(len(p), drainClear)]...)
	s.c.srv.running.Go(s.writeOut)
	return len(s.out), nil
}

// writeOut writes what is in flight.
func (s *netSocket) writeOut() {
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	_, err := s.nc.Write(out)
	s.mu.Lock()
	s.out, s.outErr = nil, err
	s.mu.Unlock()
	s.c.writable()
}

func (s *netSocket) closeWrite() error {
	s.mu.Lock()
	inFlight := s.out != nil
	s.mu.Unlock()
	if inFlight {
		return errAgain
	}
	t, ok := s.nc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return t.CloseWrite()
}

func (s *netSocket) close() {
	close(s.closed)
	s.nc.Close()
}
