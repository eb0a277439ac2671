package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// elsewhere is a Remote. What it is given waits for the test, or is answered by a
// goroutine of its own if there is somebody who answers.
type elsewhere struct {
	answer func(e *extension.RemoteEvent) *extension.Outcome // nil: the test does

	mu      sync.Mutex
	kernel  extension.Kernel
	waiting []*extension.RemoteEvent
	seen    []*extension.RemoteEvent
	resets  []string
	refuse  error // of Dispatch
	all     sync.WaitGroup
}

func (x *elsewhere) Attach(k extension.Kernel) { x.kernel = k }

func (x *elsewhere) Dispatch(e *extension.RemoteEvent) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.refuse != nil {
		return x.refuse
	}
	x.seen = append(x.seen, e)
	if x.answer == nil {
		x.waiting = append(x.waiting, e)
		return nil
	}
	x.all.Go(func() { x.apply(e) })
	return nil
}

func (x *elsewhere) Reset(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.resets = append(x.resets, key)
}

// apply applies what is answered, again if it is told to.
func (x *elsewhere) apply(e *extension.RemoteEvent) {
	for {
		o := x.answer(e)
		if o == nil {
			return
		}
		if err := apply(e, o); !errors.Is(err, extension.ErrConflict) && !errors.Is(err, extension.ErrUnavailable) {
			return
		}
	}
}

// apply applies an outcome and returns what done was told.
func apply(e *extension.RemoteEvent, o *extension.Outcome) error {
	var b transport.Batch
	done := make(chan error, 2)
	e.Owner.Apply(&b, o, func(err error) { done <- err })
	b.Flush()
	return <-done
}

func fail(e *extension.RemoteEvent, err error) {
	var b transport.Batch
	e.Owner.Fail(&b, err)
	b.Flush()
}

// close ends what waits, and takes nothing more, so that the end of the server need not
// wait for it.
func (x *elsewhere) close() {
	x.refuses(extension.ErrDown)
	x.mu.Lock()
	all := x.waiting
	x.waiting = nil
	x.mu.Unlock()
	for _, e := range all {
		fail(e, extension.ErrDown)
	}
}

// next returns the event that waits longest.
func (x *elsewhere) next(t *testing.T) *extension.RemoteEvent {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.waiting) == 0 {
		t.Fatal("no event")
	}
	e := x.waiting[0]
	x.waiting = x.waiting[1:]
	return e
}

func (x *elsewhere) none(t *testing.T) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.waiting) > 0 {
		t.Errorf("%d events more: %+v", len(x.waiting), x.waiting[0])
	}
}

func (x *elsewhere) refuses(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.refuse = err
}

func remoteSends(all ...string) func(h *extension.Host) error {
	return func(h *extension.Host) error {
		for _, one := range all {
			to, body, _ := strings.Cut(one, " ")
			from := "room@rooms.example.test"
			if err := h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, ID: body, From: jid.MustParse(from), To: jid.MustParse(to)})); err != nil {
				return err
			}
		}
		return nil
	}
}

// placeholders are there to say that there is a handler; nobody calls them.
func someItems(context.Context, *extension.Host, extension.IQ) ([]extension.Item, error) {
	panic("called")
}
func someHandle(context.Context, *extension.Host, *extension.Envelope) error { panic("called") }

func rooms(x extension.Remote) extension.Registration {
	return extension.Registration{Name: "rooms", Remote: x, Components: []extension.Component{{
		Domain: "rooms.$domain", Items: someItems, Handle: someHandle,
		IQ: []extension.IQHandler{{Space: "urn:x", Local: "q"}},
	}}}
}

const toRoom = "<message id='%d' to='room@rooms.example.test' type='groupchat'><body>hi</body></message>"

