package core_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/roster"
)

// A roster's version and a push's id are for machines.
var vers = regexp.MustCompile(` ver='[a-z0-9-]+'| id='[A-Z0-9]{26}'`)

// wantIM is want without versions and ids of pushes.
func (c *client) wantIM(xml string) {
	c.w.t.Helper()
	if got := vers.ReplaceAllString(c.take(), ""); got != xml {
		c.w.t.Errorf("got:\n%.3000s\nwant:\n%.3000s", got, xml)
	}
}

func push(to, item string) string {
	return "<iq to='" + to + "' type='set'><query xmlns='jabber:iq:roster'>" + item + "</query></iq>"
}

// im logs in, asks for the roster and sends presence.
func (w *world) im(full string) *client {
	w.t.Helper()
	c := w.login(full, "")
	c.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>").take()
	return c
}

func TestRosterSet(t *testing.T) {
	w := newWorld(t, nil)
	a, b, quiet := w.im("romeo@example.test/a"), w.im("romeo@example.test/b"), w.login("romeo@example.test/c", "<presence/>")
	a.take()
	b.take()
	quiet.take()
	a.send("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='Juliet@example.test/x' name='J &amp; C' subscription='both' ask='subscribe' approved='true'><group>Friends</group><group>Verona</group></item></query></iq>")
	item := "<item jid='juliet@example.test' name='J &amp; C' subscription='none'><group>Friends</group><group>Verona</group></item>"
	a.wantIM(push("romeo@example.test/a", item) + "<iq to='romeo@example.test/a' id='1' type='result'/>")
	b.wantIM(push("romeo@example.test/b", item))
	quiet.want("") // RFC 6121 2.2: has not asked for the roster
	a.send("<iq type='get' id='2' to='romeo@example.test'><query xmlns='jabber:iq:roster'/></iq>")
	a.wantIM("<iq from='romeo@example.test' to='romeo@example.test/a' id='2' type='result'><query xmlns='jabber:iq:roster'>" + item + "</query></iq>")

	for name, row := range map[string][2]string{
		"2.3.3 two items":         {"<item jid='x@y.test'/><item jid='z@y.test'/>", "bad-request"},
		"2.3.3 no item":           {"", "bad-request"},
		"2.3.3 another element":   {"<thing jid='x@y.test'/>", "bad-request"},
		"2.1.2.3 no jid":          {"<item/>", "bad-request"},
		"2.1.2.3 a malformed jid": {"<item jid='a@b@c'/>", "bad-request"},
		"2.3.3 a long name":       {"<item jid='x@y.test' name='" + strings.Repeat("x", 1024) + "'/>", "not-acceptable"},
		"2.3.3 duplicate groups":  {"<item jid='x@y.test'><group>a</group><group>a</group></item>", "bad-request"},
		"2.3.3 an empty group":    {"<item jid='x@y.test'><group/></item>", "not-acceptable"},
		"2.3.3 a long group":      {"<item jid='x@y.test'><group>" + strings.Repeat("x", 1024) + "</group></item>", "not-acceptable"},
		"2.3.3 many groups":       {"<item jid='x@y.test'>" + manyGroups(51) + "</item>", "not-acceptable"},
		"2.3.3 oneself":           {"<item jid='romeo@example.test'/>", "not-allowed"},
		"2.5.3 an absent item":    {"<item jid='x@y.test' subscription='remove'/>", "item-not-found"},
	} {
		a.send("<iq type='set' id='3'><query xmlns='jabber:iq:roster'>" + row[0] + "</query></iq>")
		if out := a.take(); !strings.Contains(out, "<"+row[1]+" ") {
			t.Errorf("RFC 6121 %s: %s", name, out)
		}
		b.wantIM("")
	}
	a.send("<iq type='set' id='4'><query xmlns='jabber:iq:roster'><item jid='juliet@example.test' subscription='remove'/></query></iq>")
	gone := "<item jid='juliet@example.test' subscription='remove'/>"
	a.wantIM(push("romeo@example.test/a", gone) + "<iq to='romeo@example.test/a' id='4' type='result'/>")
	b.wantIM(push("romeo@example.test/b", gone))

	juliet := w.im("juliet@example.test/x") // 2.1.6: others' rosters are nobody's business
	juliet.send("<iq type='get' id='5' to='romeo@example.test'><query xmlns='jabber:iq:roster'/></iq>").wantPart("<service-unavailable ")
	juliet.send("<iq type='set' id='6' to='romeo@example.test'><query xmlns='jabber:iq:roster'><item jid='x@y.test'/></query></iq>").wantPart("<service-unavailable ")
}

