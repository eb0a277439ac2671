package s2s

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// To a peer without XEP-0198 nothing is sent twice or out of order, whenever the process is killed; each event is answered
// once, with nil or, an iq alone, remote-server-timeout.
func TestKilledWithoutManagement(t *testing.T) {
	w := newWorld(t)
	a := plain(w)
	a.options.QueueEvents, a.options.AckTime = 10_000, 1 // nobody answers requests
	var mu sync.Mutex
	var got []int
	var one sync.Mutex // connection after connection: what is still to be read of one comes before the next
	w.script("far.example", func(r *raw) {
		one.Lock()
		defer one.Unlock()
		if !r.receive("far.example", "") {
			return
		}
		for {
			id, ok := r.hear(`(?s)<(?:message|iq) [^>]*id='([^']*)'.*?</(?:message|iq)>`)
			if !ok {
				return
			}
			n, _ := strconv.Atoi(id)
			mu.Lock()
			got = append(got, n)
			mu.Unlock()
		}
	})
	start(t, a)
	const n = 1000
	for i := range n {
		if i%3 == 0 {
			a.send(parse(t, fmt.Sprintf("<iq from='one@a.example/x' to='x@far.example' id='%d' type='get'><query xmlns='q'/></iq>", i)))
		} else {
			a.send(message(t, "one@a.example", "x@far.example", strconv.Itoa(i)))
		}
		if i%50 == 25 {
			a.some(rand.IntN(8))
			a.kill()
			a.run()
		}
	}
	a.until("the end", func() bool { return len(a.events) == 0 })
	a.send(message(t, "one@a.example", "x@far.example", strconv.Itoa(n)))
	a.until("the last", func() bool { return len(a.events) == 0 })
	for id, err := range a.answers {
		if a.answered[id] != 1 || err != nil && (!errors.Is(err, &stanza.Error{Condition: stanza.RemoteServerTimeout}) || a.sent[id].Kind != stanza.IQ) {
			t.Errorf("event %d: %v, answered %d times", id, err, a.answered[id])
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) < n/10 {
		t.Errorf("%d came", len(got))
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("twice, or not in order: %v", got)
	}
}

// breaking is a connection that breaks when a stanza is to be written, after some bytes of it.
type breaking struct {
	net.Conn
	after int
}

func (c *breaking) Write(b []byte) (int, error) {
	i := bytes.Index(b, []byte("<message"))
	if i < 0 {
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:min(len(b), i+c.after)])
	c.Conn.Close()
	return n, errors.New("broken")
}