func TestRemoteComponent(t *testing.T) {
	x := &elsewhere{}
	w := newWorld(t, with(rooms(x)))
	romeo := w.login("romeo@example.test/x", "")
	for i := range 3 { // the stream does not wait
		romeo.send(fmt.Sprintf(toRoom, i))
	}
	for i := range 3 {
		e := x.next(t)
		if e.Kind != extension.ToComponent || e.Key != "room@rooms.example.test" || e.Handler != 0 || e.Stanza().ID != fmt.Sprint(i) ||
			e.Envelope.Origin.Session != romeo.jid(t) || e.At.IsZero() || e.Observed {
			t.Errorf("%+v", e)
		}
		romeo.want("")
		if err := apply(e, &extension.Outcome{Effects: remoteSends(fmt.Sprintf("romeo@example.test/x a%d", i), fmt.Sprintf("romeo@example.test/x b%d", i))}); err != nil {
			t.Error(err)
		}
		romeo.want(fmt.Sprintf("<message from='room@rooms.example.test' to='romeo@example.test/x' id='a%d'/><message from='room@rooms.example.test' to='romeo@example.test/x' id='b%d'/>", i, i))
		if err := apply(e, &extension.Outcome{Effects: remoteSends("romeo@example.test/x again")}); err == nil || errors.Is(err, extension.ErrConflict) {
			t.Error("an outcome for the second time:", err)
		}
		fail(e, extension.ErrDown)
		romeo.want("")
	}
	x.none(t)
}

func (c *client) jid(t *testing.T) jid.JID {
	t.Helper()
	return jid.MustParse("romeo@example.test/x")
}

func TestRemoteComponentErrors(t *testing.T) {
	for _, row := range []struct {
		name    string
		stanza  string
		refuse  error
		end     func(e *extension.RemoteEvent) error
		want    string // a part; "" for nothing at all
		ends    bool   // done is told an error
		nothing bool   // a message that the outcome sends must not come
	}{
		{"full", "message", extension.ErrFull, nil, "type='wait'><resource-constraint", false, false},
		{"down", "message", extension.ErrDown, nil, "type='wait'><service-unavailable", false, false},
		{"presence, full", "presence", extension.ErrFull, nil, "", false, false},
		{"presence, down", "presence", fmt.Errorf("%w: it is", extension.ErrDown), nil, "", false, false},
		{"iq, full", "iq", extension.ErrFull, nil, "type='wait'><resource-constraint", false, false},
		{"an answer, down", "result", extension.ErrDown, nil, "", false, false},
		{"down later", "message", nil, func(e *extension.RemoteEvent) error { fail(e, extension.ErrDown); return nil }, "type='wait'><service-unavailable", false, false},
		{"later presence took its place", "presence", nil, func(e *extension.RemoteEvent) error { fail(e, extension.ErrFull); return nil }, "", false, false},
		{"poison, presence", "presence", nil, func(e *extension.RemoteEvent) error {
			fail(e, stanza.Err(stanza.InternalServerError, ""))
			return nil
		}, "<internal-server-error", false, false},
		{"poison", "message", nil, func(e *extension.RemoteEvent) error {
			fail(e, stanza.Err(stanza.InternalServerError, ""))
			return nil
		}, "<internal-server-error", false, false},
		{"the handler refuses", "presence", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Err: stanza.Err(stanza.NotAcceptable, ""), Effects: remoteSends("romeo@example.test/x no")})
		}, "<not-acceptable", false, true},
		{"the handler fails", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Err: errors.New("secret"), Effects: remoteSends("romeo@example.test/x no")})
		}, "<internal-server-error", false, true},
		{"permission", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Effects: func(h *extension.Host) error {
				if err := remoteSends("romeo@example.test/x no")(h); err != nil {
					return err
				}
				return h.Stanzas.SendAs(jid.MustParse("juliet@example.test"), stanza.New(stanza.Header{Kind: stanza.Message}))
			}})
		}, "<internal-server-error", true, true},
		{"bound", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Effects: remoteSends(slices.Repeat([]string{"romeo@example.test/x no"}, 4001)...)})
		}, "<resource-constraint", true, true},
		{"bytes", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Effects: func(h *extension.Host) error {
				for i := range 10 {
					h.Store.Put(jid.JID{}, fmt.Sprint(i), make([]byte, 1<<20))
				}
				return nil
			}})
		}, "<resource-constraint", true, false},
		{"an ID that nobody gave out", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Effects: func(h *extension.Host) error {
				h.Archive.Append(storage.Row{ID: 1 << 62, Owner: jid.MustParse("romeo@example.test")})
				return nil
			}})
		}, "<internal-server-error", true, false},
		{"an archive of somebody else's", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Effects: func(h *extension.Host) error {
				h.Archive.Remove(jid.MustParse("romeo@example.test"))
				return nil
			}})
		}, "<internal-server-error", true, false},
		{"a panic", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Effects: func(*extension.Host) error { panic("secret") }})
		}, "<internal-server-error", true, false},
		{"an outcome that reads", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Effects: func(h *extension.Host) error {
				_, _, err := h.Store.Get(context.Background(), jid.JID{}, "k")
				return err
			}})
		}, "<internal-server-error", true, false},
		{"an outcome that changes accounts", "message", nil, func(e *extension.RemoteEvent) error {
			return apply(e, &extension.Outcome{Effects: func(h *extension.Host) error {
				return h.Accounts.Remove(context.Background(), jid.MustParse("romeo@example.test"))
			}})
		}, "<internal-server-error", true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			x := &elsewhere{}
			w := newWorld(t, with(rooms(x)))
			defer x.close()
			romeo := w.login("romeo@example.test/x", "")
			x.refuses(row.refuse)
			romeo.send(map[string]string{
				"message": fmt.Sprintf(toRoom, 1), "presence": "<presence id='1' to='room@rooms.example.test/nick'/>",
				"iq":     "<iq id='1' type='get' to='room@rooms.example.test'><q xmlns='urn:x'/></iq>",
				"result": "<iq id='1' type='result' to='room@rooms.example.test'/>",
			}[row.stanza])
			if row.end != nil {
				e := x.next(t)
				if err := row.end(e); (err != nil) != row.ends || errors.Is(err, extension.ErrConflict) || errors.Is(err, extension.ErrUnavailable) {
					t.Error("done:", err)
				}
				fail(e, extension.ErrDown) // nobody is answered twice
			}
			out := romeo.take()
			if row.want == "" && out != "" || !strings.Contains(out, row.want) || strings.Count(out, "type='error'") > 1 ||
				strings.Contains(out, "secret") || row.nothing && strings.Contains(out, "id='no'") {
				t.Error(out)
			}
		})
	}
}