func manyGroups(n int) (xml string) {
	for i := range n {
		xml += fmt.Sprintf("<group>%d</group>", i)
	}
	return xml
}

func TestRosterVersion(t *testing.T) {
	w := newWorld(t, nil)
	a := w.im("romeo@example.test/a")
	get := func(ver string) string {
		a.send("<iq type='get' id='g'><query xmlns='jabber:iq:roster' ver='" + ver + "'/></iq>")
		return a.take()
	}
	ver := func(xml string) string {
		_, v, _ := strings.Cut(xml, " ver='")
		v, _, _ = strings.Cut(v, "'")
		return v
	}
	first := ver(get(""))
	if out := get(first); strings.Contains(out, "<query") {
		t.Error("RFC 6121 2.6.3 same version:", out)
	}
	a.send("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='x@y.test'/></query></iq>")
	pushed := ver(a.take())
	if out := get(first); !strings.Contains(out, "<item jid='x@y.test'") || ver(out) != pushed || pushed == first {
		t.Errorf("RFC 6121 2.6.3 old version: %s, pushed %s, first %s", out, pushed, first)
	}
	if out := get("unknown"); !strings.Contains(out, "<item jid='x@y.test'") {
		t.Error("RFC 6121 2.6.3 unknown version:", out)
	}
}

// RFC 6121 3.1, both online: request, approval, presence, and the other way.
func TestSubscription(t *testing.T) {
	w := newWorld(t, nil)
	romeo, juliet := w.im("romeo@example.test/x"), w.im("juliet@example.test/a")
	romeo.take()

	romeo.send("<presence to='juliet@example.test/a' type='subscribe' id='s'><status>hi</status></presence>")
	romeo.wantIM(push("romeo@example.test/x", "<item jid='juliet@example.test' ask='subscribe' subscription='none'/>"))
	juliet.wantIM("<presence from='romeo@example.test' to='juliet@example.test' id='s' type='subscribe'><status>hi</status></presence>")
	juliet.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
	juliet.wantIM("<iq to='juliet@example.test/a' id='r' type='result'><query xmlns='jabber:iq:roster'/></iq>") // 3.1.3: no item yet

	juliet.send("<presence to='romeo@example.test' type='subscribed'/>")
	juliet.wantIM(push("juliet@example.test/a", "<item jid='romeo@example.test' subscription='from'/>"))
	romeo.wantIM("<presence from='juliet@example.test' to='romeo@example.test' type='subscribed'/>" +
		push("romeo@example.test/x", "<item jid='juliet@example.test' subscription='to'/>") +
		"<presence from='juliet@example.test/a' to='romeo@example.test'/>") // 3.1.5

	juliet.send("<presence to='romeo@example.test' type='subscribe'/>").take()
	romeo.take()
	romeo.send("<presence to='juliet@example.test' type='subscribed'/>")
	romeo.wantIM(push("romeo@example.test/x", "<item jid='juliet@example.test' subscription='both'/>"))
	juliet.wantPart("<presence from='romeo@example.test/x' to='juliet@example.test'/>")

	romeo.send("<presence to='juliet@example.test' type='subscribe' id='again'/>") // 3.1.3: the server answers by itself
	romeo.wantIM("<presence from='juliet@example.test' to='romeo@example.test' id='again' type='subscribed'/>"[:0])
	juliet.want("")

	romeo.send("<presence><show>away</show></presence>").take() // 4.4
	juliet.want("<presence from='romeo@example.test/x' to='juliet@example.test'><show>away</show></presence>")

	juliet.send("<presence to='romeo@example.test' type='unsubscribed'/>") // 3.2: first unavailable, then unsubscribed
	romeo.wantIM("<presence from='juliet@example.test/a' to='romeo@example.test' type='unavailable'/>" +
		"<presence from='juliet@example.test' to='romeo@example.test' type='unsubscribed'/>" +
		push("romeo@example.test/x", "<item jid='juliet@example.test' subscription='from'/>"))
	juliet.wantIM(push("juliet@example.test/a", "<item jid='romeo@example.test' subscription='to'/>"))

	juliet.send("<presence to='romeo@example.test' type='unsubscribe'/>") // 3.3
	romeo.wantIM("<presence from='juliet@example.test' to='romeo@example.test' type='unsubscribe'/>" +
		push("romeo@example.test/x", "<item jid='juliet@example.test' subscription='none'/>"))
	juliet.wantPart("<presence from='romeo@example.test/x' to='juliet@example.test' type='unavailable'/>")
	juliet.send("<presence/>").take()
	romeo.want("")
}

