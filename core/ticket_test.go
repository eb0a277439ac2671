package core_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Messages to a component that runs elsewhere, and the count of XEP-0198.

func roomSays(n int) func(h *extension.Host) error {
	return remoteSends(fmt.Sprintf("romeo@example.test/x %d", n))
}

func roomAnswers(n int) string {
	return fmt.Sprintf("<message from='room@rooms.example.test' to='romeo@example.test/x' id='%d'/>", n)
}

// XEP-0198 4: a message that an extension elsewhere has is not counted before its
// outcome is applied; those behind it go on, and are counted when it is. Whoever asked
// before is told then.
func TestNotCountedBeforeItsOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		sp := &spool{}
		w := spooledWorld(t, sp, with(rooms(x)))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.send(fmt.Sprintf(toRoom, 0)) // nobody counts
		before := x.next(t)
		romeo.manage()
		juliet.manage()
		romeo.send(fmt.Sprintf(toRoom, 1) + fmt.Sprintf(toRoom, 2) + say(3) + fmt.Sprintf(toRoom, 4))
		juliet.want(msg(3))
		sp.sync(sp.last)
		romeo.take()
		romeo.send(askAck).want(ack(0))
		first, second, last := x.next(t), x.next(t), x.next(t)
		steps := []struct {
			do   func() error
			want string
		}{
			{func() error { return apply(before, &extension.Outcome{Effects: roomSays(0)}) }, roomAnswers(0)},
			{func() error { return apply(second, &extension.Outcome{Effects: roomSays(2)}) }, roomAnswers(2)},
			{func() error { romeo.send(askAck); return nil }, ack(0)},
			{func() error { return apply(first, &extension.Outcome{Effects: roomSays(1)}) }, roomAnswers(1) + ack(3)},
			{func() error {
				fail(last, extension.ErrDown)
				return nil
			}, "<message from='room@rooms.example.test' to='romeo@example.test/x' id='4' type='error'><error type='wait'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
				"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>the service is down; send it again later</text></error></message>" + ack(4)},
			{func() error { romeo.send(askAck); return nil }, ack(4)},
			{func() error {
				x.refuses(extension.ErrFull)
				romeo.send(fmt.Sprintf(toRoom, 5)).take()
				romeo.send(askAck)
				return nil
			}, ack(5)},
		}
		for i, s := range steps {
			if err := s.do(); err != nil {
				t.Error(i, err)
			}
			romeo.want(s.want)
		}
	})
}

// Nor is it counted while storage was in the way, and its handler is asked again.
func TestNotCountedBeforeItIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		g := &gate{}
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			g.Store = p.Store
			p.Store = g
			with(rooms(x))(o, p)
		})
		romeo := w.login("romeo@example.test/x", "")
		romeo.manage()
		romeo.send(fmt.Sprintf(toRoom, 1) + askAck).want(ack(0))
		e := x.next(t)
		stores := &extension.Outcome{Effects: func(h *extension.Host) error {
			h.Store.Put(jid.JID{}, "k", []byte("v"))
			return nil
		}}
		for _, err := range []error{storage.ErrConflict, storage.ErrUnavailable} {
			g.fail = err
			if got := apply(e, stores); !errors.Is(got, err) {
				t.Error(got)
			}
			romeo.want("")
		}
		g.fail = nil
		var during string
		g.before = func() { during = romeo.take() }
		if err := apply(e, stores); err != nil {
			t.Error(err)
		}
		synctest.Wait() // what a commit leaves goes out behind done
		romeo.want(ack(1))
		if during != "" {
			t.Error("during the commit:", during)
		}
	})
}

// Requests and presence are no messages: they are counted when they are dispatched.
func TestOthersHaveNoTicket(t *testing.T) {
	x := &elsewhere{}
	w := newWorld(t, with(rooms(x)))
	defer x.close()
	romeo := w.login("romeo@example.test/x", "")
	romeo.manage()
	romeo.send("<presence to='room@rooms.example.test/x'/><iq id='i' type='get' to='room@rooms.example.test'><q xmlns='urn:x'/></iq>" + askAck).want(ack(2))
}

// A message that waits for a commit first has its own number when it goes to the
// component, not that of the one that is read by then.
func TestTicketBehindACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w, g := archiveWorld(t, func(o *core.Options, p *core.Ports) {
			archives := p.Extensions
			with(append([]extension.Registration{rooms(x)}, archives...)...)(o, p)
		})
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.manage()
		romeo.input(say(1))
		synctest.Wait()
		romeo.input(fmt.Sprintf(toRoom, 2) + say(3) + askAck)
		synctest.Wait()
		x.none(t) // it is behind the first
		romeo.want(ack(0))
		g.open <- nil
		synctest.Wait()
		g.open <- nil
		synctest.Wait()
		if got := juliet.gotNumbers(); got != "[1 3]" {
			t.Error(got)
		}
		romeo.want(ack(1))
		if err := apply(x.next(t), &extension.Outcome{}); err != nil {
			t.Error(err)
		}
		romeo.want(ack(3))
	})
}

