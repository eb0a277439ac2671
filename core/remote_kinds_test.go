package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

func TestRemoteIQ(t *testing.T) {
	x := &elsewhere{answer: func(e *extension.RemoteEvent) *extension.Outcome {
		switch e.IQ.Payload().Text() {
		case "refuse":
			return &extension.Outcome{Err: stanza.Err(stanza.Forbidden, "")}
		case "fail":
			return &extension.Outcome{Err: errors.New("secret")}
		}
		return &extension.Outcome{Result: stanza.El("urn:x", "a").WithText(fmt.Sprint(e.Kind, " ", e.Handler, " ", e.Component, " ", e.Key)), Effects: func(h *extension.Host) error {
			h.Store.Put(jid.JID{}, "k", nil)
			return remoteSendsFrom("example.test", e.IQ.From, "behind")(h)
		}}
	}}
	reg := extension.Registration{Name: "far", Remote: x, IQ: []extension.IQHandler{
		{Space: "urn:x", Local: "q", To: extension.ToServer | extension.ToOwnAccount | extension.ToAccount},
		{Space: "urn:x", Local: "ordered", To: extension.ToOwnAccount, Ordered: true},
	}}
	w := newWorld(t, with(reg))
	romeo := w.login("romeo@example.test/x", "")
	for _, row := range []struct{ to, payload, want string }{
		{"example.test", "q", "iq 0 -1 romeo@example.test"},
		{"romeo@example.test", "q", "iq 0 -1 romeo@example.test"},
		{"juliet@example.test", "q", "iq 0 -1 juliet@example.test"},
		{"romeo@example.test", "ordered", "iq 1 -1 romeo@example.test"},
	} {
		romeo.send("<iq id='1' type='get' to='" + row.to + "'><" + row.payload + " xmlns='urn:x'/></iq>")
		x.all.Wait() // until it has flushed
		romeo.want("<iq from='" + row.to + "' to='romeo@example.test/x' id='1' type='result'><a xmlns='urn:x'>" + row.want + "</a></iq>" +
			"<message from='example.test' to='romeo@example.test/x' id='behind'/>") // all is done when the next stanza goes on
	}
	for text, want := range map[string]string{"refuse": "<forbidden ", "fail": "<internal-server-error "} {
		romeo.send("<iq id='1' type='get' to='example.test'><q xmlns='urn:x'>" + text + "</q></iq>")
		x.all.Wait()
		if out := romeo.take(); !strings.Contains(out, want) || strings.Contains(out, "secret") {
			t.Errorf("%s: %s", text, out)
		}
	}
	x.refuses(extension.ErrDown)
	romeo.send("<iq id='1' type='get' to='example.test'><q xmlns='urn:x'/></iq>").wantPart("type='wait'><service-unavailable")
}

func remoteSendsFrom(from string, to jid.JID, id string) func(h *extension.Host) error {
	return func(h *extension.Host) error {
		return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, ID: id, From: jid.MustParse(from), To: to}))
	}
}

