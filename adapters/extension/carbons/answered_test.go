package carbons

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// The latest memorySize are known, and never more than twice as many.
func TestMemory(t *testing.T) {
	m := newMemory()
	a, b := jid.MustParse("a@example.test"), jid.MustParse("b@example.test")
	const count = 3*memorySize + memorySize/2
	for n := range count {
		m.note(a, b, fmt.Sprint(n))
		if n%100 > 0 && (n+1)%memorySize > 1 { // around a change of the halves, and now and then
			continue
		}
		if first := max(0, n-memorySize+1); !m.knows(a, b, fmt.Sprint(n)) || !m.knows(a, b, fmt.Sprint(first)) {
			t.Fatalf("after %d it does not know them", n)
		}
		if len(m.young)+len(m.aged) > 2*memorySize {
			t.Fatalf("after %d it knows %d", n, len(m.young)+len(m.aged))
		}
	}
	last := fmt.Sprint(count - 1)
	if m.knows(a, b, "0") || m.knows(b, a, last) || m.knows(a, a, last) || m.knows(jid.MustParse("a@example.tes"), jid.MustParse("tb@example.test"), last) {
		t.Error("it knows what it was not told, or too long")
	}
	m.note(a, b, "")
	if m.knows(a, b, "") {
		t.Error("it knows a message without an id")
	}
}

func TestMemoryConcurrently(t *testing.T) {
	m := newMemory()
	a := jid.MustParse("a@example.test")
	var all sync.WaitGroup
	for k := range 4 {
		all.Go(func() {
			for n := range memorySize / 2 {
				id := fmt.Sprint(k, n)
				if m.note(a, a, id); !m.knows(a, a, id) {
					t.Errorf("%s is forgotten", id)
					return
				}
			}
		})
	}
	all.Wait()
}