// After a kill the count is what the records of the spool say: it does not go over a
// message that an extension elsewhere had. When that is at its end the spool has the rest.
func TestSpoolHasNoHigherCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		sp := &spool{}
		w := spooledWorld(t, sp, with(rooms(x)))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		id := romeo.manage()
		juliet.manage()
		romeo.send(say(1) + fmt.Sprintf(toRoom, 2) + say(3) + say(4))
		if a, b, c := sp.held[1].Handled, sp.held[2].Handled, sp.held[3].Handled; a != 1 || b != 1 || c != 1 {
			t.Error(a, b, c)
		}
		sp.sync(2)
		if len(sp.told[id]) > 0 {
			t.Error(sp.told)
		}
		if err := apply(x.next(t), &extension.Outcome{}); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(sp.told[id]); got != "[3]" {
			t.Error(got)
		}
		sp.sync(3)
		if got := fmt.Sprint(sp.told[id]); got != "[3 4]" {
			t.Error(got)
		}
		romeo.send(say(5) + askAck)
		sp.sync(4)
		if got := fmt.Sprint(sp.told[id]); got != "[3 4]" || sp.held[4].Handled != 5 {
			t.Error(got, sp.held[4].Handled)
		}
	})
}

// A session is resumed behind its tickets: what it is told has all that was sent, so that
// nothing is sent again.
func TestResumedBehindTickets(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprint("broken ", broken), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &elsewhere{}
				w := newWorld(t, with(rooms(x)))
				romeo := w.login("romeo@example.test/x", "")
				id := romeo.manage()
				romeo.send(fmt.Sprintf(toRoom, 1) + fmt.Sprintf(toRoom, 2))
				if broken {
					romeo.cut()
				}
				done := make(chan struct{})
				var again *client
				go func() {
					defer close(done)
					again = w.resume("romeo@example.test", id, 0)
				}()
				synctest.Wait()
				for n := 1; n <= 2; n++ {
					select {
					case <-done:
						t.Fatal("it did not wait")
					default:
					}
					if err := apply(x.next(t), &extension.Outcome{Effects: roomSays(n)}); err != nil {
						t.Error(err)
					}
					synctest.Wait()
				}
				<-done
				again.want("<resumed xmlns='urn:xmpp:sm:3' h='2' previd='" + id + "'/>" + roomAnswers(1) + roomAnswers(2))
			})
		})
	}
}

// If that takes too long the stream ends, and the session waits for the next one.
func TestResumptionThatWaitsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(rooms(x)))
		romeo := w.login("romeo@example.test/x", "")
		id := romeo.manage()
		romeo.send(fmt.Sprintf(toRoom, 1)).cut()
		again := w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test")
		again.take()
		over, end := context.WithCancel(t.Context())
		end()
		again.inputWithin(over, "<resume xmlns='urn:xmpp:sm:3' previd='"+id+"' h='0'/>")
		again.wantPart("<connection-timeout")
		if err := apply(x.next(t), &extension.Outcome{}); err != nil {
			t.Error(err)
		}
		w.resume("romeo@example.test", id, 0).want("<resumed xmlns='urn:xmpp:sm:3' h='1' previd='" + id + "'/>")
	})
}

// Nor do too many streams wait for a component that hangs: they hold goroutines of all.
func TestTooManyResumptionsWait(t *testing.T) {
	const most = 64
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(rooms(x)))
		var ids []string
		for i := range most + 1 {
			romeo := w.login(fmt.Sprintf("romeo@example.test/%d", i), "")
			ids = append(ids, romeo.manage())
			romeo.send(fmt.Sprintf(toRoom, i)).cut()
		}
		var all sync.WaitGroup
		for _, id := range ids[:most] {
			all.Go(func() { w.resume("romeo@example.test", id, 0) })
		}
		synctest.Wait()
		w.resume("romeo@example.test", ids[most], 0).wantPart("<connection-timeout")
		for range ids {
			if err := apply(x.next(t), &extension.Outcome{}); err != nil {
				t.Error(err)
			}
		}
		all.Wait()
		w.resume("romeo@example.test", ids[most], 0).want("<resumed xmlns='urn:xmpp:sm:3' h='1' previd='" + ids[most] + "'/>")
	})
}