// What was not written to its end goes out on the next stream, and in front of what came later.
func TestUnwritten(t *testing.T) {
	for _, after := range []int{0, 30} {
		for _, features := range []string{"", "<sm xmlns='urn:xmpp:sm:3'/>"} {
			t.Run(fmt.Sprintf("%d bytes %s", after, features), func(t *testing.T) {
				w := newWorld(t)
				a := plain(w)
				got := make(chan string, 10)
				w.script("far.example", func(r *raw) {
					if !r.receive("far.example", features) {
						return
					}
					if features != "" {
						if _, ok := r.hear("<enable "); !ok {
							return
						}
						r.say("<enabled xmlns='urn:xmpp:sm:3'/>")
					}
					for i := 1; ; i++ {
						id, ok := r.hear(`(?s)<message [^>]*id='([^']*)'.*?</message>`)
						if !ok {
							return
						}
						got <- id
						if features != "" {
							r.say(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", i))
						}
					}
				})
				first := true
				w.cut = func(c net.Conn) net.Conn {
					if first {
						first = false
						return &breaking{c, after}
					}
					return c
				}
				start(t, a)
				for _, id := range []string{"1", "2"} {
					a.send(message(t, "one@a.example", "x@far.example", id))
				}
				a.until("answers", func() bool { return len(a.events) == 0 })
				for _, want := range []string{"1", "2"} {
					select {
					case id := <-got:
						if id != want {
							t.Errorf("%s came", id)
						}
					case <-time.After(10 * time.Second):
						t.Fatalf("%s is lost: %v", want, a.answers)
					}
				}
				for id, err := range a.answers {
					if err != nil {
						t.Errorf("event %d: %v", id, err)
					}
				}
			})
		}
	}
}

// What can't be noted is not written; it goes out when it can be.
func TestNoteThatFails(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	a.options.Bidi = false
	var mu sync.Mutex
	left := 2
	a.fail = func(key string) error {
		mu.Lock()
		defer mu.Unlock()
		if key != "b.example" || left == 0 {
			return nil
		}
		left--
		return errors.New("storage is full")
	}
	start(t, a, b)
	var want []string
	for i := range 20 {
		want = append(want, strconv.Itoa(i))
		a.send(message(t, "one@a.example", "x@b.example", want[i]))
	}
	b.until("messages", func() bool { return len(b.got) == len(want) })
	a.until("answers", func() bool { return len(a.events) == 0 })
	if got := b.ids(); !slices.Equal(got, want) {
		t.Errorf("came: %v", got)
	}
}

// A peer that does not answer <enable/> has a broken connection (every wait has an end).
func TestSilentManagement(t *testing.T) {
	w := newWorld(t)
	a := plain(w)
	a.options.ConnectTime = 1
	got := make(chan string, 1)
	var mu sync.Mutex
	dials := 0
	w.script("far.example", func(r *raw) {
		mu.Lock()
		dials++
		silent := dials == 1
		mu.Unlock()
		if !r.receive("far.example", "<sm xmlns='urn:xmpp:sm:3'/>") {
			return
		}
		if _, ok := r.hear("<enable "); ok && !silent {
			r.say("<enabled xmlns='urn:xmpp:sm:3'/>")
		}
		if id, ok := r.hear(`<message [^>]*id='([^']*)'`); ok {
			got <- id
			r.say("<a xmlns='urn:xmpp:sm:3' h='1'/>")
			_, _ = r.hear("</stream:stream>")
		}
	})
	start(t, a)
	a.send(message(t, "one@a.example", "x@far.example", "m"))
	a.until("the answer", func() bool { return len(a.events) == 0 })
	select {
	case id := <-got:
		if id != "m" {
			t.Error(id)
		}
	default:
		t.Errorf("it did not come: %v", a.answers)
	}
}

// What the kernel can't take at the moment is not lost without a word where the peer has no XEP-0198.
func TestKernelIsAway(t *testing.T) {
	w := newWorld(t)
	a := plain(w)
	a.fail = func(key string) error {
		if strings.HasPrefix(key, recordKey) {
			return extension.ErrUnavailable
		}
		return nil
	}
	w.script("far.example", func(r *raw) { r.receive("far.example", ""); _, _ = r.hear("</stream:stream>") })
	start(t, a)
	r := open(t, a, "far.example")
	r.say("<db:result from='far.example' to='a.example'>key</db:result>")
	if _, ok := r.hear(`<db:result [^>]*type='valid'`); !ok {
		t.Fatal("not authenticated")
	}
	r.say("<message from='x@far.example' to='one@a.example'><body>hi</body></message>")
	if _, ok := r.hear("<internal-server-error"); !ok {
		t.Error("nothing is said")
	}
}

// A request to a peer without XEP-0198 is answered: by the peer, or by an error when the connection ends before, or
// when it takes too long; and once.
func TestRequestsWithoutManagement(t *testing.T) {
	for _, row := range []struct {
		name  string
		then  func(t *testing.T, a *server, far *raw) // far: the peer has the request
		error bool
	}{
		{"it is answered", func(t *testing.T, a *server, _ *raw) {
			r := open(t, a, "far.example")
			r.say("<db:result from='far.example' to='a.example'>key</db:result>")
			if _, ok := r.hear(`<db:result [^>]*type='valid'`); !ok {
				t.Fatal("not authenticated")
			}
			r.say("<iq from='y@far.example' to='one@a.example/x' id='1' type='result'/><iq from='x@far.example' to='one@a.example/x' id='2' type='result'/>") // of others
			a.until("those of others", func() bool { return len(a.got) == 2 })
			a.mu.Lock()
			if len(a.events) != 1 {
				t.Error("what is no answer to it ended it")
			}
			a.mu.Unlock()
			r.say("<iq from='x@far.example' to='one@a.example/x' id='1' type='result'/>")
		}, false},
		{"the connection ends", func(_ *testing.T, _ *server, far *raw) { far.conn.Close() }, true},
		{"the stream ends", func(_ *testing.T, _ *server, far *raw) { far.say("</stream:stream>") }, true},
		{"the process is killed", func(_ *testing.T, a *server, _ *raw) { a.kill(); a.run() }, true},
		{"nobody answers", func(*testing.T, *server, *raw) {}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			a := plain(w)
			if row.name == "nobody answers" {
				a.options.AckTime = 1
			}
			asked := make(chan *raw, 10)
			w.script("far.example", func(r *raw) {
				if !r.receive("far.example", "") {
					return
				}
				if _, ok := r.hear(`(?s)<iq [^>]*id='1'.*?</iq>`); ok {
					asked <- r
				}
				if id, ok := r.hear(`<db:verify [^>]*id='([^']*)'`); ok {
					r.say("<db:verify from='far.example' to='a.example' id='" + id + "' type='valid'/>")
				}
				_, _ = r.hear("</stream:stream>")
			})
			start(t, a)
			id := a.send(parse(t, "<iq from='one@a.example/x' to='x@far.example' id='1' type='get'><query xmlns='q'/></iq>"))
			select {
			case r := <-asked:
				row.then(t, a, r)
			case <-time.After(10 * time.Second):
				t.Fatal("it does not come")
			}
			a.until("the answer", func() bool { return len(a.events) == 0 })
			if err := a.answers[id]; (err != nil) != row.error || row.error && !errors.Is(err, &stanza.Error{Condition: stanza.RemoteServerTimeout}) || a.answered[id] != 1 {
				t.Errorf("%v, %d times", err, a.answered[id])
			}
			if len(asked) > 0 {
				t.Error("it came twice")
			}
		})
	}
}
