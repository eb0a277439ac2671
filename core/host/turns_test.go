package host

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Ordered requests of an account are answered in the order in which they came, one at
// a time and each to its end; those beyond the bound, or of whom the time is over,
// are refused. Other accounts don't wait.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		defer stop(t, h)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		goOn := []chan struct{}{make(chan struct{}), make(chan struct{})} // by account
		var began, done notes[int]
		ask := func(account, n int) {
			go g.AskInTurn(accountN(account), extension.Origin{}, func(context.Context, *extension.Host) error {
				began.add(n)
				<-goOn[account]
				return nil
			}, func(_ *transport.Batch, err error) transport.Wait {
				if err != nil {
					if stanza.AsError(err).Condition != stanza.ResourceConstraint {
						t.Error(err)
					}
					n = -n
				}
				return func(context.Context) { done.add(n) } // the answer may have to wait, too
			})(context.Background())
			synctest.Wait()
		}
		want := func(what string, n *notes[int], want ...int) {
			t.Helper()
			synctest.Wait()
			if got := n.take(); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		for n := range maxTurn + 2 {
			ask(0, n+1)
		}
		ask(1, 100)
		want("begun", &began, 1, 100)
		want("too many", &done, -maxTurn-1, -maxTurn-2)
		for n := 1; n <= 3; n++ {
			goOn[0] <- struct{}{}
			want("done", &done, n)
			want("the next", &began, n+1)
		}
		close(goOn[1])
		want("another account", &done, 100)
		time.Sleep(maxWorkTime + time.Second)
		synctest.Wait()
		late := done.take()
		if len(late) != maxTurn-4 || slices.Max(late) > 0 {
			t.Errorf("their time is over: %v", late)
		}
		close(goOn[0])
		want("the one that took long", &done, 4)
		ask(0, 5)
		want("none is left in its way", &done, 5)
		if len(g.turns.busy) > 0 {
			t.Errorf("%d accounts are kept", len(g.turns.busy))
		}
	})
}

// The same for requests that nobody waits for with a goroutine.
func TestTurnsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		defer stop(t, h)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		var began, refused notes[int]
		leaves := map[int]func(*transport.Batch){}
		ask := func(account, n int) {
			var b transport.Batch
			w := g.InTurn(&b, accountN(account), func(_ *transport.Batch, leave func(*transport.Batch)) transport.Wait {
				began.add(n)
				leaves[n] = leave
				return nil
			}, func(_ *transport.Batch, err error) transport.Wait {
				if stanza.AsError(err).Condition != stanza.ResourceConstraint {
					t.Error(err)
				}
				return func(context.Context) { refused.add(n) } // the answer may have to wait
			})
			if w != nil {
				w(t.Context())
			}
		}
		want := func(what string, n *notes[int], want ...int) {
			t.Helper()
			synctest.Wait()
			got := n.take()
			slices.Sort(got) // those whose time is over at once
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		leave := func(n int) { leaves[n](new(transport.Batch)) }
		for n := range maxTurn + 1 {
			ask(0, n+1)
		}
		want("too many", &refused, maxTurn+1)
		ask(1, 100)
		want("begun", &began, 1, 100)
		leave(100)
		leave(1)
		want("the next", &began, 2)
		time.Sleep(maxWorkTime - time.Second)
		ask(0, 200)
		time.Sleep(time.Second)
		var late []int
		for n := 3; n <= maxTurn; n++ {
			late = append(late, n)
		}
		want("their time is over", &refused, late...)
		want("nobody else has begun", &began)
		leave(2)
		want("the one that came later", &began, 200)
		leave(200)
		time.Sleep(maxWorkTime)
		want("none is refused that has begun", &refused)
		if len(g.turns.busy) > 0 {
			t.Errorf("%d accounts are kept", len(g.turns.busy))
		}
	})
}
