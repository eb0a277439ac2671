package s2s

import (
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// raw is one end of a stream, written by the test. Nothing is encrypted.
type raw struct {
	conn net.Conn
	read strings.Builder
	at   int
}

const rawHeader = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' "

func (r *raw) say(text string) bool {
	_ = r.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := r.conn.Write([]byte(text))
	return err == nil
}

// hear reads on until the text is there, and returns what is in the group of the pattern; false: the stream is over.
func (r *raw) hear(pattern string) (string, bool) {
	p := regexp.MustCompile(pattern)
	buf := make([]byte, 4096)
	for {
		text := r.read.String()[r.at:]
		if m := p.FindStringSubmatchIndex(text); m != nil {
			r.at += m[1]
			if len(m) > 2 {
				return text[m[2]:m[3]], true
			}
			return text[m[0]:m[1]], true
		}
		_ = r.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := r.conn.Read(buf)
		r.read.Write(buf[:n])
		if n == 0 && err != nil {
			return "", false
		}
	}
}

// receive is the begin of a stream that came in at a server of one domain: features, and dialback that is always right. It
// returns when stanzas may come, or false if the stream was for a verification: that is answered, too.
func (r *raw) receive(far, features string) bool {
	local, ok := r.hear(`<stream:stream[^>]* from='([^']*)'`)
	if !ok {
		return false
	}
	r.say(rawHeader + "id='raw' from='" + far + "' to='" + local + "'><stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>" + features + "</stream:features>")
	what, ok := r.hear(`<db:(result|verify) `)
	if !ok {
		return false
	}
	if what == "result" {
		return r.say("<db:result from='" + far + "' to='" + local + "' type='valid'/>")
	}
	id, ok := r.hear(` id='([^']*)'`)
	if ok {
		r.say("<db:verify from='" + far + "' to='" + local + "' id='" + id + "' type='valid'/>")
	}
	return false
}

// open opens a stream to a server from a far domain. Nothing is authenticated yet.
func open(t *testing.T, s *server, far string) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &raw{conn: conn}
	r.say(rawHeader + "from='" + far + "' to='" + s.domains[0] + "'>")
	if _, ok := r.hear("</stream:features>"); !ok {
		t.Fatal("no features")
	}
	return r
}

// script has connections to a domain go to f.
func (w *world) script(domain string, f func(r *raw)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scripts[domain] = func(c net.Conn) {
		defer c.Close()
		f(&raw{conn: c})
	}
}

// plain makes a server of a.example that federates with far.example without TLS.
func plain(w *world) *server {
	a := w.server(nil, "a.example")
	a.options.WithoutTLS = []string{"far.example"}
	return a
}
