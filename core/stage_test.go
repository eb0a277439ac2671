package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

type stageFunc = func(ctx context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error)

// staged returns an extension with one stage handler.
func staged(stage extension.Stage, class extension.Class, handle stageFunc) extension.Registration {
	return extension.Registration{Name: "staged", Permissions: []extension.Permission{extension.SeeStanzas},
		Stages: []extension.StageHandler{{Stage: stage, Class: class, Handle: handle}}}
}

// A Swap of a stage handler that fails has the handlers of the stage run again.
func TestSwapConflictOfAStage(t *testing.T) {
	runs, always := 0, false
	var store storage.Store
	interfere := func(ctx context.Context) {
		if runs++; runs == 1 || always {
			if err := store.Commit(ctx, storage.Writes{Ops: hostOps("staged", "n", fmt.Sprint("other", runs))}); err != nil {
				t.Error(err)
			}
		}
	}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		store = p.Store
		with(staged(extension.Deliver, extension.Decide, func(ctx context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			if e.Stanza.Type == stanza.TypeError { // the refusal, on its way to romeo
				return extension.Verdict{}, nil
			}
			old, _, err := h.Store.Get(ctx, jid.JID{}, "n")
			if err != nil {
				return extension.Verdict{}, err
			}
			interfere(ctx)
			h.Store.Swap(jid.JID{}, "n", append(old.Value, '!'), old.Revision)
			return extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:mark", "m").WithText(string(old.Value))}}, nil
		}))(o, p)
	})
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	const message = "<message id='1' to='juliet@example.test/a'><body>hi</body></message>"
	romeo.send(message)
	juliet.wantPart("<body>hi</body><m xmlns='urn:mark'>other1</m></message>")
	if e, err := store.Get(t.Context(), "staged", jid.JID{}, "n"); runs != 2 || err != nil || string(e.Value) != "other1!" {
		t.Errorf("%d runs, %q, %v", runs, e.Value, err)
	}
	runs, always = 0, true
	romeo.send(message).wantPart("<resource-constraint ")
	juliet.want("")
	if runs != 3 {
		t.Errorf("%d runs of a handler that never succeeds", runs)
	}
}

// An Observe handler whose write fails refuses nothing.
func TestObserverThatCannotWrite(t *testing.T) {
	w := newWorld(t, with(staged(extension.Submit, extension.Observe, func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
		h.Store.Put(jid.MustParse("nobody@example.test"), "k", nil)
		return extension.Verdict{}, nil
	})))
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	romeo.send("<message id='1' to='juliet@example.test/a'><body>hi</body></message>").want("")
	juliet.wantPart("<body>hi</body>")
}

// canceled is a store that looks at the context first.
type canceled struct{ storage.Store }

func (c canceled) Commit(ctx context.Context, w storage.Writes) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.Store.Commit(ctx, w)
}

// A stanza that was taken reaches its addressee even if the connection of its
// sender ends before it is stored.
func TestSenderThatIsGone(t *testing.T) {
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		p.Store = canceled{p.Store}
		with(staged(extension.Submit, extension.Decide, func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			h.Store.Put(jid.JID{}, "k", nil)
			return extension.Verdict{}, nil
		}))(o, p)
	})
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	var b transport.Batch
	wait := romeo.s.Feed(&b, []byte("<message id='1' to='juliet@example.test/a'><body>hi</body></message>"))
	b.Flush()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	wait(gone)
	juliet.wantPart("<body>hi</body>")
}

// RFC 6120 10.1: the answer of a handler does not overtake what was sent to the
// same client before, though its delivery waits for storage.
func TestAnswersStayInOrder(t *testing.T) {
	reg := staged(extension.Deliver, extension.Decide, func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
		if e.Stanza.Type == stanza.Result && e.Stanza.ID == "1" { // the first answer waits, the second does not
			h.Store.Put(jid.JID{}, "k", nil)
		}
		return extension.Verdict{}, nil
	})
	reg.IQ = answering(true, func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) { return nil, nil }).IQ
	w := newWorld(t, with(reg))
	romeo := w.login("romeo@example.test/x", "")
	romeo.send(ask + strings.Replace(ask, "id='1'", "id='2'", 1))
	romeo.want("<iq from='example.test' to='romeo@example.test/x' id='1' type='result'/><iq from='example.test' to='romeo@example.test/x' id='2' type='result'/>")
}

// Stop of an extension comes when its last handler has returned, with a context
// that has not ended, even if the shutdown is cut off.
func TestStopComesBehindHandlers(t *testing.T) {
	var running atomic.Int32
	stopped := false
	entered := make(chan struct{})
	reg := answering(false, func(ctx context.Context, _ *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		running.Add(1)
		close(entered)
		<-ctx.Done()
		running.Add(-1)
		return nil, ctx.Err()
	})
	reg.Stop = func(ctx context.Context) error {
		stopped = true
		if n := running.Load(); n != 0 || ctx.Err() != nil {
			t.Errorf("%d handlers run, context: %v", n, ctx.Err())
		}
		return nil
	}
	w := newWorld(t, with(reg))
	romeo := w.login("romeo@example.test/x", "")
	var b transport.Batch
	wait := romeo.s.Feed(&b, []byte(ask))
	done := make(chan struct{})
	go func() { defer close(done); wait(context.Background()) }()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.k.Shutdown(ctx); !errors.Is(err, context.Canceled) || !stopped {
		t.Errorf("%v, stopped %v", err, stopped)
	}
	<-done
	romeo.take()
	romeo.reap()
	w.empty()
}

func TestDomainsStayTheCallers(t *testing.T) {
	domains := []string{"EXAMPLE.test"}
	var p core.Ports
	newPorts(&p)
	if _, err := core.New(core.Options{Domains: domains}, p); err != nil || domains[0] != "EXAMPLE.test" {
		t.Error(err, domains)
	}
}