// RFC 6121 3.1.3: a request waits, and comes with each login until answered.
func TestRequestWaits(t *testing.T) {
	w := newWorld(t, nil)
	romeo := w.im("romeo@example.test/x")
	for range 3 {
		romeo.send("<presence to='juliet@example.test' type='subscribe'><status>hi</status></presence>")
	}
	const request = "<presence from='romeo@example.test' to='juliet@example.test' type='subscribe'><status>hi</status></presence>"
	for range 2 {
		juliet := w.login("juliet@example.test/a", "")
		juliet.send("<presence/>")
		if out := juliet.take(); strings.Count(out, request) != 1 {
			t.Errorf("at login: %s", out)
		}
		juliet.send("<presence><show>away</show></presence>") // an update: not again
		if out := juliet.take(); strings.Contains(out, request) {
			t.Errorf("at an update: %s", out)
		}
		juliet.drop()
	}
	juliet := w.im("juliet@example.test/a")
	juliet.send("<presence to='romeo@example.test' type='unsubscribed'/>")
	juliet.drop()
	juliet = w.login("juliet@example.test/a", "")
	juliet.send("<presence/>")
	if out := juliet.take(); strings.Contains(out, "subscribe") {
		t.Errorf("after the answer: %s", out)
	}
	romeo.wantPart("<presence from='juliet@example.test' to='romeo@example.test' type='unsubscribed'/>")
}

// RFC 6121 3.4: pre-approval.
func TestPreApproval(t *testing.T) {
	w := newWorld(t, nil)
	romeo, juliet := w.im("romeo@example.test/x"), w.im("juliet@example.test/a")
	romeo.take()
	juliet.send("<presence to='romeo@example.test' type='subscribed'/>")
	juliet.wantIM(push("juliet@example.test/a", "<item jid='romeo@example.test' approved='true' subscription='none'/>"))
	romeo.want("")
	romeo.send("<presence to='juliet@example.test' type='subscribe'/>")
	juliet.wantIM(push("juliet@example.test/a", "<item jid='romeo@example.test' subscription='from'/>"))
	romeo.wantPart("<presence from='juliet@example.test/a' to='romeo@example.test'/>")
}

// befriend makes a mutual subscription and logs both out.
func befriend(w *world, one, two string) {
	a, b := w.im(one+"/f"), w.im(two+"/f")
	a.send("<presence type='subscribe' to='" + two + "'/><presence type='subscribed' to='" + two + "'/>")
	b.send("<presence type='subscribed' to='" + one + "'/><presence type='subscribe' to='" + one + "'/>")
	a.drop()
	b.drop()
}

