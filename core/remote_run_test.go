package core_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// running applies what waits of a key together, and again what was not applied.
type running struct {
	kernel extension.Kernel
	answer func(e *extension.RemoteEvent) *extension.Outcome

	mu      sync.Mutex
	queues  map[string][]*extension.RemoteEvent
	longest int
	all     sync.WaitGroup
}

func (x *running) Attach(k extension.Kernel) { x.kernel = k }
func (x *running) Reset(string)              {}

func (x *running) Dispatch(e *extension.RemoteEvent) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.queues[e.Key] = append(x.queues[e.Key], e)
	if len(x.queues[e.Key]) == 1 {
		x.all.Go(func() { x.work(e.Key) })
	}
	return nil
}

func (x *running) work(key string) {
	for {
		x.mu.Lock()
		list := x.queues[key]
		list = list[:min(len(list), 1+rand.N(8))]
		x.longest = max(x.longest, len(list))
		x.mu.Unlock()
		if len(list) == 0 {
			return
		}
		done := x.apply(list)
		x.mu.Lock()
		x.queues[key] = x.queues[key][done:]
		if len(x.queues[key]) == 0 {
			x.mu.Unlock()
			return
		}
		x.mu.Unlock()
	}
}

// apply returns how many of the first are at their end. It checks what Done is given.
func (x *running) apply(list []*extension.RemoteEvent) int {
	ends := make(chan error, 2*len(list))
	run := make([]extension.Applied, len(list))
	for i, e := range list {
		run[i] = extension.Applied{Owner: e.Owner, Outcome: x.answer(e), Done: func(err error) { ends <- err }}
	}
	var b transport.Batch
	x.kernel.ApplyRun(&b, run)
	b.Flush()
	n, failed := 0, false
	for range run {
		switch err := <-ends; {
		case failed && !errors.Is(err, extension.ErrConflict) && !errors.Is(err, extension.ErrUnavailable):
			panic(fmt.Sprintf("behind one that was not applied: %v", err))
		case errors.Is(err, extension.ErrConflict), errors.Is(err, extension.ErrUnavailable):
			failed = true
		default:
			n++
			failed = err != nil
		}
	}
	select {
	case err := <-ends:
		panic(fmt.Sprintf("done twice: %v", err))
	case <-time.After(0):
	}
	return n
}

// However the outcomes of a run end, each message has one answer, in order in its room, and what the room has
// kept is in that order, too.
func TestRemoteRuns(t *testing.T) {
	const senders, rooms, each = 4, 2, 200
	var down atomic.Bool
	var dispatched, ended atomic.Int64
	x := &running{queues: map[string][]*extension.RemoteEvent{}}
	x.answer = func(e *extension.RemoteEvent) *extension.Outcome {
		st := e.Stanza()
		room := st.To.Bare()
		switch rand.N(12) {
		case 0:
			return &extension.Outcome{Err: stanza.Err(stanza.Forbidden, "")}
		case 1: // what can't be applied: its sender is told
			return &extension.Outcome{Effects: func(h *extension.Host) error { return errors.New("no") }}
		}
		kind := rand.N(4)
		id := x.kernel.NewIDs(1)[0]
		return &extension.Outcome{Effects: func(h *extension.Host) error {
			switch kind {
			case 0:
				h.Store.Put(jid.JID{}, "k"+e.Key, []byte(st.ID))
			case 1, 2:
				h.Archive.Append(storage.Row{Owner: room, ID: id, Stamp: h.Now(), With: room, XML: "<message id='" + st.From.Resource() + " " + st.ID + "'/>"})
			}
			return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, ID: st.ID, From: st.To, To: st.From}))
		}}
	}
	var store storage.Store
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		with(extension.Registration{Name: "rooms", Remote: x, Components: []extension.Component{{Domain: "rooms.example.test", Handle: someHandle}}})(o, p)
		store = p.Store
		p.Store = &flaky{p.Store, &down}
		p.Remote.Dispatched = func(_, _ string, err error) {
			if err == nil {
				dispatched.Add(1)
			}
		}
		p.Remote.Ended = func(string, string, time.Duration, error) { ended.Add(1) }
	})
	var all sync.WaitGroup
	var clients [senders]*client
	for i := range clients {
		clients[i] = w.login(fmt.Sprintf("romeo@example.test/%d", i), "")
		all.Go(func() {
			for n := range each {
				down.Store(rand.N(4) == 0)
				clients[i].send(fmt.Sprintf("<message id='%d' to='r%d@rooms.example.test'/>", n, n%rooms))
			}
		})
	}
	all.Wait()
	down.Store(false)
	x.all.Wait()
	for i, c := range clients {
		last := map[string]int{}
		answers := strings.Split(c.take(), "<message ")[1:]
		for _, one := range answers {
			var n int
			_, id, _ := strings.Cut(one, " id='")
			_, from, _ := strings.Cut(one, "from='")
			room, _, _ := strings.Cut(from, "@")
			if _, err := fmt.Sscanf(id, "%d'", &n); err != nil {
				t.Fatal(one)
			}
			if before, any := last[room]; any && n <= before {
				t.Errorf("client %d, %s: %d behind %d", i, room, n, before)
			}
			last[room] = n
		}
		if len(answers) != each {
			t.Errorf("client %d: %d answers", i, len(answers))
		}
	}
	for r := range rooms {
		rows, _, err := store.Rows(t.Context(), storage.ArchiveKey{Space: "rooms", Owner: jid.MustParse(fmt.Sprintf("r%d@rooms.example.test", r)), Own: true}, storage.Filter{}, storage.Page{Limit: 10_000})
		if err != nil || len(rows) == 0 {
			t.Errorf("room %d: %d rows, %v", r, len(rows), err)
		}
		last := map[string]int{}
		for _, row := range rows {
			var who string
			var n int
			if _, err := fmt.Sscanf(row.XML, "<message id='%s %d'/>", &who, &n); err != nil {
				t.Fatal(row.XML)
			}
			if before, any := last[who]; any && n <= before {
				t.Errorf("room %d: message %d of %s is behind %d", r, n, who, before)
			}
			last[who] = n
		}
	}
	if dispatched.Load() != ended.Load() || dispatched.Load() == 0 {
		t.Error(dispatched.Load(), "dispatched,", ended.Load(), "ended")
	}
	if x.longest < 2 {
		t.Error("nothing waited for anything")
	}
}

