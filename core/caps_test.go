package core_test

import (
	"context"
	"crypto"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const (
	phone = "<identity category='client' type='phone' name='P'/><feature var='urn:z'/><feature var='urn:a+notify'/>"
	// exodus is the example of XEP-0115 5.2.
	exodus = "<identity category='client' name='Exodus 0.9.1' type='pc'/><feature var='http://jabber.org/protocol/caps'/>" +
		"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>"
	pc = "<identity category='client' type='pc' name='C'/><feature var='urn:b'/>"
)

// advertise is presence of a client that can do this, what more it says, and the
// node that it is to be asked for.
func advertise(t testing.TB, content, more string) (presence, node string) {
	t.Helper()
	q, err := stanza.ParseElement("<query xmlns='http://jabber.org/protocol/disco#info'>"+content+"</query>", "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := caps.Parse(q)
	if err != nil {
		t.Fatal(err)
	}
	ver := a.Ver(crypto.SHA1)
	return "<presence>" + more + "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://example.org/c' ver='" + ver + "'/></presence>", "http://example.org/c#" + ver
}

var capsQuestion = regexp.MustCompile(`<iq from='([^']+)' to='([^']+)' id='([^']+)' type='get'><query xmlns='http://jabber.org/protocol/disco#info' node='([^']+)'/></iq>`)

// question returns the id of the question for a node that the client was sent,
// "" if it was asked nothing.
func (c *client) question(node string) string {
	c.w.t.Helper()
	all := capsQuestion.FindAllStringSubmatch(c.take(), -1)
	if len(all) == 0 {
		return ""
	}
	if len(all) > 1 || all[0][1] != "example.test" || all[0][4] != node {
		c.w.t.Errorf("asked %q", all)
	}
	return all[0][3]
}

func infoResult(id, content string) string {
	return "<iq type='result' to='example.test' id='" + id + "'><query xmlns='http://jabber.org/protocol/disco#info'>" + content + "</query></iq>"
}

// telling is an extension that tells what sessions can do.
func telling(t *testing.T) extension.Registration {
	return answering(true, func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		e := stanza.El("urn:x", "a")
		for _, s := range h.Sessions.Of(jid.MustParse(q.Payload().Attr("of")).Bare()) {
			if s.JID.String() == q.Payload().Attr("of") {
				if s.Can("urn:a+notify") != slices.Contains(s.Features, "urn:a+notify") {
					t.Error("Can and Features disagree")
				}
				e.WithText(fmt.Sprint(s.Features == nil, s.Features))
			}
		}
		return e, nil
	})
}

// knowing is a world with it.
func knowing(t *testing.T) (w *world, can func(full string) string) {
	w = newWorld(t, with(telling(t)))
	return w, w.can()
}

// can asks it.
func (w *world) can() func(full string) string {
	asker := w.login("asker@example.test/x", "")
	return func(full string) string {
		asker.send("<iq type='get' id='1' to='example.test'><q xmlns='urn:x' of='" + full + "'/></iq>")
		_, text, _ := strings.Cut(asker.take(), "<a xmlns='urn:x'>")
		text, _, _ = strings.Cut(text, "</a>")
		return text
	}
}

const (
	unknown  = "true []"
	phoneCan = "false [urn:a+notify urn:z]"
)

func TestCapsAreLearned(t *testing.T) { // XEP-0115 5.4
	w, can := knowing(t)
	presence, node := advertise(t, phone, "")
	romeo := w.login("romeo@example.test/x", "")
	romeo.send(presence)
	id := romeo.question(node)
	if id == "" || can("romeo@example.test/x") != unknown {
		t.Fatalf("question %q, %s", id, can("romeo@example.test/x"))
	}

	tybalt := w.login("tybalt@example.test/x", "") // an answer with a forged id, or of another
	tybalt.send(infoResult(id, phone))
	romeo.send(infoResult("guessed", phone)).send("<iq type='result' id='" + id + "'/>")
	if can("romeo@example.test/x") != unknown {
		t.Error("a forged answer was taken")
	}
	romeo.send(infoResult(id, phone))
	if got := can("romeo@example.test/x"); got != phoneCan {
		t.Error(got)
	}

	juliet := w.login("juliet@example.test/y", "")
	juliet.send(presence)
	if id := juliet.question(node); id != "" || can("juliet@example.test/y") != phoneCan {
		t.Errorf("a known string: question %q, %s", id, can("juliet@example.test/y"))
	}
	romeo.send("<presence><show>away</show></presence>") // 8.4: without <c/> nothing changes
	if got := can("romeo@example.test/x"); got != phoneCan {
		t.Error(got)
	}
	other, node := advertise(t, pc, "")
	romeo.take()
	romeo.send(other)
	id = romeo.question(node)
	romeo.send(infoResult(id, phone)) // a lie
	if got := can("romeo@example.test/x"); got != unknown {
		t.Error(got)
	}
	romeo.send(strings.Replace(other, "<c ", "<show>away</show><c ", 1))
	if id := romeo.question(node); id != "" {
		t.Error("asked twice")
	}
	romeo.send("<presence type='unavailable'/>").send(presence)
	if got := can("romeo@example.test/x"); got != phoneCan {
		t.Error(got)
	}
	romeo.send("<presence type='unavailable'/>")
	if got := can("romeo@example.test/x"); got != unknown {
		t.Errorf("unavailable: %s", got)
	}
}

func TestCapsOfOthersWait(t *testing.T) {
	w, can := knowing(t)
	presence, node := advertise(t, phone, "")
	all := map[string]*client{}
	for _, name := range []string{"romeo", "juliet", "nurse"} {
		all[name] = w.login(name+"@example.test/x", "").send(presence)
	}
	for _, end := range []func(*client, string){
		func(c *client, _ string) { c.drop() },
		func(c *client, id string) {
			c.send("<iq type='error' to='example.test' id='" + id + "'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
		},
		func(c *client, id string) { c.send(infoResult(id, phone)) },
	} {
		asked := ""
		for name, c := range all {
			if id := c.question(node); id != "" {
				if asked != "" {
					t.Errorf("%s and %s are asked", asked, name)
				}
				asked = name
				delete(all, name)
				end(c, id)
				if got := can(name + "@example.test/x"); got == phoneCan {
					return // the last
				}
				break
			}
		}
		if asked == "" {
			t.Fatal("nobody is asked")
		}
	}
}

func TestCapsSurviveResumption(t *testing.T) { // XEP-0198 5
	w, can := knowing(t)
	presence, node := advertise(t, phone, "")
	romeo := w.login("romeo@example.test/x", "")
	sm := romeo.manage()
	romeo.send(presence)
	romeo.cut() // before the answer
	if got := can("romeo@example.test/x"); got != unknown {
		t.Error(got)
	}
	romeo = w.resume("romeo@example.test", sm, 0)
	id := romeo.question(node) // what was not acknowledged comes again
	romeo.send(infoResult(id, phone))
	if got := can("romeo@example.test/x"); got != phoneCan {
		t.Error(got)
	}
	romeo.cut()
	if got := can("romeo@example.test/x"); got != phoneCan {
		t.Errorf("detached: %s", got)
	}
	romeo = w.resume("romeo@example.test", sm, 0)
	romeo.take()
	if got := can("romeo@example.test/x"); got != phoneCan {
		t.Errorf("resumed: %s", got)
	}
}

func TestCapsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, can := knowing(t)
		presence, node := advertise(t, phone, "")
		romeo := w.login("romeo@example.test/x", "")
		sm := romeo.manage()
		romeo.send(presence)
		id := romeo.question(node)
		juliet := w.login("juliet@example.test/y", "").send(presence)
		if juliet.question(node) != "" {
			t.Error("two are asked")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		late := juliet.question(node)
		romeo.send(infoResult(id, phone)) // too late
		if late == "" || can("romeo@example.test/x") != unknown {
			t.Error("nobody else is asked")
		}
		time.Sleep(time.Minute) // nor does she answer
		synctest.Wait()
		romeo.cut()
		romeo = w.resume("romeo@example.test", sm, 2)
		romeo.send(infoResult(romeo.question(node), phone)) // asked again
		if got := can("romeo@example.test/x"); got != phoneCan {
			t.Error(got)
		}
		juliet.send(presence)
		if got := can("juliet@example.test/y"); got != phoneCan {
			t.Error(got)
		}
	})
}