// Requests to a component are not waited for, and neither is any for ever.
func TestRemoteComponentIQ(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(rooms(x)))
		romeo := w.login("romeo@example.test/x", "")
		const (
			ask   = "<iq id='1' type='get' to='rooms.example.test'><q xmlns='urn:x'/></iq>"
			items = "<iq id='2' type='get' to='rooms.example.test'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"
			info  = "<iq id='3' type='get' to='rooms.example.test'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
			other = "<iq id='4' type='get' to='room@rooms.example.test'><q xmlns='urn:x'/></iq>"
		)
		romeo.send(ask + items + info + other)
		romeo.wantPart("id='3' type='result'") // the kernel's
		for _, want := range []struct {
			kind extension.EventKind
			o    extension.Outcome
			out  string
		}{
			{extension.Asked, extension.Outcome{Result: stanza.El("urn:x", "a")}, "<iq from='rooms.example.test' to='romeo@example.test/x' id='1' type='result'><a xmlns='urn:x'/></iq>"},
			{extension.ItemsAsked, extension.Outcome{Items: []extension.Item{{JID: jid.MustParse("room@rooms.example.test"), Name: "Room"}}},
				"<iq from='rooms.example.test' to='romeo@example.test/x' id='2' type='result'><query xmlns='http://jabber.org/protocol/disco#items'><item jid='room@rooms.example.test' name='Room'/></query></iq>"},
			{extension.ToComponent, extension.Outcome{}, ""},
		} {
			e := x.next(t)
			if e.Kind != want.kind || e.Component != 0 || e.Handler != 0 {
				t.Errorf("%+v", e)
			}
			if err := apply(e, &want.o); err != nil {
				t.Error(err)
			}
			romeo.want(want.out)
		}
		for _, one := range []string{ask, items, other} {
			romeo.send(one)
			e := x.next(t)
			time.Sleep(31 * time.Second)
			romeo.wantPart("type='wait'><remote-server-timeout")
			if err := apply(e, &extension.Outcome{Effects: remoteSends("romeo@example.test/x late")}); err == nil {
				t.Error("an outcome that comes too late")
			}
			romeo.want("")
		}
	})
}

func TestRemoteIQTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		reg := extension.Registration{Name: "far", Remote: x, IQ: []extension.IQHandler{{Space: "urn:x", Local: "q", To: extension.ToServer}}}
		w := newWorld(t, with(reg))
		romeo := w.login("romeo@example.test/x", "")
		began := time.Now()
		romeo.send("<iq id='1' type='get' to='example.test'><q xmlns='urn:x'/></iq>")
		if took := time.Since(began); took != 30*time.Second {
			t.Error(took)
		}
		romeo.wantPart("type='wait'><remote-server-timeout")
		if err := apply(x.next(t), &extension.Outcome{}); err == nil {
			t.Error("an outcome that comes too late")
		}
		romeo.want("")
	})
}

// Two components that message each other, one that messages itself, and Remotes that
// take one event at a time.
func TestRemoteComponentsDoNotWaitForEachOther(t *testing.T) {
	a, b := &single{}, &single{}
	reg := func(name string, x *single) extension.Registration {
		return extension.Registration{Name: name, Remote: x, Components: []extension.Component{{Domain: name + ".example.test", Handle: someHandle}}}
	}
	w := newWorld(t, with(reg("a", a), reg("b", b)))
	relay := func(h *extension.Host, e *extension.RemoteEvent) error {
		st := e.Stanza()
		if st.Type == stanza.TypeError {
			return nil
		}
		var err error
		for _, to := range []string{"a.example.test", "b.example.test", "romeo@example.test/x"} {
			err = errors.Join(err, h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, ID: st.ID + "+", From: st.To, To: jid.MustParse(to)})))
		}
		return err
	}
	romeo := w.login("romeo@example.test/x", "")
	romeo.send("<message to='a.example.test' id='1'/><message to='b.example.test' id='2'/>")
	for range 100 {
		for _, x := range []*single{a, b} {
			if e := x.take(); e != nil {
				if err := apply(e, &extension.Outcome{Effects: func(h *extension.Host) error { return relay(h, e) }}); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if got := strings.Count(romeo.take(), "<message "); got < 50 {
		t.Error("messages:", got)
	}
	if a.refused == 0 || b.refused == 0 {
		t.Error("the queues were never full")
	}
	a.close()
	b.close()
}

// single has room for one event.
type single struct {
	mu      sync.Mutex
	e       *extension.RemoteEvent
	refused int
	closed  bool
}

func (x *single) Attach(extension.Kernel) {}
func (x *single) Reset(string)            {}

func (x *single) Dispatch(e *extension.RemoteEvent) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return extension.ErrDown
	}
	if x.e != nil {
		x.refused++
		return extension.ErrFull
	}
	x.e = e
	return nil
}

