package core_test

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/carbons"
	"github.com/hexmpp/hexmpp/adapters/extension/csi"
	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// fuzzLimits are small, so that short inputs reach them.
func fuzzLimits(o *core.Options, p *core.Ports) {
	o.Limits = core.Limits{StanzaBytes: 10_000, StanzaBytesBefore: 10_000, Depth: 16, Attributes: 16, UnauthenticatedBytes: 20_000, OutboxBytes: 20_000, SessionsPerAccount: 3}
	with(extension.Registration{
		Name: "fuzz", Permissions: []extension.Permission{extension.SeeStanzas},
		IQ: []extension.IQHandler{{Space: "urn:x", Local: "q", To: extension.ToStream | extension.ToServer | extension.ToOwnAccount,
			Handle: func(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
				return q.Payload(), nil
			}}},
		Stages: []extension.StageHandler{{Stage: extension.Deliver, Class: extension.Decide,
			Handle: func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				return extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:mark", "m")}}, nil
			}}},
	}, mam.New(mam.Options{}), carbons.New(), csi.New(csi.Options{Presence: true, ChatStates: true, PEP: true}))(o, p)
	accounts(&source{})(o, p)
}

const (
	carbonsOn = "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
	inactive  = "<inactive xmlns='urn:xmpp:csi:0'/>"
)

// fuzzState is a place from which the fuzzer goes on; at the last there are two
// more clients of another account: one is available and inactive, both have carbons.
func fuzzState(n uint8) state {
	places := []string{"connected", "opened", "encrypted", "opened in clear", "authenticated", "unbound", "bound", "available"}
	name := places[int(n)%len(places)]
	for _, s := range states {
		if s.name == name {
			return s
		}
	}
	panic(name)
}

// FuzzStream feeds arbitrary bytes in arbitrary pieces to a stream in each of
// its states. Nothing panics, what is queued for a client that does not read
// is bounded, and nothing is left when the connections are gone.
func FuzzStream(f *testing.F) {
	for n, in := range []string{
		toUs, toUs + plain("romeo", "pw") + toUs + bindX, toUs + starttls + toUs + plain("romeo", "pw") + toUs + bindX + "<presence/>" + chatBadly + end,
		plain("romeo", "no") + plain("romeo", "pw"), authBy("SCRAM-SHA-256", b64([]byte("n,,n=romeo,r=abc"))) + response("biws") + "<abort " + nsSASL + "/>",
		"<iq type='set' id='1'><query xmlns='urn:xmpp:mam:2' queryid='q'><set xmlns='http://jabber.org/protocol/rsm'><before/></set><flip-page/></query></iq><iq type='set' id='2'><prefs xmlns='urn:xmpp:mam:2' default='roster'/></iq>",
		"<iq type='get' id='1'><q xmlns='urn:x'/></iq>" + end, bind("\u0009") + bind("a&lt;b") + bind("y"), "<message to='juliet@example.test/a'><body>hi</body></message>",
		"<presence><priority>5</priority></presence><presence type='unavailable'/><presence to='juliet@example.test'/><presence type='subscribe' to='juliet@example.test'/>",
		"<iq type='set' id='1' to='example.test'><q xmlns='urn:x'><a/>text</q></iq><iq type='result' id='1' to='juliet@example.test/a'/><message from='a@b@c'/>",
		"<iq type='get' id='2' to='example.test'><query xmlns='http://jabber.org/protocol/disco#info' node='x'/></iq><iq type='get' id='3' to='a@@'/>",
		"<a:message xmlns:a='jabber:client' to='romeo@example.test'><x xmlns='urn:y' xmlns:b='urn:b' b:c='d'><b:z/></x></a:message><foo/>",
		"<message to='far.test'/><message/><message type='groupchat' to='juliet@example.test'/><message type='headline' to='juliet@example.test'/> ",
		"<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence><presence><c xmlns='http://jabber.org/protocol/caps' hash='md5' node='n' ver='v'/></presence>",
		carbonsOn + inactive + "<message to='juliet@example.test/a' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message><presence to='juliet@example.test/a'/>" +
			"<message to='juliet@example.test/a' type='chat'><body/></message><message type='chat'><body/></message><active xmlns='urn:xmpp:csi:0'/>" + end,
		header("from='romeo@example.test' version='01.0' xml:lang='de'"), header("to='example.net'"), "\xef\xbb\xbf<?xml version='1.0'?>", "<!--", "</stream:stream>", "\x00",
	} {
		for place := range uint8(8) {
			f.Add(place, uint8(n), []byte(in))
		}
	}
	f.Fuzz(func(t *testing.T, place, cut uint8, in []byte) {
		w := newWorld(t, fuzzLimits)
		s := fuzzState(place)
		c := w.reach(s)
		var juliet []*client
		if s.name == "available" {
			juliet = []*client{w.login("juliet@example.test/a", "<presence/>").send(carbonsOn + inactive), w.login("juliet@example.test/b", "").send(carbonsOn)}
			c.take()
			for _, j := range juliet {
				j.take()
				j.stuck = true
			}
		}
		c.stuck = true
		asked := c.starttls
		for i := 0; len(in) > 0 && !c.closing; i++ {
			n := min(len(in), 1+(int(cut)*(i+1))%97)
			c.send(string(in[:n]))
			in = in[n:]
			if c.starttls > asked && !c.closing {
				asked = c.starttls
				c.secured(&transport.TLS{Version: tls.VersionTLS13})
			}
			if i%16 == 15 && !c.closing {
				c.tick(time.Now())
			}
		}
		// Escapes make up to six bytes of one.
		const most = 6 * (20_000 + 2*10_000)
		if n := len(c.s.Drain(nil, 1<<30)) + len(c.out); n > most {
			t.Errorf("%d bytes of output", n)
		}
		c.drop()
		for _, j := range juliet {
			if n := len(j.s.Drain(nil, 1<<30)); n > most {
				t.Errorf("%d bytes for another client", n)
			}
			j.drop()
		}
		w.empty()
		if asked > 1 {
			t.Error("TLS over TLS")
		}
	})
}
