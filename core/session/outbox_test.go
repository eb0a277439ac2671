package session

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// conn counts what is asked of it.
type conn struct{ flushes, closes atomic.Int32 }

func (c *conn) Flush()              { c.flushes.Add(1) }
func (c *conn) StartTLS(string)     {}
func (c *conn) Pause(time.Duration) {}
func (c *conn) Hold()               {}
func (c *conn) Resume()             {}
func (c *conn) Close()              { c.closes.Add(1) }

func message(id string, body string) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, ID: id, To: jid.MustParse("a@example.test/x")}, stanza.El("", "body").WithText(body))
}

func TestOutboxOrder(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 1 << 20, Kept: 100})
	var b transport.Batch
	o.Raw(&b, "<header>")
	o.Stanza(&b, message("1", "x"), jid.JID{})
	o.Raw(&b, "<raw/>")
	o.Stanza(&b, message("2", "y"), jid.MustParse("b@example.test"))
	if !o.Finish(&b, "</header>") {
		t.Error("Finish was not the first")
	}
	want := "<header><message to='a@example.test/x' id='1'><body>x</body></message><raw/><message to='b@example.test' id='2'><body>y</body></message></header>"
	if got := string(o.Drain(c, []byte("before "), 1<<20, transport.FramingStream)); got != "before "+want {
		t.Errorf("got %s", got)
	}
	if o.Len() != 0 || len(o.Drain(c, nil, 10, transport.FramingStream)) != 0 {
		t.Error("something is left")
	}
	b.Flush()
	if n := c.flushes.Load(); n != 1 {
		t.Errorf("flushed %d times", n)
	}
}

// A connection is in a batch once until it was drained (transport.Batch.Add).
func TestOutboxSchedulesOnce(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 1 << 20, Kept: 100})
	for round := int32(1); round <= 3; round++ {
		var one, two transport.Batch
		o.Raw(&one, "a")
		o.Raw(&two, "b")
		o.Raw(&one, "c")
		one.Flush()
		two.Flush()
		if n := c.flushes.Load(); n != round {
			t.Errorf("round %d: flushed %d times", round, n)
		}
		o.Drain(c, nil, 2, transport.FramingStream) // not all: the adapter goes on by itself
		o.Raw(&two, "d")
		two.Flush()
		if n := c.flushes.Load(); n != round {
			t.Errorf("round %d: flushed again before it was drained", round)
		}
		if got := string(o.Drain(c, nil, 10, transport.FramingStream)); got != "cd" {
			t.Errorf("round %d: %q", round, got)
		}
	}
}

func TestOutboxNeverCutsAnItem(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 1 << 20, Kept: 100})
	var b transport.Batch
	for range 3 {
		o.Raw(&b, "12345")
	}
	for _, want := range []string{"1234512345", "12345", ""} {
		if got := string(o.Drain(c, nil, 6, transport.FramingStream)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOutboxBound(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 10 + 2*rawCost, Kept: 100})
	var b transport.Batch
	for _, row := range []struct {
		raw  string
		want Result
	}{{"123456", Queued}, {"7890", Queued}, {"x", Full}, {"", Full}} {
		if got := o.Raw(&b, row.raw); got != row.want {
			t.Errorf("%q: %d, want %d", row.raw, got, row.want)
		}
	}
	if n := o.Len(); n != 10+2*rawCost {
		t.Errorf("%d bytes", n)
	}
	if got := string(o.Drain(c, nil, 1, transport.FramingStream)); got != "123456" || o.Len() != 4+rawCost {
		t.Errorf("%q, %d left", got, o.Len())
	}
	if o.Raw(&b, "abc") != Queued || o.Raw(&b, strings.Repeat("x", 4)) != Full {
		t.Error("room is not given back")
	}
	if !o.Finish(&b, "the last bytes, whatever the bound") {
		t.Error("Finish refused")
	}
	if got := string(o.Drain(c, nil, 100, transport.FramingStream)); got != "7890abcthe last bytes, whatever the bound" {
		t.Error(got)
	}
	o = NewOutbox(&conn{}, OutboxLimits{Bytes: 10, Kept: 100})
	if o.Raw(&b, strings.Repeat("x", 50)) != Queued { // or no big stanza would ever get through
		t.Error("an item that is bigger than the bound is refused by an empty outbox")
	}
	if o.Raw(&b, "x") != Full {
		t.Error("there is no bound behind it")
	}
}

func TestOutboxFinish(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 100, Kept: 100})
	var b transport.Batch
	for i := range 3 {
		if got := o.Finish(&b, "</stream:stream>"); got != (i == 0) {
			t.Errorf("Finish %d: %v", i, got)
		}
	}
	if n := c.closes.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	if o.Raw(&b, "x") != Closed || o.Stanza(&b, message("1", "x"), jid.JID{}) != Closed {
		t.Error("something was queued behind the end")
	}
	if got := string(o.Drain(c, nil, 100, transport.FramingStream)); got != "</stream:stream>" {
		t.Error(got)
	}
	o = NewOutbox(c, OutboxLimits{Bytes: 100, Kept: 100})
	o.Raw(&b, "x")
	o.Take()
	o.Take()
	if o.Len() != 0 || len(o.Drain(c, nil, 100, transport.FramingStream)) != 0 || o.Raw(&b, "x") != Closed || o.Finish(&b, "x") {
		t.Error("a discarded outbox goes on")
	}
}

