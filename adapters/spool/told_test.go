package spool

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// copied opens a copy of a spool as it is on the disk now, which is what a kill leaves.
func copied(t *testing.T, dir string) *opened {
	t.Helper()
	return open(t, Options{Dir: killed(t, dir)})
}

// A count that a client was told outlives a kill, also if no message goes with it.
func TestToldCounts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	want := func(h uint32) {
		t.Helper()
		s.wait(s.Append(record("behind it", "", 0))) // written with it, or later
		got := copied(t, dir).sessions
		if want := []storage.SpoolSession{{ID: "sm", User: romeo.Bare(), Handled: h}}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	s.Began(storage.SpoolSession{ID: "sm", User: romeo.Bare()})
	s.Told("sm", 3)
	s.Told("nobody", 9)
	want(3)
	s.Told("sm", 7)
	s.Told("sm", 5)
	want(7)
	s.Append(record("one", "sm", 9))
	s.Told("sm", 8)
	want(9)
	s.Told("sm", 1<<31+10) // less, modulo 2^32
	want(9)
}

// It costs one small write, however many clients ask; and nothing where a record says
// as much.
func TestToldCountsCostLittle(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	s.Began(storage.SpoolSession{ID: "sm", User: romeo.Bare()})
	id := s.Append(record("one", "sm", 100))
	s.wait(id)
	_, before := s.Size()
	for h := range uint32(100) {
		s.Told("sm", h)
	}
	s.close()
	if _, after := s.Size(); after > before+100 {
		t.Errorf("%d bytes for what a record says", after-before)
	}
}

// BenchmarkTold is a count that grows with each call, of one of a thousand sessions.
func BenchmarkTold(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir()})
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("an SM-ID as long as they are %d", i)
		s.Began(storage.SpoolSession{ID: ids[i], User: romeo.Bare()})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		s.Told(ids[i%len(ids)], uint32(i))
	}
}
