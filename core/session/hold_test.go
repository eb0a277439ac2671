package session

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// What was queued before Hold goes out, what comes after it waits for Release,
// and a flush in between leaves nothing behind.
func TestHold(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 1 << 20, Kept: 100})
	var b transport.Batch
	flush := func() string {
		n := c.flushes.Load()
		b.Flush()
		if c.flushes.Load() == n {
			return "not flushed"
		}
		return string(o.Drain(c, nil, 1<<20))
	}
	o.Raw(&b, "<before/>")
	o.Hold()
	o.Raw(&b, "<held/>")
	if got := flush(); got != "<before/>" {
		t.Errorf("while held: %s", got)
	}
	first := message("1", "x")
	o.Release(&b, first)
	if got := flush(); got != string(first.Append(nil, jid.JID{}, ""))+"<held/>" {
		t.Errorf("released: %s", got)
	}
	o.Hold()
	o.Raw(&b, "<more/>")
	o.Finish(&b, "</stream:stream>")
	if got := flush(); got != "<more/></stream:stream>" {
		t.Errorf("finished while held: %s", got)
	}
}
