package session

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// Room is what may be queued before the session ends, by either bound.
func TestRoom(t *testing.T) {
	const most = 100_000
	s, k, c := newSession(t, most)
	var b transport.Batch
	want := func(what string, n int) {
		t.Helper()
		if got := s.Room(); got != n {
			t.Errorf("%s: room for %d, want %d", what, got, n)
		}
	}
	want("at first", most)
	m := message("1", strings.Repeat("x", 20_000))
	s.Send(&b, m)
	want("with a message", most-m.Size())
	s.Outbox().Drain(c, nil, 1<<20, transport.FramingStream)
	want("when that is written", most)
	s.Outbox().Manage(&b, "<enabled/>")
	s.Outbox().Drain(c, nil, 1<<20, transport.FramingStream)
	s.Send(&b, m)
	s.Outbox().Drain(c, nil, 1<<20, transport.FramingStream)
	want("when it is not acknowledged", 2*most-m.Size())
	k.held.Store(accountShare*most - 5)
	want("when the account holds much", 5)
	k.held.Store(accountShare*most + 5)
	want("when it holds too much", 0)
	k.held.Store(0)
	// What there is room for is taken, and no more.
	for s.Room() >= m.Size() {
		if !s.Send(&b, m) {
			t.Fatal("it was not taken")
		}
	}
	if s.Send(&b, m); k.overflows != 1 {
		t.Errorf("%d overflows behind that", k.overflows)
	}
	want("of a session that has ended", 0)
}
