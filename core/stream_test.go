package core_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/transport"
)

func header(attrs string) string {
	return "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' " + attrs + ">"
}

func TestStreamHeader(t *testing.T) {
	const tooOld = "streams of XMPP 1.0 only"
	runAll(t, []dialogue{
		{rule: "RFC 6120 4.7 header and features", peer: inClear, steps: []step{{toUs, hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.2 to is the bare JID of from", peer: inClear, steps: []step{
			{header("to='example.test' version='1.0' from='Romeo@Example.Test/orchard'"), hello(" to='romeo@example.test'") + mustTLS}}},
		{rule: "RFC 6120 4.7.2 a malformed from is as none", peer: inClear, steps: []step{
			{header("to='example.test' version='1.0' from='a@@b'"), hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.2 from needs no account here", peer: inClear, steps: []step{
			{header("to='example.test' version='1.0' from='a&amp;b@far.test'"), hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.2 no to", peer: inClear, steps: []step{{header("version='1.0'"), hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.2 to is prepared", peer: inClear, steps: []step{{header("to='EXAMPLE.test' version='1.0'"), hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.2 another hosted domain", peer: inClear, steps: []step{
			{header("to='example.net' version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + mustTLS}}},
		{rule: "RFC 6120 4.7.4 the client's language does not change ours", peer: inClear, steps: []step{
			{header("to='example.test' version='1.0' xml:lang='de'"), hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.5 a higher version gets ours", peer: inClear, steps: []step{{header("to='example.test' version='11.0'"), hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.5 a higher minor version", peer: inClear, steps: []step{{header("to='example.test' version='1.13'"), hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.5 leading zeros", peer: inClear, steps: []step{{header("to='example.test' version='01.00'"), hello("") + mustTLS}}},
		{rule: "RFC 6120 4.7.5 rule 4 no version", peer: inClear, ends: true, steps: []step{
			{header("to='example.test'"), hello("") + faultText("unsupported-version", tooOld)}}},
		{rule: "RFC 6120 4.7.5 version 0.9", peer: inClear, ends: true, steps: []step{
			{header("to='example.test' version='0.9'"), hello("") + faultText("unsupported-version", tooOld)}}},
		{rule: "RFC 6120 4.7.5 no version and no to", peer: inClear, ends: true, steps: []step{
			{header(""), hello("") + faultText("unsupported-version", tooOld)}}},
		{rule: "RFC 6120 4.7.5 not a version", peer: inClear, ends: true, steps: []step{
			{header("to='example.test' version='one'"), hello("") + faultText("unsupported-version", tooOld)}}},

		{rule: "RFC 6120 4.9.3.6 an unknown host; from is the default domain", peer: inClear, ends: true, steps: []step{
			{header("to='far.test' version='1.0'"), hello("") + fault("host-unknown")}}},
		{rule: "RFC 6120 4.9.3.6 a subdomain", peer: inClear, ends: true, steps: []step{
			{header("to='x.example.test' version='1.0'"), hello("") + fault("host-unknown")}}},
		{rule: "RFC 6120 4.9.3.6 to is an account", peer: inClear, ends: true, steps: []step{
			{header("to='romeo@example.test' version='1.0'"), hello("") + fault("host-unknown")}}},
		{rule: "RFC 6120 4.9.3.6 to is a full JID", peer: inClear, ends: true, steps: []step{
			{header("to='example.test/x' version='1.0'"), hello("") + fault("host-unknown")}}},
		{rule: "RFC 6120 4.9.3.6 to is no JID", peer: inClear, ends: true, steps: []step{
			{header("to='a@b@c' version='1.0'"), hello("") + fault("host-unknown")}}},
		{rule: "RFC 6120 4.9.3.6 the error goes to from, too", peer: inClear, ends: true, steps: []step{
			{header("to='far.test' version='1.0' from='a@far.test'"), hello(" to='a@far.test'") + fault("host-unknown")}}},
		{rule: "RFC 6120 4.8.2 content namespace of servers", peer: inClear, ends: true, steps: []step{
			{strings.Replace(toUs, "jabber:client", "jabber:server", 1), hello("") + faultText("invalid-namespace", "the content namespace is jabber:client")}}},

		{rule: "RFC 6120 4.9.1.2 wrong stream namespace", peer: inClear, ends: true, steps: []step{
			{strings.Replace(toUs, "etherx.jabber.org", "wrong.example", 1), hello("") + faultText("invalid-namespace", "the stream namespace is http://etherx.jabber.org/streams")}}},
		{rule: "RFC 6120 4.9.1.2 not well-formed", peer: inClear, ends: true, steps: []step{
			{"GET / HTTP/1.1\r\n\r\n", hello("") + faultText("not-well-formed", "stream header expected")}}},
		{rule: "RFC 6120 4.9.1.2 no stream header but a stanza", peer: inClear, ends: true, steps: []step{
			{"<message/>", hello("") + faultText("bad-format", "stream header expected")}}},
		{rule: "RFC 6120 4.9.1.2 after SASL, too", peer: overTLS, ends: true, steps: []step{
			{toUs, hello("") + loginOffer}, {plain("romeo", "pw"), success}, {"<message/>", hello("") + faultText("bad-format", "stream header expected")}}},
		{rule: "RFC 6120 4.9.1.1 behind our header there is no second one", peer: inClear, ends: true, steps: []step{
			{toUs, hello("") + mustTLS}, {"<a></b>", faultText("not-well-formed", "end tag does not match the start tag")}}},
		{rule: "RFC 6120 11.6 another encoding", peer: inClear, ends: true, steps: []step{
			{"\xfe\xff\x00<", hello("") + faultText("unsupported-encoding", "not UTF-8")}}},

		{rule: "RFC 6120 4.3.3 the domain can't change with the stream", peer: overTLS, ends: true, steps: []step{
			{toUs, hello("") + loginOffer}, {plain("romeo", "pw"), success},
			{header("to='example.net' version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + faultText("host-unknown", "the stream was opened to example.test")}}},
		{rule: "RFC 6120 4.3.3 it is kept where to is left out", peer: overTLS, steps: []step{
			{header("to='example.net' version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + loginOffer}, {plain("romeo", "pw"), success},
			{header("version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + bindOffer}}},
		{rule: "RFC 6120 4.3.3 the version is checked again", peer: overTLS, ends: true, steps: []step{
			{toUs, hello("") + loginOffer}, {plain("romeo", "pw"), success}, {header(""), hello("") + faultText("unsupported-version", tooOld)}}},

		{rule: "RFC 6066 3 SNI and to agree", peer: sni("example.test"), steps: []step{{toUs, hello("") + loginOffer}}},
		{rule: "RFC 6066 3 SNI in capitals", peer: sni("Example.TEST"), steps: []step{{toUs, hello("") + loginOffer}}},
		{rule: "RFC 6066 3 SNI and to disagree", peer: sni("example.net"), ends: true, steps: []step{
			{toUs, hello("") + faultText("host-unknown", "the TLS handshake asked for example.net")}}},
		{rule: "RFC 6066 3 SNI is the name of the machine", peer: sni("xmpp1.example.org"), steps: []step{{toUs, hello("") + loginOffer}}},
		{rule: "RFC 6120 4.7.2 SNI stands in for to", peer: sni("example.net"), steps: []step{
			{header("version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + loginOffer}}},
		{rule: "RFC 6066 3 SNI is nonsense", peer: sni("a@b@c"), steps: []step{{toUs, hello("") + loginOffer}}},
	})
}

func TestStreamFeatures(t *testing.T) {
	cb := "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/><channel-binding type='tls-server-end-point'/></sasl-channel-binding>"
	endPoint := overTLS
	endPoint.TLS = &transport.TLS{EndPoint: []byte("x")}
	optional := features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + mechanisms(scramOffer))
	runAll(t, []dialogue{
		{rule: "RFC 6120 5.3.1 TLS is required", peer: inClear, steps: []step{{toUs, hello("") + mustTLS}}},
		{rule: "RFC 6120 5.3.1 TLS is required and can't be had", peer: noTLS, steps: []step{{toUs, hello("") + features("")}}},
		{rule: "RFC 6120 5.3.1 TLS is optional; 13.8.3 no PLAIN", peer: inClear, change: clearAllowed, steps: []step{{toUs, hello("") + optional}}},
		{rule: "RFC 6120 5.3.1 on loopback TLS is required all the same", peer: loopback, steps: []step{{toUs, hello("") + features("")}}},
		{rule: "PLAIN on loopback where logins without TLS are allowed", peer: loopback, change: clearAllowed, steps: []step{{toUs, hello("") + loginOffer}}},
		{rule: "PLAIN on loopback, mapped to IPv6", peer: mapped, change: clearAllowed, steps: []step{{toUs, hello("") + loginOffer}}},
		{rule: "RFC 6120 6.4.1 no STARTTLS on TLS", peer: overTLS, steps: []step{{toUs, hello("") + loginOffer}}},
		{rule: "XEP-0440 the types of channel binding", peer: bindable, steps: []step{
			{toUs, hello("") + features(mechanisms(plusOffer+scramOffer+plainOffer)+cb)}}},
		{rule: "XEP-0440 one type", peer: endPoint, steps: []step{
			{toUs, hello("") + features(mechanisms(plusOffer+scramOffer+plainOffer)+strings.Replace(cb, "<channel-binding type='tls-exporter'/>", "", 1))}}},
		{rule: "RFC 6120 6.3.4 after SASL bind, and no mechanisms", peer: bindable, steps: []step{
			{toUs, hello("") + features(mechanisms(plusOffer+scramOffer+plainOffer)+cb)}, {plain("romeo", "pw"), success}, {toUs, hello("") + bindOffer}}},
	})
}

// RFC 6120 4.7.3: unique, and 13.9 unpredictable.
func TestStreamID(t *testing.T) {
	w := newWorld(t, nil)
	id := regexp.MustCompile(` id='([^']*)'`)
	seen := map[string]bool{}
	add := func(c *wire) {
		m := id.FindStringSubmatch(c.take())
		if m == nil || len(m[1]) != 24 || seen[m[1]] {
			t.Errorf("stream id %q, seen before: %v", m, m != nil && seen[m[1]])
			return
		}
		seen[m[1]] = true
	}
	for range 20 {
		c := w.dial(overTLS)
		c.send(toUs)
		add(c)
		c.send(plain("romeo", "pw")).take()
		c.send(toUs)
		add(c)
		c = w.dial(inClear)
		c.send("oops")
		add(c)
	}
	for i := range 24 { // no place is the same in all of them
		letters := map[byte]bool{}
		for s := range seen {
			letters[s[i]] = true
		}
		if len(letters) < 5 {
			t.Errorf("character %d is one of %d only", i, len(letters))
		}
	}
}

func TestStreamEndsInEachState(t *testing.T) {
	for _, s := range states {
		t.Run("RFC 6120 4.4 the client closes/"+s.name, func(t *testing.T) {
			switch s.name {
			case "connected", "half a header", "encrypted", "authenticated", "half a stanza", "TLS under way":
				t.Skip("an end tag has no place here")
			}
			w := newWorld(t, nil)
			c := w.reach(s)
			other := w.login("romeo@example.test/other", "<presence/>")
			c.take()
			c.send(" " + end + "<message to='romeo@example.test/other'/>")
			c.want(end)
			if !c.closing {
				t.Error("the connection stays open")
			}
			if s.name == "available" {
				other.want("<presence from='romeo@example.test/x' to='romeo@example.test' type='unavailable'/>")
			}
			other.want("") // nothing behind the end counts
			other.drop()
			w.empty()
		})
		t.Run("RFC 6120 4.6 the connection is lost/"+s.name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.reach(s)
			other := w.login("romeo@example.test/other", "<presence/>")
			c.take()
			c.drop()
			if s.name == "available" {
				other.want("<presence from='romeo@example.test/x' to='romeo@example.test' type='unavailable'/>")
			}
			other.want("")
			if out := c.s.Drain(nil, 1<<20); len(out) > 0 {
				t.Errorf("output for a connection that is gone: %s", out)
			}
			other.drop()
			w.empty()
		})
		t.Run("RFC 6120 4.9.3.14 an element that is too big/"+s.name, func(t *testing.T) {
			w := newWorld(t, func(o *core.Options, _ *core.Ports) {
				o.Limits.StanzaBytes, o.Limits.StanzaBytesBefore = 10_000, 10_000
			})
			c := w.reach(s)
			c.send(strings.Repeat("<a>", 1000))
			for i := 0; i < 30 && !c.closing; i++ {
				c.send(strings.Repeat("x", 1000))
			}
			if out := c.take(); !c.closing || !strings.HasSuffix(out, "</stream:error>"+end) {
				t.Errorf("closed %v: %s", c.closing, out)
			}
			w.empty()
		})
		t.Run("RFC 6120 4.9.3.20 shutdown/"+s.name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.reach(s)
			done := make(chan error)
			c.other = &other{make(chan struct{}), make(chan struct{})}
			go func() { done <- w.k.Shutdown(context.Background()) }()
			<-c.other.closed
			<-c.other.flushed
			c.client.Flush()
			want := faultText("system-shutdown", "the server is shutting down")
			switch s.name {
			case "connected", "half a header", "encrypted", "authenticated":
				want = hello("") + want // RFC 6120 4.9.1.2
			}
			c.want(want)
			c.drop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			late := w.dial(overTLS) // accepted while the listeners stop
			late.reap()
			late.want(hello("") + want[strings.Index(want, "<stream:error>"):])
			w.empty()
		})
	}
}

// A stream that has ended ignores whatever an adapter may still hand over.
func TestStreamThatHasEnded(t *testing.T) {
	w := newWorld(t, nil)
	for _, s := range states {
		c := w.reach(s)
		var b transport.Batch
		if s.name == "connected" || s.name == "encrypted" || s.name == "authenticated" {
			c.s.Feed(&b, []byte("x"))
		} else {
			c.s.Feed(&b, []byte("'></>"))
		}
		b.Flush()
		if !c.closing || !strings.HasSuffix(c.take(), end) {
			t.Errorf("%s: the stream goes on", s.name)
		}
		if wait := c.s.Feed(&b, []byte(toUs+bindX+end)); wait != nil {
			t.Errorf("%s: a stream that has ended waits", s.name)
		}
		c.s.Secured(&b, overTLS.TLS)
		if next := c.s.Tick(&b, time.Now().Add(time.Hour)); !next.IsZero() {
			t.Errorf("%s: it wants another tick", s.name)
		}
		b.Flush()
		c.want("")
		c.drop()
	}
	w.empty()
}

func TestNegotiationTime(t *testing.T) {
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			start := time.Now()
			w := newWorld(t, func(o *core.Options, p *core.Ports) {
				o.Limits.UnauthenticatedTime = 20 * time.Second
				p.Now = func() time.Time { return start }
			})
			c := w.reach(s)
			bound := s.name == "bound" || s.name == "available" || s.name == "half a stanza"
			next := c.tick(start)
			switch {
			case bound && next.Before(start.Add(time.Minute)):
				t.Error("a bound stream wants many ticks")
			case !bound && (next.IsZero() || next.After(start.Add(20*time.Second))):
				t.Errorf("the next tick is wanted %v", next)
			}
			c.tick(start.Add(20*time.Second - 1))
			c.want("")
			next = c.tick(start.Add(20 * time.Second))
			if bound {
				c.want("")
				return
			}
			out := c.take()
			if !strings.HasSuffix(out, faultText("connection-timeout", "the login took too long")) || !c.closing || !next.IsZero() {
				t.Errorf("%s, closed %v, next %v", out, c.closing, next)
			}
			w.empty()
		})
	}
}

func TestUnauthenticatedBytes(t *testing.T) {
	w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Limits.UnauthenticatedBytes = 20_000 })
	c := w.reach(state{peer: overTLS, sent: []string{toUs}})
	sent := len(toUs)
	for !c.closing && sent < 30_000 {
		c.send(strings.Repeat(" ", 100)) // white space counts
		sent += 100
	}
	if sent < 20_000 || sent > 20_100 {
		t.Errorf("closed after %d bytes", sent)
	}
	c.want(faultText("policy-violation", "too much input before login"))

	c = w.reach(state{peer: inClear, sent: []string{toUs, strings.Repeat(" ", 15_000), starttls}, tls: true})
	c.send(toUs + strings.Repeat(" ", 6_000)) // TLS does not start it anew
	c.wantPart("<policy-violation ")

	c = w.reach(state{peer: overTLS, sent: []string{toUs, plain("romeo", "pw"), toUs, bindX}})
	for range 30 {
		c.send(strings.Repeat(" ", 1000))
	}
	if c.closing {
		t.Error("there is no such limit after login")
	}
}

func TestWhiteSpaceKeepsAlive(t *testing.T) { // RFC 6120 4.6.1
	for _, s := range states {
		if strings.HasPrefix(s.name, "half") {
			continue
		}
		w := newWorld(t, nil)
		c := w.reach(s)
		c.send(" \n\t\r ")
		c.want("")
		if c.closing {
			t.Errorf("%s: white space ended the stream", s.name)
		}
	}
}

func TestInvalidFrom(t *testing.T) {
	for from, ok := range map[string]bool{
		"romeo@example.test/x": true, "romeo@example.test": true, "Romeo@EXAMPLE.test/x": true,
		"romeo@example.test/y": false, "romeo@example.test/X": false, "juliet@example.test": false, "example.test": false,
		"romeo@example.net/x": false, "a@b@c": false, "far.test/x": false,
	} {
		for _, stanza := range []string{"<message to='juliet@example.test/a' from='%'/>", "<iq type='get' id='1' to='juliet@example.test/a' from='%'><q xmlns='urn:x'/></iq>",
			"<presence to='juliet@example.test/a' from='%'/>"} {
			w := newWorld(t, nil)
			juliet := w.login("juliet@example.test/a", "")
			romeo := w.login("romeo@example.test/x", "")
			romeo.send(strings.Replace(stanza, "%", from, 1))
			if ok {
				juliet.wantPart(" from='romeo@example.test/x' ") // RFC 6120 8.1.2.1
				continue
			}
			romeo.want(fault("invalid-from")) // 4.9.3.9
			juliet.want("")
		}
	}
}

func TestUnknownElements(t *testing.T) {
	const before, bound = "opened", "bound"
	for _, row := range []struct{ rule, state, send, want string }{
		{"RFC 6120 4.9.3.24", bound, "<foo xmlns='urn:x'/>", fault("unsupported-stanza-type")},
		{"RFC 6120 4.9.3.24", bound, "<foo/>", fault("unsupported-stanza-type")},
		{"RFC 6120 6.4 SASL is over", bound, plain("romeo", "pw"), fault("unsupported-stanza-type")},
		{"RFC 6120 5.4 TLS is over", bound, starttls, fault("unsupported-stanza-type")},
		{"RFC 6120 4.9.3.24", before, "<foo/>", fault("unsupported-stanza-type")},
		{"RFC 6120 4.9.3.12 not logged in", before, "<foo xmlns='urn:x'/>", faultText("not-authorized", "log in first")},
		{"RFC 6120 4.9.3.12 not logged in", before, chatBadly, faultText("not-authorized", "log in first")},
		{"RFC 6120 4.9.3.12 not logged in", before, bindX, faultText("not-authorized", "log in first")},
		{"RFC 6120 4.9.3.12 not logged in", "opened in clear", "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>", faultText("not-authorized", "log in first")},
		{"RFC 6120 6.4 unknown element of SASL", before, "<foo " + nsSASL + "/>", fault("unsupported-stanza-type")},
		{"RFC 6120 5.4 unknown element of TLS", before, "<foo xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", fault("unsupported-stanza-type")},
		{"RFC 6120 4.9.3.24", "unbound", "<foo xmlns='urn:x'/>", fault("unsupported-stanza-type")},
	} {
		t.Run(row.rule+"/"+row.state+"/"+row.send, func(t *testing.T) {
			w := newWorld(t, nil)
			for _, s := range states {
				if s.name == row.state {
					c := w.reach(s)
					c.send(row.send).want(row.want)
					if !c.closing {
						t.Error("the stream goes on")
					}
				}
			}
			w.empty()
		})
	}
}

// However the input is cut, the answers are the same.
func TestNegotiationByteByByte(t *testing.T) {
	in := toUs + starttls
	w := newWorld(t, nil)
	c := w.dial(inClear)
	for i := range len(in) {
		c.send(in[i : i+1])
	}
	c.want(hello("") + mustTLS + proceed)
	c.secured(overTLS.TLS)
	in = toUs + plain("romeo", "no") + plain("romeo", "pw") + toUs + bindX + chatBadly
	for i := range len(in) {
		c.send(in[i : i+1])
	}
	out := ids.ReplaceAllString(c.take(), "")
	want := hello("") + loginOffer + failure("not-authorized") + success + hello("") + bindOffer + boundX
	if !strings.HasPrefix(out, want) {
		t.Errorf("got:\n%s\nwant:\n%s", out, want)
	}

	c = w.dial(overTLS) // and pipelined
	c.send(in)
	if all := ids.ReplaceAllString(c.take(), ""); all != out {
		t.Errorf("got:\n%s\nwant:\n%s", all, out)
	}
}
