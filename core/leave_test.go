package core_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
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
