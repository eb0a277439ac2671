package websocket

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// kernel is a Stream that keeps what it is fed and writes what it is told.
type kernel struct {
	conn   transport.Conn
	in     strings.Builder
	out    string
	waits  int // so many Feeds return a Wait
	rests  int // so many ask for a rest
	closed bool
}

func (k *kernel) Feed(_ *transport.Batch, p []byte) transport.Wait {
	k.in.Write(p)
	switch {
	case k.waits > 0:
		k.waits--
		return func(context.Context) {}
	case k.rests > 0:
		k.rests--
		k.conn.Pause(0)
	}
	return nil
}
func (k *kernel) Secured(*transport.Batch, *transport.TLS)               {}
func (k *kernel) Tick(_ *transport.Batch, _ time.Time) (never time.Time) { return never }
func (k *kernel) Closed(*transport.Batch, error)                         { k.closed = true }
func (k *kernel) Drain(dst []byte, _ int) []byte {
	dst = append(dst, k.out...)
	k.out = ""
	return dst
}

// conn counts what is asked of the adapter.
type conn struct{ flushes, closes, pauses int }

func (c *conn) Flush()              { c.flushes++ }
func (c *conn) StartTLS(string)     {}
func (c *conn) Pause(time.Duration) { c.pauses++ }
func (c *conn) Hold()               { c.pauses++ }
func (c *conn) Resume()             {}
func (c *conn) Close()              { c.closes++ }

func pair(first []byte) (*kernel, *conn, transport.Stream) {
	k, c := &kernel{}, &conn{}
	s := New(func(p transport.Peer, up transport.Conn) transport.Stream {
		if p.Framing != transport.FramingWebSocket {
			return nil
		}
		k.conn = up
		return k
	}, transport.Peer{}, c, first)
	return k, c, s
}

func drained(s transport.Stream) string { return string(s.Drain(nil, 1<<20)) }

func TestStream(t *testing.T) {
	k, c, s := pair(text("<first/>"))
	var b transport.Batch
	s.Feed(&b, nil) // what came with the request
	s.Feed(&b, text("<a/>"))
	if got := k.in.String(); got != "<first/>\x00<a/>\x00" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("x", 200)
	k.out = "<b/>\x00" + long + "\x00"
	if got, want := drained(s), "\x81\x04<b/>\x81\x7e\x00\xc8"+long; got != want {
		t.Errorf("%q", got)
	}
	// Of many pings the last is answered, and nobody is flushed for each.
	for range 100 {
		s.Feed(&b, client(fin|opPing, "old"))
	}
	s.Feed(&b, client(fin|opPing, "new"))
	if b.Flush(); c.flushes != 1 {
		t.Errorf("%d flushes", c.flushes)
	}
	if got := drained(s); got != "\x8a\x03new" {
		t.Errorf("%q", got)
	}
	k.out = "<last/>\x00"
	k.conn.Close()
	if got := drained(s) + drained(s); got != "\x81\x07<last/>\x88\x02\x03\xe8" || c.closes != 1 {
		t.Errorf("%q, %d", got, c.closes)
	}
	k.out = "<late/>\x00"
	if got := drained(s); got != "" {
		t.Errorf("behind the Close: %q", got)
	}
}

// The peer's Close is the end when all before it is handled, not sooner.
func TestPeerCloses(t *testing.T) {
	k, c, s := pair(nil)
	k.waits, k.rests = 1, 1
	var b transport.Batch
	if s.Feed(&b, join(text("<a/>"), client(fin|opClose, "\x03\xe9"), text("<b/>"))) == nil || c.closes != 0 {
		t.Fatal("it did not wait")
	}
	if s.Feed(&b, nil) != nil || c.closes != 0 || c.pauses != 1 {
		t.Fatal("it did not rest")
	}
	if s.Feed(&b, text("<c/>")); c.closes != 1 || k.in.String() != "<a/>\x00" {
		t.Fatalf("%d %q", c.closes, k.in.String())
	}
	if got := drained(s); got != "\x88\x02\x03\xe9" {
		t.Errorf("%q", got)
	}
	for status, want := range map[string]string{"": "\x88\x00", "\x03\xed": "\x88\x02\x03\xea", "\x0b\xb8": "\x88\x02\x0b\xb8"} { // 1005 is never sent
		_, _, s := pair(nil)
		s.Feed(&b, client(fin|opClose, status))
		if got := drained(s); got != want {
			t.Errorf("%q is answered with %q", status, got)
		}
	}
}

// An idle Stream holds no buffer.
func TestIdle(t *testing.T) {
	_, _, s := pair(text("<a/>"))
	var b transport.Batch
	s.Feed(&b, nil)
	s.Feed(&b, client(fin|opPing, "x"))
	drained(s)
	if w := s.(*Stream); w.first != nil || w.pong != nil || w.in.control != nil {
		t.Errorf("%+v", w)
	}
}

// BenchmarkMessage is what the framing costs a message of 300 bytes, both ways, on top
// of what TCP takes.
func BenchmarkMessage(b *testing.B) {
	k, _, s := pair(nil)
	in, out := text(strings.Repeat("x", 300)), strings.Repeat("x", 300)+"\x00"
	var batch transport.Batch
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		k.in.Reset()
		s.Feed(&batch, in)
		k.out = out
		dst = s.Drain(dst[:0], 64<<10)
	}
}
