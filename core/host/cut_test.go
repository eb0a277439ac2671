package host

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// contended is a store whose commits take their time, and come behind those of others.
type contended struct{ storage.Store }

func (s contended) Commit(context.Context, storage.Writes) error {
	time.Sleep(2 * cutEvents)
	return storage.ErrConflict
}

// An event whose outcome was being committed when those that are out were ended, and was
// not applied, is ended, too: nobody handles it any more, and Stop does not wait for it.
func TestConflictBehindTheEnd(t *testing.T) {
	for what, apply := range map[string]func(g *Guest, b *transport.Batch, e *extension.RemoteEvent, o *extension.Outcome, done func(error)){
		"alone": func(_ *Guest, b *transport.Batch, e *extension.RemoteEvent, o *extension.Outcome, done func(error)) {
			e.Owner.Apply(b, o, done)
		},
		"in a run": func(g *Guest, b *transport.Batch, e *extension.RemoteEvent, o *extension.Outcome, done func(error)) {
			kernel{g}.ApplyRun(b, []extension.Applied{{Owner: e.Owner, Outcome: o, Done: done}})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, _ := newHosts(1)
			h.Store = contended{h.Store}
			there := &box{}
			g := h.NewGuest(&extension.Registration{Name: "test", Remote: there}, nil, nil)
			var told notes[error]
			over := 0
			e := &Event{
				RemoteEvent: extension.RemoteEvent{Kind: extension.ToComponent, Key: "k"},
				Answer: func(_ *transport.Batch, _ *extension.Outcome, err error) transport.Wait {
					told.add(err)
					return nil
				},
				Over: func(*transport.Batch) { over++ },
			}
			if err := g.Dispatch(e, extension.Origin{}); err != nil {
				t.Fatal(err)
			}
			var b transport.Batch
			var done notes[error]
			apply(g, &b, there.take()[0], &extension.Outcome{Effects: func(h *extension.Host) error {
				h.Store.Put(jid.JID{}, "k", nil)
				return nil
			}}, done.add)
			began := time.Now()
			stop(t, h)
			synctest.Wait()
			if took := time.Since(began); took > 3*cutEvents {
				t.Errorf("%s: Stop took %v", what, took)
			}
			errs, ends := told.take(), done.take()
			if len(errs) != 1 || errs[0] == nil || over != 1 || len(ends) != 1 || !errors.Is(ends[0], extension.ErrConflict) {
				t.Errorf("%s: told %v, %d times over, done %v", what, errs, over, ends)
			}
			e.Apply(&b, &extension.Outcome{}, done.add) // by a process that was given it again
			if ends := done.take(); len(ends) != 1 || !errors.Is(ends[0], errOver) {
				t.Errorf("%s: a later outcome: %v", what, ends)
			}
		})
	}
}