// The count of a session that has ended grows when its tickets come to their end.
func TestSessionEndsWithTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(rooms(x)))
		romeo := w.login("romeo@example.test/x", "")
		id := romeo.manage()
		romeo.send(fmt.Sprintf(toRoom, 1) + "<presence to='juliet@example.test/x'/>" + fmt.Sprintf(toRoom, 2) + "</stream:stream>")
		for _, h := range []int{0, 2, 3} {
			w.resume("romeo@example.test", id, 0).want(fmt.Sprintf("<failed xmlns='urn:xmpp:sm:3' h='%d'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>", h))
			if h < 3 {
				if err := apply(x.next(t), &extension.Outcome{}); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// At a planned stop events have their time; then the sender is told to send again. Both is
// in the count that the session is resumed with.
func TestPlannedStopWithTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x *elsewhere
		r := newRestarted(t, func(o *core.Options, p *core.Ports) {
			x = &elsewhere{}
			with(rooms(x))(o, p)
		})
		romeo := r.im("romeo@example.test/x")
		id := romeo.manage()
		romeo.send(fmt.Sprintf(toRoom, 1) + fmt.Sprintf(toRoom, 2))
		ended := make(chan error)
		go func() { ended <- r.k.Shutdown(t.Context()) }()
		synctest.Wait()
		romeo.reap()
		synctest.Wait()
		if err := apply(x.next(t), &extension.Outcome{Effects: roomSays(1)}); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil { // behind the second, which is cut off
			t.Error(err)
		}
		r.start()
		again := r.resume("romeo@example.test", id, 0)
		out := again.take()
		for _, part := range []string{"<resumed xmlns='urn:xmpp:sm:3' h='2' previd='" + id + "'/>", roomAnswers(1), " id='2' type='error'>"} {
			if !strings.Contains(out, part) {
				t.Errorf("no %s in %s", part, out)
			}
		}
	})
}

// Past a bound the stream is not read on until half of its tickets are at their end.
func TestTooManyTickets(t *testing.T) {
	for _, row := range []struct {
		name, body string
		read       int // of the messages
	}{
		{"number", "hi", 1_000},
		{"bytes", strings.Repeat("x", 100<<10), 11},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &elsewhere{}
				w := newWorld(t, with(rooms(x)))
				defer x.close()
				romeo := w.login("romeo@example.test/x", "")
				romeo.manage()
				var all strings.Builder
				for n := range row.read + 1 {
					fmt.Fprintf(&all, "<message id='%d' to='room@rooms.example.test'><body>%s</body></message>", n, row.body)
				}
				sent := make(chan struct{})
				go func() { defer close(sent); romeo.send(all.String()) }()
				synctest.Wait()
				over := 0
				for ; len(x.seen) == row.read; over++ {
					if err := apply(x.next(t), &extension.Outcome{}); err != nil {
						t.Error(err)
					}
					synctest.Wait()
				}
				if over != (row.read+1)/2 || len(x.seen) != row.read+1 {
					t.Errorf("%d were read when %d had come to their end", len(x.seen), over)
				}
				<-sent
			})
		})
	}
}

var acked = regexp.MustCompile(`<a xmlns='urn:xmpp:sm:3' h='(\d+)'/>|<message from='room\d*@rooms.example.test'[^>]* id='(\d+)'`)

// However outcomes end, and whoever else sends, no count that a client is told goes over
// a message that was not answered before.
func TestCountsBehindAnswers(t *testing.T) {
	const each = 300
	x := &keyed{queues: map[string][]*extension.RemoteEvent{}}
	x.handle = func(e *extension.RemoteEvent) {
		st := e.Stanza()
		if rand.N(20) == 0 {
			fail(e, extension.ErrDown)
			return
		}
		if err := apply(e, &extension.Outcome{Effects: func(h *extension.Host) error {
			if rand.N(2) == 0 {
				h.Store.Put(jid.JID{}, "k"+e.Key, []byte(st.ID))
			}
			return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, ID: st.ID, From: st.To, To: st.From}))
		}}); err != nil {
			t.Error(err)
		}
	}
	w := newWorld(t, with(extension.Registration{Name: "rooms", Remote: x, Components: []extension.Component{{Domain: "rooms.example.test", Handle: someHandle}}}))
	var all sync.WaitGroup
	var clients [3]*client
	for i := range clients {
		clients[i] = w.login(fmt.Sprintf("romeo@example.test/%d", i), "")
		clients[i].manage()
		all.Go(func() {
			for n := 1; n <= each; n++ {
				clients[i].send(fmt.Sprintf("<message id='%d' to='room%d@rooms.example.test'/>", n, rand.N(5)) + askAck)
			}
		})
	}
	all.Wait()
	x.all.Wait()
	for i, c := range clients {
		c.send(askAck)
		answered := map[int]bool{}
		told := 0
		for _, m := range acked.FindAllStringSubmatch(c.take(), -1) {
			var n int
			if m[2] != "" {
				fmt.Sscan(m[2], &n)
				answered[n] = true
				continue
			}
			fmt.Sscan(m[1], &n)
			for one := told + 1; one <= n; one++ {
				if !answered[one] {
					t.Errorf("client %d is told %d, and has no answer to %d", i, n, one)
				}
			}
			told = max(told, n)
		}
		if told != each {
			t.Errorf("client %d is told %d at the end", i, told)
		}
	}
}

// inputWithin is input whose Waits have a context.
func (c *client) inputWithin(ctx context.Context, xml string) {
	p := []byte(xml)
	for {
		var b transport.Batch
		wait := c.s.Feed(&b, p)
		b.Flush()
		if wait == nil || c.closing {
			break
		}
		wait(ctx)
		p = nil
	}
	c.reap()
}
