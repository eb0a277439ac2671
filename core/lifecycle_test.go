package core_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Extensions start in order and stop backwards; one that fails stops those
// before it.
func TestStartAndStop(t *testing.T) {
	var calls []string
	failing := ""
	reg := func(name string) extension.Registration {
		return extension.Registration{Name: name,
			Start: func(_ context.Context, h *extension.Host) error {
				calls = append(calls, "+"+name)
				h.Store.Put(jid.JID{}, "k", []byte(name))
				if name == failing {
					return errors.New("no luck")
				}
				return nil
			},
			Stop: func(context.Context) error { calls = append(calls, "-"+name); return nil },
		}
	}
	for fail, want := range map[string]string{"": "+a +b +c -c -b -a", "a": "+a", "c": "+a +b +c -b -a"} {
		o := core.Options{Domains: []string{"example.test"}}
		var p core.Ports
		newPorts(&p)
		with(reg("a"), reg("b"), reg("c"))(&o, &p)
		k, err := core.New(o, p)
		if err != nil {
			t.Fatal(err)
		}
		calls, failing = nil, fail
		err = k.Start(t.Context())
		if (err != nil) != (fail != "") || err != nil && !strings.Contains(err.Error(), "extension "+fail+": start: no luck") {
			t.Errorf("%q: %v", fail, err)
		}
		if fail == "" {
			if err := k.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if got := strings.Join(calls, " "); got != want {
			t.Errorf("%q fails: %s, want %s", fail, got, want)
		}
		for _, name := range []string{"a", "b", "c"} { // what a handler asked for is applied, unless it failed
			_, err := p.Store.Get(t.Context(), name, jid.JID{}, "k")
			if started := strings.Contains(want, "+"+name) && name != fail; (err == nil) != started {
				t.Errorf("%q fails: entry of %s: %v", fail, name, err)
			}
		}
	}
}

// A connection that never goes away does not hold up the end for ever.
func TestShutdownThatIsCutOff(t *testing.T) {
	stopped := false
	w := newWorld(t, with(extension.Registration{Name: "a", Stop: func(context.Context) error { stopped = true; return nil }}))
	c := w.login("romeo@example.test/x", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.k.Shutdown(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "streams did not end") {
		t.Error(err)
	}
	if !stopped || !c.closing {
		t.Error("extensions were not stopped, or the stream was not ended")
	}
	c.want(faultText("system-shutdown", "the server is shutting down"))
	c.reap()
	w.empty()
}

// punctual is a store in which nothing is stored while it is down, or too late.
type punctual struct {
	storage.Store
	down atomic.Bool
}

func (p *punctual) AddOfflineAll(ctx context.Context, owner jid.JID, all []storage.OfflineMessage) error {
	if p.down.Load() {
		return errors.New("down")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.Store.AddOfflineAll(ctx, owner, all)
}

// A client that reads nothing takes all the time that a stop has: what ended sessions
// left is tried once more all the same, and what the client did not get is stored.
func TestStopWithAClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store *punctual
		r := newRestarted(t, func(_ *core.Options, p *core.Ports) {
			store = &punctual{Store: p.Store}
			p.Store, p.Spool, p.Saved = store, nil, nil
		})
		romeo, juliet, nurse := r.im("romeo@example.test/x"), r.im("juliet@example.test/a"), r.im("nurse@example.test/n")
		store.down.Store(true)
		nurse.manage()
		romeo.send("<message to='nurse@example.test/n' type='chat' id='1'><body>left</body></message>")
		nurse.send("</stream:stream>")
		synctest.Wait()
		store.down.Store(false) // it is not tried again for a while
		juliet.stuck = true
		romeo.send(say(1) + say(2))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- r.k.Shutdown(ctx) }()
		synctest.Wait()
		romeo.reap()
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "cut off") {
			t.Error(err)
		}
		juliet.drop() // what it left is not left again
		for owner, n := range map[string]int{"nurse@example.test": 1, "juliet@example.test": 2} {
			if all, err := r.store.OfflineMessages(t.Context(), jid.MustParse(owner), 0, 10); err != nil || len(all) != n {
				t.Errorf("%s: stored %d, want %d: %v", owner, len(all), n, err)
			}
		}
	})
}

func TestDomainsAreChecked(t *testing.T) {
	for _, domains := range [][]string{nil, {"a@example.test"}, {"example.test/x"}, {""}, {"ok.test", "not a domain"}} {
		var p core.Ports
		newPorts(&p)
		if _, err := core.New(core.Options{Domains: domains}, p); err == nil {
			t.Errorf("%q is accepted", domains)
		}
	}
}