// What an outcome writes is committed before anything of it is seen, and an outcome
// that can't be is applied in no part.
func TestRemoteCommit(t *testing.T) {
	x := &elsewhere{}
	g := &gate{}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		with(rooms(x))(o, p)
		g.Store = p.Store
		p.Store = g
	})
	romeo := w.login("romeo@example.test/x", "")
	swap := &extension.Outcome{Effects: func(h *extension.Host) error {
		h.Store.Swap(jid.JID{}, "k", []byte("v"), 0)
		if err := h.Memory.Put("m", []byte("v")); err != nil {
			return err
		}
		return remoteSends("romeo@example.test/x kept")(h)
	}}
	romeo.send(fmt.Sprintf(toRoom, 1))
	e := x.next(t)

	g.fail = storage.ErrUnavailable
	if err := apply(e, swap); !errors.Is(err, extension.ErrUnavailable) {
		t.Error("unavailable:", err)
	}
	g.fail = nil
	if err := g.Store.Commit(t.Context(), storage.Writes{Ops: hostOps("rooms", "k", "other")}); err != nil {
		t.Fatal(err)
	}
	if err := apply(e, swap); !errors.Is(err, extension.ErrConflict) {
		t.Error("conflict:", err)
	}
	romeo.want("")
	r := x.kernel.Reader()
	if _, ok, _ := r.Memory.Get(t.Context(), "m"); ok {
		t.Error("memory of an outcome that was not applied")
	}
	if !slices.Equal(r.Served, []string{"example.net", "example.test", "rooms.example.net", "rooms.example.test"}) {
		t.Error(r.Served)
	}
	entry, _, err := r.Store.Get(t.Context(), jid.JID{}, "k")
	if err != nil || string(entry.Value) != "other" {
		t.Error(entry, err)
	}
	g.before = func() { romeo.want("") }
	if err := apply(e, &extension.Outcome{Effects: func(h *extension.Host) error {
		h.Store.Swap(jid.JID{}, "k", []byte("v"), entry.Revision)
		return remoteSends("romeo@example.test/x kept")(h)
	}}); err != nil {
		t.Error(err)
	}
	romeo.want("<message from='room@rooms.example.test' to='romeo@example.test/x' id='kept'/>")
	g.before = nil

	// It is not given again for ever.
	romeo.send(fmt.Sprintf(toRoom, 2))
	e = x.next(t)
	var errs []error
	for range 20 {
		err := apply(e, swap)
		if errs = append(errs, err); !errors.Is(err, extension.ErrConflict) {
			break
		}
	}
	if len(errs) != 10 {
		t.Error("conflicts:", errs)
	}
	romeo.wantPart("<resource-constraint")
}

func TestRemoteUnavailableEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		g := &gate{fail: storage.ErrUnavailable}
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			with(rooms(x))(o, p)
			g.Store = p.Store
			p.Store = g
		})
		romeo := w.login("romeo@example.test/x", "")
		romeo.send(fmt.Sprintf(toRoom, 1))
		e := x.next(t)
		put := &extension.Outcome{Effects: func(h *extension.Host) error {
			h.Store.Put(jid.JID{}, "k", nil)
			return nil
		}}
		tries := 0
		for ; errors.Is(apply(e, put), extension.ErrUnavailable); tries++ {
			time.Sleep(time.Second)
		}
		if tries != 30 {
			t.Errorf("%d tries", tries)
		}
		romeo.wantPart("<internal-server-error")
	})
}

func TestRemoteReaderHasNoEffects(t *testing.T) {
	x := &elsewhere{}
	w := newWorld(t, with(rooms(x)))
	romeo := w.login("romeo@example.test/x", "")
	r := x.kernel.Reader()
	msg := stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("example.test"), To: jid.MustParse("romeo@example.test/x")})
	r.Store.Put(jid.JID{}, "k", nil)
	r.Store.Swap(jid.JID{}, "k", nil, 0)
	r.Store.Delete(jid.JID{}, "k")
	r.Archive.Append(storage.Row{})
	r.Archive.Remove(msg.To)
	r.Sessions.Release(msg.To)
	r.Timers.Cancel("t")
	r.Memory.Delete("k")
	r.Groups.Leave("g", msg.To)
	r.Groups.Remove("g")
	for what, err := range map[string]error{
		"send": r.Stanzas.Send(msg), "precede": r.Stanzas.Precede(msg), "as": r.Stanzas.SendAs(msg.To, msg), "request": r.Stanzas.Request(msg, time.Second, nil),
		"timer": r.Timers.Set("k", 1, nil), "end": r.Sessions.End(msg.To, "", ""), "mark": r.Sessions.Mark(msg.To, "", true),
		"withdraw": r.Sessions.Withdraw(msg.To, nil, nil), "announce": r.Sessions.Announce(msg.To, nil),
		"put": r.Memory.Put("k", nil), "join": r.Groups.Join("g", extension.Member{JID: msg.To}), "cast": r.Groups.Send("g", extension.Cast{Stanza: msg}),
	} {
		if err == nil {
			t.Error(what)
		}
	}
	romeo.want("")
	if ids := x.kernel.NewIDs(3); len(ids) != 3 || ids[0] >= ids[1] || ids[1] >= ids[2] {
		t.Error(ids)
	}
	if got := r.Sessions.Of(jid.MustParse("romeo@example.test")); len(got) != 1 {
		t.Error(got)
	}
}

func TestRemoteUnasked(t *testing.T) {
	x := &elsewhere{}
	g := &gate{}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		with(rooms(x))(o, p)
		g.Store = p.Store
		p.Store = g
	})
	romeo := w.login("romeo@example.test/x", "")
	unasked := func(effects func(h *extension.Host) error) error {
		var b transport.Batch
		done := make(chan error, 2)
		x.kernel.Apply(&b, "key", effects, func(err error) { done <- err })
		b.Flush()
		return <-done
	}
	if err := unasked(remoteSends("romeo@example.test/x 1")); err != nil {
		t.Error(err)
	}
	before := x.kernel.MemoryRevision()
	for i, change := range []func(h *extension.Host) error{
		func(h *extension.Host) error { return h.Memory.Put("a", nil) },
		func(h *extension.Host) error { return h.Memory.Put("a", []byte("1")) },
		func(h *extension.Host) error { h.Memory.Delete("a"); return nil },
	} {
		if err := unasked(change); err != nil {
			t.Fatal(err)
		}
		if now := x.kernel.MemoryRevision(); i < 2 && now <= before || i == 2 && now != 0 {
			t.Errorf("after change %d the revision is %d, before %d", i, now, before)
		}
		before = x.kernel.MemoryRevision()
	}
	romeo.want("<message from='room@rooms.example.test' to='romeo@example.test/x' id='1'/>")
	put := func(h *extension.Host) error {
		h.Store.Swap(jid.JID{}, "k", nil, 0)
		if err := h.Stanzas.Request(stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: jid.MustParse("rooms.example.test"), To: jid.MustParse("romeo@example.test/x")}, stanza.El("urn:y", "q")), time.Minute, []byte("state")); err != nil {
			return err
		}
		return nil
	}
	g.fail = storage.ErrUnavailable
	if err := unasked(put); !errors.Is(err, extension.ErrUnavailable) {
		t.Error(err)
	}
	g.fail = nil
	romeo.want("")
	if err := unasked(put); err != nil {
		t.Error(err)
	}
	if err := unasked(put); !errors.Is(err, extension.ErrConflict) {
		t.Error(err)
	}
	if err := unasked(func(h *extension.Host) error {
		return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("far.test"), To: jid.MustParse("romeo@example.test/x")}))
	}); !errors.Is(err, extension.ErrPermission) {
		t.Error(err)
	}
	// The answer to its request is an event of the same key.
	out := romeo.take()
	_, id, _ := strings.Cut(out, " id='")
	id, _, _ = strings.Cut(id, "'")
	romeo.send("<iq type='result' to='rooms.example.test' id='" + id + "'><a xmlns='urn:y'/></iq>")
	e := x.next(t)
	if e.Kind != extension.Replied || e.Key != "key" || string(e.Reply.State) != "state" || e.Reply.Answer.Type != stanza.Result {
		t.Errorf("%+v", e)
	}
	if err := apply(e, &extension.Outcome{}); err != nil {
		t.Error(err)
	}
}

