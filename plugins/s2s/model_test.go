package s2s

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// cutter is a connection that a test may break after some bytes, of each direction.
type cutter struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	c.mu.Lock()
	n := min(len(b), max(0, c.left))
	c.left -= n
	c.mu.Unlock()
	if n == len(b) {
		return c.Conn.Write(b)
	}
	_, _ = c.Conn.Write(b[:n])
	_ = c.Conn.Close()
	return n, errors.New("cut")
}

func (c *cutter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left -= n; c.left < 0 {
		_ = c.Conn.Close()
		return 0, errors.New("cut")
	}
	return n, err
}

// numbers returns what came from a local part, as numbers.
func (s *server) numbers(local string) (list []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.got {
		if x.From.Local() == local && x.Kind == stanza.Message && x.Type != stanza.TypeError {
			n, _ := strconv.Atoi(x.ID)
			list = append(list, n)
		}
	}
	return list
}

// Between servers that resume, nothing is lost, doubled or reordered, whatever is killed and cut, and whenever.
func TestKilledAnyTime(t *testing.T) {
	for i := range 4 {
		bidi, dialback := i%2 == 1, i/2 == 1
		t.Run(fmt.Sprintf("bidi %v, dialback %v", bidi, dialback), func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			if text := os.Getenv("S2S_SEED"); text != "" {
				seed, _ = strconv.ParseUint(text, 10, 64)
			}
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			w.cut = func(c net.Conn) net.Conn {
				if rand.IntN(3) == 0 {
					return c
				}
				return &cutter{Conn: c, left: 5000 + rand.IntN(60000)}
			}
			names := []string{"a.example", "a2.example"}
			a := w.server(ca().issue(false, names...), names...)
			if dialback {
				a.cert = ca().issue(false, "a.example")
			}
			b := w.server(ca().issue(false, "b.example"), "b.example")
			a.options.Bidi, b.options.Bidi = bidi, bidi
			a.options.QueueEvents, b.options.QueueEvents = 10_000, 10_000
			start(t, a, b)
			const n = 3000
			for i := range n {
				s, from, to := a, "one@a.example", "x@b.example"
				switch r.IntN(3) {
				case 0:
					from = "two@a2.example"
				case 1:
					s, from, to = b, "three@b.example", "x@a.example"
				}
				s.send(message(t, from, to, strconv.Itoa(i)))
				if i%100 == 50 {
					k := []*server{a, b}[r.IntN(2)]
					k.some(r.IntN(8))
					k.kill()
					k.run()
				}
			}
			for _, s := range []*server{a, b} {
				s.until("the end", func() bool { return len(s.events) == 0 })
			}
			// With dialback a pair may be refused because the server to ask was killed: what waits then is answered
			// with an error (XEP-0220 2.5), and may not have been sent.
			for _, s := range []*server{a, b} {
				other := a
				if s == a {
					other = b
				}
				for id, err := range s.answers {
					if err != nil && !dialback || s.answered[id] != 1 {
						t.Errorf("event %d: %v, answered %d times", id, err, s.answered[id])
					}
				}
				for local, want := range s.delivered() {
					if got := other.numbers(local); !slices.Equal(got, want) {
						t.Errorf("%s: %d came, of %d", local, len(got), len(want))
					}
				}
			}
		})
	}
}

// some waits until something was applied or answered n times, or nothing happens: any moment is as good.
func (s *server) some(n int) {
	limit := time.After(8 * time.Millisecond)
	for range n {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-limit:
			return
		}
	}
}

// delivered returns the numbers of messages that were answered with nil, by who sent them.
func (s *server) delivered() map[string][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := map[string][]int{}
	for id := uint64(1); id <= s.next; id++ {
		if x := s.sent[id]; s.answers[id] == nil {
			n, _ := strconv.Atoi(x.ID)
			list[x.From.Local()] = append(list[x.From.Local()], n)
		}
	}
	return list
}