// RFC 6121 4.2 to 4.5.
func TestBroadcastAndProbe(t *testing.T) {
	w := newWorld(t, nil)
	befriend(w, "romeo@example.test", "juliet@example.test")
	juliet, phone := w.im("juliet@example.test/a"), w.im("juliet@example.test/phone")
	juliet.send("<presence id='p'><show>dnd</show></presence>").take()
	phone.take()
	romeo := w.login("romeo@example.test/x", "")
	romeo.send("<presence/>") // 4.2.2 and 4.3.2
	romeo.want("<presence from='romeo@example.test/x' to='romeo@example.test'/>" +
		"<presence from='juliet@example.test/a' to='romeo@example.test/x' id='p'><show>dnd</show></presence>" +
		"<presence from='juliet@example.test/phone' to='romeo@example.test/x'/>")
	for _, c := range []*client{juliet, phone} {
		c.want("<presence from='romeo@example.test/x' to='juliet@example.test'/>")
	}
	romeo.drop() // 4.5.3
	for _, c := range []*client{juliet, phone} {
		c.want("<presence from='romeo@example.test/x' to='juliet@example.test' type='unavailable'/>")
	}
	stranger := w.im("nurse@example.test/n")
	stranger.send("<presence type='probe' to='juliet@example.test'/><presence type='probe' to='nobody@example.test'/>").want("")
}

// RFC 6121 4.6.4: a subscriber that was sent directed presence, too, is told
// once.
func TestDirectedPresenceToASubscriber(t *testing.T) {
	w := newWorld(t, nil)
	befriend(w, "romeo@example.test", "juliet@example.test")
	juliet := w.im("juliet@example.test/a")
	romeo := w.im("romeo@example.test/x")
	romeo.send("<presence to='juliet@example.test/a'/>")
	juliet.take()
	romeo.send("<presence type='unavailable'/>")
	juliet.want("<presence from='romeo@example.test/x' to='juliet@example.test' type='unavailable'/>")
}

// RFC 6121 2.5.2: removal ends subscriptions both ways.
func TestRemovalEndsSubscriptions(t *testing.T) {
	w := newWorld(t, nil)
	befriend(w, "romeo@example.test", "juliet@example.test")
	romeo, juliet := w.im("romeo@example.test/x"), w.im("juliet@example.test/a")
	romeo.take()
	juliet.take()
	romeo.send("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='juliet@example.test' subscription='remove'/></query></iq>")
	out := vers.ReplaceAllString(juliet.take(), "")
	for _, part := range []string{
		"<presence from='romeo@example.test' to='juliet@example.test' type='unsubscribe'/>",
		"<presence from='romeo@example.test/x' to='juliet@example.test' type='unavailable'/>",
		"<presence from='romeo@example.test' to='juliet@example.test' type='unsubscribed'/>",
		"<item jid='romeo@example.test' subscription='none'/>",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("juliet got %s, not %s", out, part)
		}
	}
	romeo.wantPart("<item jid='juliet@example.test' subscription='remove'/>")
}

func TestRosterLimits(t *testing.T) {
	w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Rosters = roster.Limits{Items: 2, Requests: 2} })
	romeo := w.im("romeo@example.test/x")
	for i, want := range []string{"result", "result", "resource-constraint"} {
		romeo.send(fmt.Sprintf("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='c%d@y.test'/></query></iq>", i)).wantPart(want)
	}
	for i := range 4 { // strangers' requests take no room of contacts, and have a bound
		s := w.login(fmt.Sprintf("s%d@example.test/x", i), "")
		s.send("<presence type='subscribe' to='tybalt@example.test'/>")
	}
	tybalt := w.login("tybalt@example.test/x", "")
	tybalt.send("<presence/>")
	if out := tybalt.take(); strings.Count(out, "type='subscribe'") != 2 {
		t.Errorf("requests: %s", out)
	}
}