// A client that changes its mind all the time is asked one thing at a time, and
// a bounded number of things.
func TestCapsFlood(t *testing.T) {
	w, can := knowing(t)
	romeo := w.login("romeo@example.test/x", "")
	asked := 0
	for i := range 200 {
		presence, _ := advertise(t, strings.Replace(phone, "'P'", fmt.Sprintf("'%d'", i), 1), "")
		romeo.send(presence)
		for _, q := range capsQuestion.FindAllStringSubmatch(romeo.take(), -1) {
			asked++
			romeo.send(infoResult(q[3], pc))
		}
	}
	if asked == 0 || asked > 50 {
		t.Errorf("%d questions", asked)
	}
	presence, _ := advertise(t, pc, "")
	juliet := w.login("juliet@example.test/y", "").send(presence) // others are served
	if q := capsQuestion.FindStringSubmatch(juliet.take()); q == nil || juliet.send(infoResult(q[3], pc)) == nil || can("juliet@example.test/y") != "false [urn:b]" {
		t.Errorf("%v, %s", q, can("juliet@example.test/y"))
	}
}

// What clients can do is known behind a planned restart, of the sessions that are
// back; the next client with the same string is asked for itself.
func TestCapsOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, with(telling(t)))
		presence, node := advertise(t, phone, "")
		romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
		rid := romeo.manage()
		juliet.manage()
		for _, c := range []*client{romeo, juliet} {
			c.send(presence)
			synctest.Wait()
			if id := c.question(node); id != "" {
				c.send(infoResult(id, phone))
			}
		}
		r.restart(romeo, juliet)
		can := r.can()
		for _, full := range []string{"romeo@example.test/x", "juliet@example.test/a"} {
			if got := can(full); got != phoneCan {
				t.Errorf("%s: %s", full, got)
			}
		}
		romeo = r.resume("romeo@example.test", rid, 0)
		romeo.take() // the question of before is among what it did not acknowledge
		romeo.send(presence)
		synctest.Wait()
		if id := romeo.question(node); id != "" {
			t.Error("it was asked once more")
		}
		nurse := r.login("nurse@example.test/n", "")
		nurse.send(presence)
		synctest.Wait()
		if nurse.question(node) == "" {
			t.Error("the next one was not asked")
		}
	})
}
