package federation

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
)

// stripper is somebody on the way who takes offers of STARTTLS away, and listens.
type stripper struct {
	port  int
	offer bool // that alone, and not what asks for it

	mu    sync.Mutex // guards what follows
	heard bytes.Buffer
	conns []net.Conn
}

// strip puts one in front of a server; offer says that requests pass.
func strip(t testing.TB, to *server, offer bool) *stripper {
	t.Helper()
	ln, err := net.Listen("tcp", "10.66.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &stripper{port: ln.Addr().(*net.TCPAddr).Port, offer: offer}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.pass(from, to.addr(portS2S)) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		all.Wait()
	})
	return p
}

// onTheWay has the records of the server lead to the stripper.
func (s *server) onTheWay(p *stripper) {
	s.l.Names.Remove("_xmpp-server._tcp." + s.domain)
	s.l.Names.Add("xmpp.way.example. 60 IN A 10.66.0.1", fmt.Sprintf("_xmpp-server._tcp.%s. 60 IN SRV 5 1 %d xmpp.way.example.", s.domain, p.port))
}

// pass is one connection.
func (p *stripper) pass(from net.Conn, addr string) {
	defer from.Close()
	to, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer to.Close()
	p.mu.Lock()
	p.conns = append(p.conns, from, to)
	p.mu.Unlock()
	var both sync.WaitGroup
	requests := starttls
	if p.offer {
		requests = nil
	}
	both.Go(func() { p.copy(to, from, requests); to.Close() })
	both.Go(func() { p.copy(from, to, starttls); from.Close() })
	both.Wait()
}

var starttls = regexp.MustCompile(`(?s)<starttls[^>]*/>|<starttls.*?</starttls>`)

// copy passes bytes on, without what is not to be there. A feature may come in parts: what may be the beginning of one
// waits for its end.
func (p *stripper) copy(w io.Writer, r io.Reader, without *regexp.Regexp) {
	var held []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		held = append(held, buf[:n]...)
		if without != nil && bytes.Contains(held, []byte("<stream:features")) && !bytes.Contains(held, []byte("</stream:features>")) && err == nil {
			continue
		}
		if without != nil {
			held = without.ReplaceAll(held, nil)
		}
		p.mu.Lock()
		p.heard.Write(held)
		p.mu.Unlock()
		if _, failed := w.Write(held); failed != nil || err != nil {
			return
		}
		held = held[:0]
	}
}

func (p *stripper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard.String()
}