// Replies and timers wait for a process as long as it takes.
func TestRemoteTimersAndReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(rooms(x)))
		w.login("romeo@example.test/x", "").send(fmt.Sprintf(toRoom, 1))
		if err := apply(x.next(t), &extension.Outcome{Effects: func(h *extension.Host) error {
			ask := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: jid.MustParse("rooms.example.test"), To: jid.MustParse("romeo@example.test/x")}, stanza.El("urn:y", "q"))
			return errors.Join(
				h.Timers.Set("a", time.Second, []byte("1")), h.Timers.Set("b", 2*time.Second, []byte("2")), h.Timers.Set("c", 3*time.Second, nil),
				h.Stanzas.Request(ask, 4*time.Second, []byte("4")))
		}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		if e := x.next(t); e.Kind != extension.Fired || e.Timer.Key != "a" || string(e.Timer.State) != "1" || e.Key != "room@rooms.example.test" {
			t.Errorf("%+v", e)
		}
		x.refuses(extension.ErrDown)
		time.Sleep(time.Hour)
		x.none(t)
		x.refuses(nil)
		time.Sleep(10 * time.Second)
		for _, want := range []string{"b2", "c", "4"} {
			e := x.next(t)
			if got := e.Timer.Key + string(e.Timer.State) + string(e.Reply.State); got != want || e.Key != "room@rooms.example.test" || e.Kind == extension.Replied && e.Reply.Answer != nil {
				t.Errorf("%s, want %s: %+v", got, want, e)
			}
			if err := apply(e, &extension.Outcome{Err: errors.New("for the log")}); err != nil {
				t.Error(err)
			}
		}
		x.none(t)
	})
}

// Timers and requests may name the ordering key of what comes of them.
func TestRemoteOrderingKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(rooms(x)))
		w.login("romeo@example.test/x", "").send(fmt.Sprintf(toRoom, 1))
		ask := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: jid.MustParse("rooms.example.test"), To: jid.MustParse("romeo@example.test/x")}, stanza.El("urn:y", "q"))
		if err := apply(x.next(t), &extension.Outcome{Effects: func(h *extension.Host) error {
			long := strings.Repeat("k", 8193)
			for _, err := range []error{h.Timers.SetFor(long, "a", time.Second, nil), h.Stanzas.RequestFor(long, ask, time.Second, nil)} {
				if !errors.Is(err, extension.ErrBound) {
					t.Error(err)
				}
			}
			return errors.Join(h.Timers.SetFor("one", "a", time.Second, nil), h.Timers.SetFor("", "b", 2*time.Second, nil), h.Stanzas.RequestFor("two", ask, 3*time.Second, nil))
		}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for _, want := range []string{"one", "room@rooms.example.test", "two"} {
			e := x.next(t)
			if e.Key != want {
				t.Errorf("%s, want %s: %+v", e.Key, want, e)
			}
			if err := apply(e, &extension.Outcome{}); err != nil {
				t.Error(err)
			}
		}
		x.none(t)
	})
}
