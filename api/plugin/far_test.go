package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// takes is an extension that is far; what it was given comes by given.
func takes(take func(e *extension.FarEvent)) extension.Registration {
	return extension.Registration{
		Name: "far", Permissions: []extension.Permission{extension.FarDomains},
		Far: &extension.Far{Take: func(_ context.Context, e *extension.FarEvent) { take(e) }},
	}
}

func farEvent(id uint64, domain string) *extension.RemoteEvent {
	return &extension.RemoteEvent{Kind: extension.ToFar, Component: -1, Key: domain, At: time.UnixMicro(5), Far: &extension.FarEvent{ID: id, Domain: domain,
		Stanza: stanza.New(stanza.Header{Kind: stanza.Message, ID: fmt.Sprint(id), From: jid.MustParse("romeo@example.org/orchard"), To: jid.MustParse("a@" + domain)})}}
}

// farOwner notes what became of events.
type farOwner struct {
	id    uint64
	ended chan<- string
}

func (o farOwner) Apply(_ *transport.Batch, out *extension.Outcome, done func(error)) {
	var told *stanza.Error
	switch {
	case out.Err == nil:
		o.ended <- fmt.Sprint(o.id)
	case errors.As(out.Err, &told):
		o.ended <- fmt.Sprint(o.id, " ", told.Condition)
	default:
		o.ended <- fmt.Sprint(o.id, " failed")
	}
	done(nil)
}

func (o farOwner) Fail(_ *transport.Batch, err error) { o.ended <- fmt.Sprint(o.id, " ", err) }

// What goes to far domains is taken in order, and answered in any, by any goroutine, once; inside the server
// as in a process.
func TestFarWithoutAProcess(t *testing.T) {
	for _, way := range []string{"inside", "elsewhere"} {
		t.Run(way, func(t *testing.T) {
			var mu sync.Mutex
			var order []string
			given := make(chan *extension.FarEvent, 100)
			stuck := make(chan struct{})
			reg := takes(func(e *extension.FarEvent) {
				mu.Lock()
				order = append(order, fmt.Sprint(e.Domain, " ", e.ID, " ", e.Attempt, " ", e.Received.UnixMicro()))
				mu.Unlock()
				switch {
				case e.Domain == "stuck.test": // is in nobody else's way
					<-stuck
				case e.ID == 5:
					panic("no")
				}
				given <- e
			})
			if way == "inside" {
				reg = Inside(reg)
			} else {
				var err error
				if reg, err = Elsewhere(reg); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reg.Remote.Attach(noReads{ctx: ctx})
			ended := make(chan string, 100)
			dispatch := func(id uint64, domain string) {
				e := farEvent(id, domain)
				e.Owner = farOwner{id, ended}
				if err := reg.Remote.Dispatch(e); err != nil {
					t.Error(err)
				}
			}
			dispatch(1, "stuck.test")
			for id := uint64(2); id <= 6; id++ {
				dispatch(id, "far.test")
			}
			if got := <-ended; got != "5 failed" {
				t.Error(got)
			}
			byID := map[uint64]*extension.FarEvent{}
			for range 4 {
				e := <-given
				byID[e.ID] = e
			}
			var all sync.WaitGroup
			for _, id := range []uint64{6, 2, 4} {
				all.Go(func() {
					byID[id].Done(nil)
					byID[id].Done(errors.New("again"))
				})
			}
			byID[3].Done(stanza.Err(stanza.RemoteServerTimeout, ""))
			all.Wait()
			got := []string{<-ended, <-ended, <-ended, <-ended}
			slices.Sort(got)
			if want := []string{"2", "3 remote-server-timeout", "4", "6"}; !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
			close(stuck)
			(<-given).Done(nil)
			if got := <-ended; got != "1" || len(ended) > 0 {
				t.Error(got)
			}
			mu.Lock()
			defer mu.Unlock()
			order = slices.DeleteFunc(order, func(s string) bool { return s[0] == 's' })
			if want := []string{"far.test 2 1 5", "far.test 3 1 5", "far.test 4 1 5", "far.test 5 1 5", "far.test 6 1 5"}; !slices.Equal(order, want) {
				t.Errorf("%q", order)
			}
			if err := reg.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// In a process what was answered goes out at once, many in a frame; a Reset is not about it, and a
// process that was relieved says nothing.
func TestFarInAProcess(t *testing.T) {
	given := make(chan *extension.FarEvent, 100)
	reg := takes(func(e *extension.FarEvent) {
		if e.ID == 9 {
			e.Done(nil) // before it returns
			panic("no")
		}
		given <- e
	})
	p, receive := opened(t, &reg)
	event := func(id uint64, attempt uint32) *pluginv1.Event {
		m, err := codec.Event(farEvent(id, "far.test"))
		if err != nil {
			t.Fatal(err)
		}
		m.Attempt = attempt
		return m
	}
	receive(&pluginv1.KernelFrame{Events: []*pluginv1.Event{event(7, 3), event(8, 1), event(9, 1), event(10, 1)}})
	a, b, c := <-given, <-given, <-given
	if a.ID != 7 || a.Attempt != 3 || a.Domain != "far.test" || a.Received.UnixMicro() != 5 || b.ID != 8 || c.ID != 10 {
		t.Errorf("%+v, %+v, %+v", a, b, c)
	}
	receive(&pluginv1.KernelFrame{Resets: []*pluginv1.Reset{{Key: "far.test", Epoch: 5}}})
	c.Done(nil)
	b.Done(stanza.Err(stanza.RemoteServerNotFound, "no such server"))
	a.Done(errors.New("secret"))
	got := map[uint64]*pluginv1.Outcome{}
	for _, o := range outcomes(p, 4) {
		if got[o.Event] != nil {
			t.Errorf("two outcomes of %d", o.Event)
		}
		got[o.Event] = o
	}
	if got[9].GetFailure() != "" || got[10].GetError() != nil || got[10].GetFailure() != "" || got[8].GetError().GetCondition() != string(stanza.RemoteServerNotFound) || got[7].GetFailure() == "" {
		t.Errorf("%v", got)
	}
	receive(&pluginv1.KernelFrame{Events: []*pluginv1.Event{event(11, 1)}})
	last := <-given
	p.relieve()
	last.Done(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.m.Frame(0); len(f.GetOutcomes()) > 0 {
		t.Errorf("%v", f)
	}
}
