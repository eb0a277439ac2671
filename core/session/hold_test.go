package session

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
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
		return string(o.Drain(c, nil, 1<<20, transport.FramingStream))
	}
	first, held := message("1", "x"), message("2", "y")
	xml := func(s *stanza.Stanza) string { return string(s.Append(nil, jid.JID{}, "")) }
	o.Raw(&b, "<before/>")
	o.Hold()
	o.Stanza(&b, held, jid.JID{})
	if got := flush(); got != "<before/>" {
		t.Errorf("while held: %s", got)
	}
	o.Raw(&b, "<a/>") // of the stream itself
	if got := flush(); got != "<a/>" {
		t.Errorf("while held: %s", got)
	}
	o.Release(&b, first)
	if got := flush(); got != xml(first)+xml(held) {
		t.Errorf("released: %s", got)
	}
	o.Hold()
	o.Stanza(&b, held, jid.JID{})
	o.Finish(&b, "</stream:stream>")
	if got := flush(); got != "</stream:stream>" {
		t.Errorf("finished while held: %s", got)
	}
	o.Release(&b, first)
	if lost := o.Aside(); len(lost) != 1 || lost[0].Stanza != held || o.Len() != 0 {
		t.Errorf("lost: %v, %d bytes are left", lost, o.Len())
	}
}
