package session

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/core/underway"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// kernel counts what sessions tell it.
type kernel struct {
	mu              sync.Mutex
	left, overflows int
	held            atomic.Int64
}

func (k *kernel) Leave(_ *transport.Batch, _ *Session, _ []Lost, told func()) {
	k.mu.Lock()
	k.left++
	k.mu.Unlock()
	told()
}

func (k *kernel) Overflow(*Session) { k.mu.Lock(); defer k.mu.Unlock(); k.overflows++ }

func (k *kernel) Delivered(stanza.Kind)      {}
func (k *kernel) Hold(*Session) func()       { return func() {} }
func (k *kernel) Fetch(*Session) bool        { return true }
func (k *kernel) Held(*Session) int64        { return k.held.Load() }
func (k *kernel) Keeps(*stanza.Stanza) bool  { return false }
func (k *kernel) Publish(cluster.Entry) bool { return true }
func (k *kernel) Show(*transport.Batch, *Session, cluster.Show) transport.Wait {
	return nil
}
func (k *kernel) Lines() *underway.Underway {
	return underway.New(func(w transport.Wait) transport.Wait { return w })
}
func (k *kernel) Lost(*transport.Batch, *Session, []Lost) {}

// owner is a stream that nobody replaces.
type owner struct{}

func (owner) Closing(e *stream.Error) string { return string(e.Condition) }
func (owner) Replaced(*transport.Batch)      {}

func newSession(t *testing.T, max int) (*Session, *kernel, *conn) {
	t.Helper()
	pipe, err := pipeline.New(nil, extension.Order{}, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	k, c := &kernel{}, &conn{}
	return New(jid.MustParse("a@example.test/x"), owner{}, NewOutbox(c, OutboxLimits{Bytes: max, Kept: 100}), pipe, k), k, c
}

func TestEndIsOnce(t *testing.T) {
	s, k, c := newSession(t, 1<<20)
	if !s.Claimed(7) || s.Fence() != 7 {
		t.Error("not claimed")
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { var b transport.Batch; s.End(&b, stream.Err(stream.Conflict, "")) })
		all.Go(func() { var b transport.Batch; s.End(&b, nil) })
		all.Go(func() { var b transport.Batch; s.Send(&b, message("1", "x")) })
	}
	all.Wait()
	if k.left != 1 || c.closes.Load() != 1 {
		t.Errorf("left %d times, closed %d times", k.left, c.closes.Load())
	}
	if out := string(s.out.Drain(c, nil, 1<<20, transport.FramingStream)); !strings.HasSuffix(out, "conflict") || strings.Count(out, "conflict") != 1 {
		t.Error(out)
	}
	var b transport.Batch
	if s.Send(&b, message("2", "x")) {
		t.Error("a session that has ended takes stanzas")
	}
	if s.Claimed(8) {
		t.Error("a session that has ended is claimed")
	}
	if _, ok := s.SetPresence(message("1", "x"), 0); ok {
		t.Error("a session that has ended is available")
	}
	if s.Direct(jid.MustParse("b@example.test"), true) {
		t.Error("a session that has ended sends presence")
	}
}

func TestOverflowEndsTheSession(t *testing.T) {
	s, k, c := newSession(t, 2000)
	var b transport.Batch
	taken := 0
	for s.Send(&b, message("1", strings.Repeat("x", 500))) {
		taken++
	}
	if taken != 2 || k.overflows != 1 || k.left != 1 || c.closes.Load() != 1 {
		t.Errorf("took %d, overflows %d, left %d, closed %d", taken, k.overflows, k.left, c.closes.Load())
	}
	if s.Send(&b, message("2", "x")) || k.overflows != 1 {
		t.Error("counted again")
	}
	if out := string(s.out.Drain(c, nil, 1<<20, transport.FramingStream)); strings.Count(out, "<message ") != taken || !strings.HasSuffix(out, "resource-constraint") {
		t.Error(out)
	}
}

func TestDirectedPresenceIsBounded(t *testing.T) {
	s, _, _ := newSession(t, 1000)
	to := func(i int) jid.JID { return jid.MustParse(fmt.Sprintf("b%d@example.test", i)) }
	n := 0
	for s.Direct(to(n), true) {
		if n++; n*directedCost(to(0)) > 2*maxDirected {
			t.Fatal("no bound")
		}
	}
	if n < 500 {
		t.Errorf("%d targets at the most", n)
	}
	if !s.Direct(to(0), true) {
		t.Error("one that is known is refused")
	}
	if !s.Direct(to(n-1), false) || !s.Direct(to(n), true) {
		t.Error("room is not given back")
	}
	s.SetPresence(stanza.New(stanza.Header{Kind: stanza.Presence}), 0)
	if last, directed, _ := s.TakePresence(); last == nil || len(directed) != n {
		t.Error(last, len(directed))
	}
	if last, directed, _ := s.TakePresence(); last != nil || len(directed) != 0 {
		t.Error("taken twice")
	}
}
