package core_test

import (
	"context"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/transport"
)

func TestStartTLS(t *testing.T) {
	const failed = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + end
	runAll(t, []dialogue{
		{rule: "RFC 6120 5.4.2.3 proceed", peer: inClear, steps: []step{{toUs, hello("") + mustTLS}, {starttls, proceed}}},
		{rule: "RFC 6120 5.4.2.2 not offered: there is no certificate", peer: noTLS, ends: true, steps: []step{{toUs, hello("") + features("")}, {starttls, failed}}},
		{rule: "RFC 6120 5.4.2.2 not offered: TLS is there", peer: overTLS, ends: true, steps: []step{{toUs, hello("") + loginOffer}, {starttls, failed}}},
		{rule: "RFC 6120 5.2 before the header", peer: inClear, ends: true, steps: []step{{starttls, hello("") + faultText("bad-format", "stream header expected")}}},
	})
	w := newWorld(t, nil)
	for _, s := range states {
		c := w.reach(s)
		if want := s.name == "TLS under way" || s.name == "encrypted"; (c.starttls == 1) != want || c.starttls > 1 {
			t.Errorf("%s: TLS was asked for %d times", s.name, c.starttls)
		}
	}
	for _, row := range []struct {
		peer transport.Peer
		last string
	}{{noTLS, starttls}, {overTLS, starttls}, {inClear, "<foo xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}} {
		c := w.dial(row.peer)
		c.send(toUs).send(row.last)
		if c.starttls != 0 || !c.closing {
			t.Errorf("%s: TLS was asked for", row.last)
		}
	}
}

// RFC 6120 5.4.3.3: nothing that came in clear counts behind TLS.
func TestStartTLSInjection(t *testing.T) {
	injected := toUs + plain("mallory", "pw") + toUs + bindX
	for _, row := range []struct{ rule, before, behind string }{
		{"whole elements", "", injected},
		{"half an element", "", injected[:len(injected)-10]},
		{"half a header", "", toUs[:30]},
		{"what would end the stream", "", "</nonsense>\x00"},
		{"white space before", "  ", " " + injected},
	} {
		t.Run(row.rule, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.dial(inClear)
			c.send(header("to='example.net' from='mallory@example.net' version='1.0'"))
			c.take()
			c.send(row.before + starttls + row.behind)
			c.want(proceed)
			if c.closing || c.starttls != 1 {
				t.Fatalf("closed %v, TLS %d", c.closing, c.starttls)
			}
			c.secured(overTLS.TLS)
			c.want("")
			c.send(strings.Replace(toUs, "to='example.test'", "to='example.test' from='romeo@example.test'", 1))
			c.want(hello(" to='romeo@example.test'") + loginOffer)
			c.send(plain("romeo", "pw")).want(success)
			c.send(toUs).want(hello("") + bindOffer)
			c.send(bindX).want(boundX)
		})
	}
	t.Run("a login in clear is forgotten", func(t *testing.T) {
		w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.TLSRequired = false })
		c := w.dial(inClear)
		c.send(toUs).take()
		c.send("<auth " + nsSASL + " mechanism='SCRAM-SHA-256'/>").want("<challenge " + nsSASL + "></challenge>")
		c.send(starttls).want(proceed)
		c.secured(overTLS.TLS)
		c.send(toUs).take()
		c.send("<response " + nsSASL + ">biws</response>").wantPart("<malformed-request/>")
	})
	t.Run("from in clear is not believed", func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.dial(inClear)
		c.send(header("to='example.test' from='mallory@example.test' version='1.0'")).send(starttls)
		c.take()
		c.secured(overTLS.TLS)
		c.send("oops").want(hello("") + faultText("not-well-formed", "stream header expected"))
	})
}

// A handshake that fails, or a client that is gone before: the kernel forgets
// the stream.
func TestHandshakeFails(t *testing.T) {
	w := newWorld(t, nil)
	c := w.reach(state{peer: inClear, sent: []string{toUs, starttls}})
	var b transport.Batch
	c.s.Closed(&b, context.DeadlineExceeded)
	b.Flush()
	c.gone = true
	w.empty()
}