func (x *single) take() *extension.RemoteEvent {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.e
	x.e = nil
	return e
}

func (x *single) close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	if e := x.take(); e != nil {
		fail(e, extension.ErrDown)
	}
}

func TestRemoteElements(t *testing.T) {
	x := &elsewhere{}
	reg := extension.Registration{Name: "far", Remote: x, Elements: []extension.ElementHandler{{Space: "urn:x", Local: "e"}}, Marks: []extension.Mark{{Name: "m"}}}
	w := newWorld(t, with(reg))
	romeo := w.login("romeo@example.test/x", "")
	romeo.send("<e xmlns='urn:x'/>")
	e := x.next(t)
	if e.Kind != extension.ElementSent || e.Session.String() != "romeo@example.test/x" || e.Key != "romeo@example.test" || e.Element.Local != "e" {
		t.Errorf("%+v", e)
	}
	if err := apply(e, &extension.Outcome{Effects: func(h *extension.Host) error { return h.Sessions.Mark(e.Session, "m", true) }}); err != nil {
		t.Error(err)
	}
	if s := x.kernel.Reader().Sessions.Of(jid.MustParse("romeo@example.test")); len(s) != 1 || len(s[0].Marks) != 1 {
		t.Error(s)
	}
	x.refuses(extension.ErrFull)
	romeo.send("<e xmlns='urn:x'/>").want("")
	x.refuses(nil)
	romeo.send("<e xmlns='urn:x'/>")
	if err := apply(x.next(t), &extension.Outcome{Err: stream.Err(stream.PolicyViolation, "")}); err != nil {
		t.Error(err)
	}
	romeo.wantPart("<policy-violation")
}

func TestRemoteNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		reg := extension.Registration{
			Name: "far", Remote: x, Permissions: []extension.Permission{extension.SeePresence}, Notices: []extension.Event{extension.BecameUnavailable},
			IQ: []extension.IQHandler{{Space: "urn:x", Local: "q", To: extension.ToAccount}},
		}
		w := newWorld(t, with(reg))
		romeo := w.login("romeo@example.test/x", "<presence/>")
		x.refuses(extension.ErrFull)
		romeo.send("<presence type='unavailable'/>")
		synctest.Wait()
		x.none(t)
		x.refuses(nil)
		time.Sleep(time.Second)
		e := x.next(t)
		if e.Kind != extension.Noticed || e.Notice.Event != extension.BecameUnavailable || e.Key != "romeo@example.test" {
			t.Errorf("%+v", e)
		}
		// Who asks about the account is answered with that.
		juliet := w.login("juliet@example.test/x", "")
		var all sync.WaitGroup
		all.Go(func() { juliet.send("<iq id='1' type='get' to='romeo@example.test'><q xmlns='urn:x'/></iq>") })
		synctest.Wait()
		x.none(t)
		if err := apply(e, &extension.Outcome{}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := apply(x.next(t), &extension.Outcome{Result: stanza.El("urn:x", "a")}); err != nil {
			t.Error(err)
		}
		all.Wait()
		juliet.wantPart("type='result'")
	})
}

// At the end of the server what is out is answered, once.
func TestRemoteStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		var dispatched, ended int
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			with(rooms(x))(o, p)
			p.Remote.Dispatched = func(string, string, error) { dispatched++ }
			p.Remote.Ended = func(_, kind string, _ time.Duration, err error) {
				if err == nil {
					t.Error("ended well:", kind)
				}
				ended++
			}
		})
		romeo := w.login("romeo@example.test/x", "")
		for i := range 3 {
			romeo.send(fmt.Sprintf(toRoom, i))
		}
		romeo.send("<iq id='1' type='get' to='rooms.example.test'><q xmlns='urn:x'/></iq>")
		romeo.drop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.k.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if dispatched != 4 || ended != 4 {
			t.Error(dispatched, ended)
		}
		for _, e := range x.seen {
			if err := apply(e, &extension.Outcome{}); err == nil {
				t.Error("an outcome behind the end")
			}
		}
	})
}