// collecting keeps the events that it is given.
type collecting struct {
	kernel extension.Kernel
	events chan *extension.RemoteEvent
}

func (x *collecting) Attach(k extension.Kernel)               { x.kernel = k }
func (x *collecting) Reset(string)                            {}
func (x *collecting) Dispatch(e *extension.RemoteEvent) error { x.events <- e; return nil }

// Of outcomes that are committed together only the one whose row comes too late is in conflict, and those behind
// it are handled again: those before it are applied, however often it is late.
func TestRunWithARowThatIsLate(t *testing.T) {
	x := &collecting{events: make(chan *extension.RemoteEvent, 3)}
	var store storage.Store
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		with(extension.Registration{Name: "rooms", Remote: x, Components: []extension.Component{{Domain: "rooms.example.test", Handle: someHandle}}})(o, p)
		store = p.Store
	})
	room := jid.MustParse("r@rooms.example.test")
	w.login("romeo@example.test/x", "").send("<message id='1' to='r@rooms.example.test'/><message id='2' to='r@rooms.example.test'/><message id='3' to='r@rooms.example.test'/>")
	ids := x.kernel.NewIDs(3)
	ids[1] = 1
	ends := make(chan error, 3)
	var run []extension.Applied
	for _, id := range ids {
		e := <-x.events
		run = append(run, extension.Applied{Owner: e.Owner, Done: func(err error) { ends <- err }, Outcome: &extension.Outcome{Effects: func(h *extension.Host) error {
			h.Archive.Append(storage.Row{Owner: room, ID: id, Stamp: h.Now(), With: room, XML: "<message id='" + e.Stanza().ID + "'/>"})
			return nil
		}}})
	}
	var b transport.Batch
	x.kernel.ApplyRun(&b, run)
	b.Flush()
	for i, is := range []func(error) bool{
		func(err error) bool { return err == nil },
		func(err error) bool { return errors.Is(err, extension.ErrConflict) },
		func(err error) bool { return errors.Is(err, extension.ErrConflict) },
	} {
		if err := <-ends; !is(err) {
			t.Errorf("outcome %d: %v", i+1, err)
		}
	}
	rows, _, err := store.Rows(t.Context(), storage.ArchiveKey{Space: "rooms", Owner: room, Own: true}, storage.Filter{}, storage.Page{Limit: 10})
	if err != nil || len(rows) != 1 || rows[0].XML != "<message id='1'/>" {
		t.Errorf("kept are %v, %v", rows, err)
	}
	for _, a := range run[1:] {
		a.Owner.Fail(&b, stanza.Err(stanza.Gone, ""))
	}
}
