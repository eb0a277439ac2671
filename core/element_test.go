package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// elements returns an extension that notes the elements <e xmlns='urn:x'/> and the
// messages of clients, in order; what an element says it does first.
func elements(seen *[]string, does map[string]func(h *extension.Host, session jid.JID) error) extension.Registration {
	reg := staged(extension.Submit, extension.Observe, func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
		*seen = append(*seen, "stanza "+e.Stanza.ID)
		return extension.Verdict{}, nil
	})
	reg.Name = "elements"
	reg.Marks = []extension.Mark{{Name: "on"}}
	reg.Elements = []extension.ElementHandler{{Space: "urn:x", Local: "e", Handle: func(_ context.Context, h *extension.Host, session jid.JID, e *stanza.Element) error {
		*seen = append(*seen, session.Resource()+" "+e.Text())
		if f := does[e.Text()]; f != nil {
			return f(h, session)
		}
		return nil
	}}}
	return reg
}

func element(text string) string { return "<e xmlns='urn:x'>" + text + "</e>" }

func message(id string) string {
	return "<message type='error' to='nobody@example.test' id='" + id + "'/>"
}

func TestElements(t *testing.T) {
	var seen []string
	does := map[string]func(*extension.Host, jid.JID) error{
		"fail":   func(*extension.Host, jid.JID) error { return errors.New("no luck") },
		"refuse": func(*extension.Host, jid.JID) error { return stanza.Err(stanza.Forbidden, "") },
		"panic":  func(*extension.Host, jid.JID) error { panic("at the disco") },
		"write":  func(h *extension.Host, _ jid.JID) error { h.Store.Put(jid.JID{}, "k", nil); return nil },
		"unwrite": func(h *extension.Host, _ jid.JID) error {
			h.Store.Put(jid.MustParse("nobody@example.test"), "k", nil)
			return nil
		},
		"fault": func(*extension.Host, jid.JID) error { return stream.Err(stream.PolicyViolation, "enough") },
	}
	for _, row := range []struct{ rule, in, want, out string }{
		{"in order with stanzas", message("1") + element("a") + message("2") + element("b"), "stanza 1, x a, stanza 2, x b", ""},
		{"also when one has to wait", element("write") + message("1") + element("b"), "x write, stanza 1, x b", ""},
		{"an error is nobody's business", element("fail") + element("refuse") + element("unwrite") + message("1"), "x fail, x refuse, x unwrite, stanza 1", ""},
		{"a panic ends nothing", element("panic") + message("1"), "x panic, stanza 1", ""},
		{"a stream error ends the stream", element("fault") + message("1") + element("b") + message("2"), "x fault", faultText("policy-violation", "enough")},
		{"one that nobody claims", "<f xmlns='urn:x'/>" + message("1"), "", faultText("unsupported-stanza-type", "")},
		{"one of another namespace", "<e xmlns='urn:y'/>" + message("1"), "", faultText("unsupported-stanza-type", "")},
		{"one without a namespace", "<e/>" + message("1"), "", faultText("unsupported-stanza-type", "")},
		{"none of them is counted (XEP-0198 4)", "<enable xmlns='urn:xmpp:sm:3'/>" + element("a") + message("1") + element("b") + "<r xmlns='urn:xmpp:sm:3'/>",
			"x a, stanza 1, x b", "<enabled xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='1'/>"},
	} {
		for _, cut := range []bool{false, true} {
			w := newWorld(t, with(elements(&seen, does)))
			c := w.login("romeo@example.test/x", "")
			seen = nil
			if !cut {
				c.send(row.in)
			}
			for _, b := range []byte(row.in) {
				if cut && !c.closing {
					c.send(string(b))
				}
			}
			if got := strings.Join(seen, ", "); got != row.want {
				t.Errorf("%s: %s, want %s", row.rule, got, row.want)
			}
			c.want(row.out)
			if c.closing != strings.Contains(row.out, "stream:error") {
				t.Errorf("%s: closing %v", row.rule, c.closing)
			}
		}
	}
}

// Before a resource is bound no extension is asked.
func TestElementsBeforeBind(t *testing.T) {
	var seen []string
	w := newWorld(t, with(elements(&seen, nil)))
	w.connect().open("example.test").send(element("a")).wantPart("<not-authorized ")
	w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test").send(element("a")).wantPart("<unsupported-stanza-type ")
	if len(seen) != 0 {
		t.Error(seen)
	}
}

// A connection that was left has no say any more: neither one that was replaced by
// a resumption, nor one whose session has ended.
func TestElementsOfAConnectionThatWasLeft(t *testing.T) {
	var seen []string
	var sessions func() []extension.Session
	mark := func(h *extension.Host, session jid.JID) error {
		sessions = func() []extension.Session { return h.Sessions.Of(session) }
		return h.Sessions.Mark(session, "on", true)
	}
	w := newWorld(t, with(elements(&seen, map[string]func(*extension.Host, jid.JID) error{"mark": mark})))
	juliet := w.im("juliet@example.test/a")
	id := juliet.manage()
	seen = nil
	juliet.send(element("look"))
	again := w.resume("juliet@example.test", id, 0)
	again.wantPart("<resumed ")
	juliet.send(element("mark"))
	juliet.reap()
	again.send(element("here"))
	if got := strings.Join(seen, ", "); got != "a look, a here" {
		t.Error(got)
	}
	again.send(element("mark"))
	if s := sessions(); len(s) != 1 || len(s[0].Marks) != 1 {
		t.Error(s)
	}

	seen = nil
	w.login("juliet@example.test/a", "") // the same resource: the session ends
	again.send(element("mark") + message("1"))
	if len(seen) != 0 {
		t.Error("of a session that has ended:", seen)
	}
}

// A resumption waits for an element of the old connection whose writes are under
// way, as for a stanza: what the new connection sends comes behind.
func TestResumptionWaitsForAnElement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		goOn := make(chan struct{})
		reg := elements(&seen, map[string]func(*extension.Host, jid.JID) error{
			"write": func(h *extension.Host, session jid.JID) error {
				h.Store.Put(jid.JID{}, "k", nil)
				return h.Sessions.Mark(session, "on", true)
			},
		})
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			p.Store = &gate{Store: p.Store, before: func() { <-goOn }}
			with(reg)(o, p)
		})
		juliet := w.im("juliet@example.test/a")
		id := juliet.manage()
		written := juliet.feed(element("write"))
		synctest.Wait()
		again := w.connect().open("example.test").send(plain("juliet", "pw")).open("example.test")
		again.take()
		resumed := again.feed("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>")
		synctest.Wait()
		if closed(written) || closed(resumed) {
			t.Errorf("written %v, resumed %v", closed(written), closed(resumed))
		}
		close(goOn)
		<-written
		<-resumed
		again.wantPart("<resumed ")
		juliet.reap()
	})
}
