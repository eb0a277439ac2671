package core_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// XEP-0198 4: a message to a far domain is safe when the spool has it on disk, and stays there until it
// has an answer. A peer that is away holds up neither the stream nor a resumption.
func TestFarMessagesAreSafeInTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, sp := &elsewhere{}, &spool{}
		w := spooledWorld(t, sp, with(others(x)))
		defer x.close()
		romeo := w.login("romeo@example.test/x", "")
		id := romeo.manage()
		const far = "<message to='juliet@far.test' id='1' type='chat'><body>1</body></message>"
		romeo.send(far + "<message to='juliet@far.test' id='2' type='headline'><body>2</body></message><presence to='juliet@far.test'/>" + far)
		romeo.send(askAck).want(ack(0))
		sp.sync(1)
		romeo.want(ack(3))
		sp.sync(2)
		romeo.want(ack(4))
		sp.wantHeld(t, 2)
		time.Sleep(time.Hour)
		romeo.cut()
		romeo = w.resume("romeo@example.test", id, 0)
		romeo.wantPart("<resumed xmlns='urn:xmpp:sm:3' h='4' ")
		romeo.take()
		if err := apply(x.next(t), &extension.Outcome{}); err != nil {
			t.Error(err)
		}
		sp.wantHeld(t, 1)
		for len(x.waiting) > 0 {
			_ = apply(x.next(t), &extension.Outcome{Err: stanza.Err(stanza.RemoteServerTimeout, "")})
		}
		sp.wantHeld(t, 0)
		romeo.wantPart("id='1' type='error'><error type='wait'><remote-server-timeout")
		// What is refused at once is in hand.
		x.refuses(errors.Join(extension.ErrFull))
		romeo.send(far).wantPart("<resource-constraint")
		sp.wantHeld(t, 0)
		sp.sync(3)
		romeo.send(askAck).wantPart("h='5'")
	})
}

// After a kill what was on its way to far domains comes back to who had sent it, once, and goes there no more.
func TestFarRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		sp := &spool{old: []storage.SpoolRecord{{ID: 1, Stamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), To: jid.MustParse("romeo@example.test"),
			Stanza: stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: "m", From: jid.MustParse("romeo@example.test/x"), To: jid.MustParse("juliet@far.test/b")},
				stanza.El("", "body").WithText("secret"))}}}
		w := spooledWorld(t, sp, func(o *core.Options, p *core.Ports) {
			p.Store = accountsIn(t, "romeo@example.test")
			with(others(x))(o, p)
		})
		defer x.close()
		sp.wantHeld(t, 0)
		romeo := w.login("romeo@example.test/y", "")
		romeo.send("<presence/>")
		romeo.until("<message from='juliet@far.test/b' to='romeo@example.test' id='m' type='error'><error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>")
		wantFar(t, x)
	})
}

// A stop does not wait for peers that are away.
func TestStopDoesNotWaitForFarDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(others(x)))
		romeo := w.login("romeo@example.test/x", "")
		romeo.send("<message to='juliet@far.test' id='1'><body>1</body></message>")
		romeo.drop()
		began := time.Now()
		if err := w.k.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*time.Second { // of the test's own clock
			t.Errorf("it took %v", took)
		}
		fail(x.next(t), extension.ErrDown) // is nothing any more
	})
}
