package core_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// adapter runs one connection as real ones do: turns of a stream never at
// once, Flush and Close from any goroutine.
type adapter struct {
	held
	s     transport.Stream
	drain sync.Mutex // guards ready and out, and that one goroutine drains
	ready bool
	out   []byte
	ended chan struct{}
	once  sync.Once
	again bool // the kernel wants to go on when others had their turns
}

func (a *adapter) Flush() {
	a.drain.Lock()
	defer a.drain.Unlock()
	if a.ready {
		a.out = a.s.Drain(a.out, 1<<20)
	}
}
func (a *adapter) StartTLS(string)     {}
func (a *adapter) Pause(time.Duration) { a.again = true }
func (a *adapter) Close()              { a.once.Do(func() { close(a.ended) }) }

// run feeds the stream until the kernel or the script ends it.
func (a *adapter) run(in []string) {
	for _, xml := range in {
		var b transport.Batch
		for wait := a.s.Feed(&b, []byte(xml)); wait != nil || a.again || a.over(); wait = a.s.Feed(&b, nil) {
			if a.again = false; wait != nil {
				wait(context.Background())
			}
		}
		b.Flush()
		select {
		case <-a.ended:
			return
		default:
		}
	}
	<-a.ended
}

// Streams log in, chat and take each other's resources while the kernel shuts
// down: with -race, nothing is shared without a lock, and nothing is left. In half
// of the rounds an extension reads what is resident of them, and is told of ends.
func TestShutdownDuringTurns(t *testing.T) {
	for round := range 20 {
		l := &listing{stages: []extension.Stage{extension.Submit, extension.Deliver}}
		w := newWorld(t, map[int]func(*core.Options, *core.Ports){0: nil, 1: with(l.registration(), (&watching{}).registration())}[round%2])
		var running sync.WaitGroup
		begun := make(chan struct{}, 16)
		for i := range 16 {
			a := &adapter{ended: make(chan struct{})}
			running.Go(func() {
				s := w.k.NewStream(overTLS, a)
				a.drain.Lock()
				a.s, a.ready = s, true
				a.drain.Unlock()
				begun <- struct{}{}
				user := fmt.Sprint("user", i%4)
				script := []string{header("to='example.test' from='" + user + "@example.test' version='1.0'"), plain(user, "pw"), toUs, bind(fmt.Sprint("r", i%8)), "<presence/>"}
				for n := range 20 {
					script = append(script, fmt.Sprintf("<message to='user%d@example.test/r%d'><body>hi</body></message><presence to='user%d@example.test'/>", n%4, n%8, n%4))
				}
				a.run(script)
				a.Flush()
				var b transport.Batch
				a.s.Closed(&b, nil)
				b.Flush()
				a.drain.Lock() // the kernel may still flush
				defer a.drain.Unlock()
				if out := string(a.out); len(out) == 0 || out[len(out)-len(end):] != end || out[:5] != "<?xml" {
					t.Errorf("a stream without beginning or end: %.100s", out)
				}
			})
		}
		for range round { // another moment each time
			if round < 16 {
				<-begun
			}
		}
		if err := w.k.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		running.Wait()
		w.empty()
	}
}