func TestRemoteRegistration(t *testing.T) {
	x := &elsewhere{}
	stage := func(h extension.StageHandler) extension.Registration {
		return extension.Registration{Name: "far", Remote: x, Permissions: []extension.Permission{extension.SeeStanzas}, Stages: []extension.StageHandler{h}}
	}
	for name, reg := range map[string]extension.Registration{
		"process of its own":              stage(extension.StageHandler{Stage: extension.Write, Class: extension.Decide}),
		"deadline":                        stage(extension.StageHandler{Stage: extension.Deliver, Class: extension.Decide, Deadline: -1}),
		"a stream feature needs a functi": {Name: "far", Remote: x, StreamFeatures: []extension.StreamFeature{{}}},
	} {
		o := core.Options{Domains: []string{"example.test"}}
		var p core.Ports
		newPorts(&p)
		with(reg)(&o, &p)
		if _, err := core.New(o, p); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Requests that are Ordered are begun one after the other.
func TestRemoteOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		reg := extension.Registration{Name: "far", Remote: x, IQ: []extension.IQHandler{{Space: "urn:x", Local: "q", To: extension.ToOwnAccount, Ordered: true}}}
		w := newWorld(t, with(reg))
		var all sync.WaitGroup
		for i := range 25 {
			c := w.login(fmt.Sprintf("romeo@example.test/%d", i), "")
			all.Go(func() { c.send("<iq id='1' type='set'><q xmlns='urn:x'/></iq>") })
		}
		n := 0
		for synctest.Wait(); len(x.waiting) > 0; synctest.Wait() {
			if len(x.waiting) != 1 {
				t.Error(len(x.waiting), "at once")
			}
			n++
			if err := apply(x.next(t), &extension.Outcome{}); err != nil {
				t.Error(err)
			}
		}
		all.Wait()
		if n != 20 { // as many as may wait
			t.Error(n)
		}
	})
}

// What no event asked for has a bound of its own.
func TestRemoteUnaskedBound(t *testing.T) {
	x := &elsewhere{}
	g := &gate{}
	block := make(chan struct{})
	newWorld(t, func(o *core.Options, p *core.Ports) {
		with(rooms(x))(o, p)
		g.Store = p.Store
		g.before = func() { <-block }
		p.Store = g
	})
	done := make(chan error, 1_001)
	for range 1_001 {
		var b transport.Batch
		x.kernel.Apply(&b, "key", func(h *extension.Host) error {
			h.Store.Put(jid.JID{}, "k", nil)
			return nil
		}, func(err error) { done <- err })
	}
	if err := <-done; !errors.Is(err, extension.ErrUnavailable) {
		t.Error(err)
	}
	close(block)
	for range 1_000 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// The end of the server waits for what is being committed.
func TestRemoteStopWaitsForCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		g := &gate{before: func() { time.Sleep(3 * time.Second) }}
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			with(rooms(x))(o, p)
			g.Store = p.Store
			p.Store = g
		})
		romeo := w.login("romeo@example.test/x", "")
		romeo.send(fmt.Sprintf(toRoom, 1))
		romeo.drop()
		var b transport.Batch
		done := make(chan error, 2)
		x.next(t).Owner.Apply(&b, &extension.Outcome{Effects: func(h *extension.Host) error {
			h.Store.Put(jid.JID{}, "k", []byte("v"))
			return nil
		}}, func(err error) { done <- err })
		b.Flush()
		if err := w.k.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("the server ended in front of it")
		}
		if e, err := g.Store.Get(context.Background(), "rooms", jid.JID{}, "k"); err != nil || string(e.Value) != "v" {
			t.Error(e, err)
		}
	})
}
