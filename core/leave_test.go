package core_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// feed is one turn; what it leaves to wait for runs beside the test. done is closed
// when all of it has been done.
func (c *client) feed(xml string) (done <-chan struct{}) {
	var b transport.Batch
	wait := c.s.Feed(&b, []byte(xml))
	b.Flush()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for wait != nil {
			wait(context.Background())
			var b transport.Batch
			wait = c.s.Feed(&b, nil)
			b.Flush()
		}
		c.w.k.Settle(c.s)
	}()
	return ended
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// The end of a session is told behind its presence that is still on its way, and
// before anything of the session that takes its place: nobody is left with a
// ghost, nor believes that who is there has gone.
func TestEndBehindPresenceThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, armed := make(chan struct{}), false
		reg := staged(extension.Deliver, extension.Decide, func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			if armed && e.Stanza.Kind == stanza.Presence && e.Stanza.Type == "" {
				h.Store.Put(e.Account, "k", nil) // the first one waits, the end would not
			}
			return extension.Verdict{}, nil
		})
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			p.Store = &gate{Store: anybody{p.Store}, before: func() { <-goOn }}
			with(reg)(o, p)
		})
		befriend(w, "romeo@example.test", "juliet@example.test")
		juliet, old := w.im("juliet@example.test/a"), w.login("romeo@example.test/x", "")
		armed = true
		told := old.feed("<presence/>")
		synctest.Wait()
		fresh := w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test")
		fresh.take()
		bound := fresh.feed("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind></iq>")
		synctest.Wait()
		if closed(told) || closed(bound) {
			t.Errorf("presence went on its way: %v, the new session too: %v", closed(told), closed(bound))
		}
		juliet.want("")
		close(goOn)
		<-told
		<-bound
		fresh.wantPart("<jid>romeo@example.test/x</jid>")
		fresh.send("<presence><show>away</show></presence>")
		synctest.Wait()
		juliet.want("<presence from='romeo@example.test/x' to='juliet@example.test'/>" +
			"<presence from='romeo@example.test/x' to='juliet@example.test' type='unavailable'/>" +
			"<presence from='romeo@example.test/x' to='juliet@example.test'><show>away</show></presence>")
		old.reap()
	})
}

// slowLists is a store in which lists are found as soon as the test wants.
type slowLists struct {
	storage.Store
	goOn chan struct{}
}

func (s *slowLists) Get(ctx context.Context, space string, owner jid.JID, key string) (storage.Entry, error) {
	<-s.goOn
	return s.Store.Get(ctx, space, owner, key)
}

// What a session left goes in front of what comes later, also when an extension has
// to read of the account first, as it has behind a start.
func TestWhatIsLeftMayWaitForItsStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listing{stages: []extension.Stage{extension.Recall}}
		goOn := make(chan struct{})
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			with(l.registration())(o, p)
			p.Order[extension.Recall] = []string{"listing"}
			o.Offline = offline.Options{Messages: 100}
			p.Store = &slowLists{Store: accountsIn(t, "juliet@example.test"), goOn: goOn}
		})
		romeo, a := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		a.manage()
		romeo.send(say(1))
		a.hears("1")
		b := w.login("juliet@example.test/a", "") // takes its place
		b.send("<presence/>")
		synctest.Wait()
		b.want("")
		close(goOn)
		synctest.Wait()
		if out := b.take(); !strings.Contains(out, "<body>1</body>") || strings.Index(out, "<body>1</body>") > strings.Index(out, "<presence ") {
			t.Errorf("got %s", out)
		}
	})
}