// An idle client costs no queue, and one that always has something queued no
// more than what is queued.
func TestOutboxMemory(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 1 << 20, Kept: 100})
	var b transport.Batch
	for range 1000 {
		o.Raw(&b, "x")
	}
	o.Drain(c, nil, 1<<20, transport.FramingStream)
	if cap(o.items) > idleItems {
		t.Errorf("room for %d items is kept", cap(o.items))
	}
	o.Raw(&b, "xx")
	for i := range 100_000 { // never quite drained
		if o.Raw(&b, "xx") != Queued || len(o.Drain(c, nil, 2, transport.FramingStream)) != 2 {
			t.Fatal("lost")
		}
		if cap(o.items) > 100 {
			t.Fatalf("room for %d items after %d of which one waits", cap(o.items), i)
		}
	}
	for i, it := range o.items[:cap(o.items)] {
		if waits := i >= o.next && i < len(o.items); !waits && it != (item{}) {
			t.Error("what was written is still held")
		}
	}
	for range 20 {
		o.Stanza(&b, message("1", "y"), jid.JID{})
	}
	if got := string(o.Drain(c, nil, 1<<20, transport.FramingStream)); !strings.HasPrefix(got, "xx<message ") || strings.Count(got, "<body>y</body>") != 20 {
		t.Error(got)
	}
}

func TestOutboxConcurrently(t *testing.T) {
	const writers, each = 8, 500
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 1 << 30, Kept: 100})
	var pushing sync.WaitGroup
	for w := range writers {
		pushing.Go(func() {
			for i := range each {
				var b transport.Batch
				if i%2 == 0 {
					o.Raw(&b, fmt.Sprintf("[%d %d]", w, i))
				} else {
					o.Stanza(&b, message(fmt.Sprintf("%d-%d", w, i), "b"), jid.JID{})
				}
				b.Flush()
			}
		})
	}
	done := make(chan struct{})
	go func() { pushing.Wait(); close(done) }()
	var out []byte
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		out = o.Drain(c, out, 100, transport.FramingStream)
	}
	var finished atomic.Int32
	var b transport.Batch
	var ending sync.WaitGroup
	for range 4 {
		ending.Go(func() {
			var b transport.Batch
			if o.Finish(&b, "</end>") {
				finished.Add(1)
			}
		})
		ending.Go(func() {
			var b transport.Batch
			o.Raw(&b, "") // before or behind the end
		})
	}
	ending.Wait()
	for n := -1; n != len(out); {
		n = len(out)
		out = o.Drain(c, out, 100, transport.FramingStream)
	}
	b.Flush()
	if finished.Load() != 1 || c.closes.Load() != 1 || !strings.HasSuffix(string(out), "</end>") {
		t.Errorf("finished %d times, closed %d times", finished.Load(), c.closes.Load())
	}
	for w := range writers { // nothing lost, each writer's in order
		at := 0
		for i := range each {
			want := fmt.Sprintf("[%d %d]", w, i)
			if i%2 == 1 {
				want = fmt.Sprintf(" id='%d-%d'", w, i)
			}
			n := strings.Index(string(out[at:]), want)
			if n < 0 {
				t.Fatalf("%s is missing, or out of order", want)
			}
			at += n
		}
	}
}

// XEP-0198 4: counts go on at zero behind 2^32-1.
func TestCountsWrapAround(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 1 << 20, Kept: 100})
	var b transport.Batch
	o.Manage(&b, "<enabled/>")
	o.managed.acked = 1<<32 - 2 // so much the client has acknowledged
	for i := range 4 {
		o.Stanza(&b, message(fmt.Sprint(i), ""), jid.JID{})
	}
	o.Drain(c, nil, 1<<20, transport.FramingStream)
	for _, row := range []struct {
		h    uint32
		ok   bool
		kept int
	}{{1<<32 - 2, true, 4}, {3, false, 4}, {1<<32 - 1, true, 3}, {1, true, 1}, {0, false, 1}, {2, true, 0}, {3, false, 0}} {
		if err := o.Ack(&b, row.h); (err == nil) != row.ok || len(o.managed.kept) != row.kept {
			t.Errorf("h=%d: %v, %d are kept", row.h, err, len(o.managed.kept))
		}
	}
	s := &Session{resumption: &resumption{}}
	s.resumption.handled = 1<<32 - 1
	if !s.Begin(nil) || s.Handled() != 0 {
		t.Errorf("of the client's own stanzas %d are counted", s.Handled())
	}
}
