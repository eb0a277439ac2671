package core_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var smID = regexp.MustCompile(`<enabled xmlns='urn:xmpp:sm:3' id='([^']+)' resume='true' max='(\d+)'/>`)

// manage turns stream management with resumption on and returns the SM-ID.
func (c *client) manage() string {
	c.w.t.Helper()
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	m := smID.FindStringSubmatch(c.take())
	if m == nil {
		c.w.t.Fatal("not enabled")
	}
	return m[1]
}

// resume logs in anew and asks for the session of before.
func (w *world) resume(bare, id string, h int) *client {
	w.t.Helper()
	local, domain, _ := strings.Cut(bare, "@")
	c := w.connect().open(domain).send(plain(local, "pw")).open(domain)
	c.take()
	c.send(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' h='%d' previd='%s'/>", h, id))
	return c
}

// cut is a connection that breaks.
func (c *client) cut() { c.lose(context.DeadlineExceeded) }

func msg(id int) string {
	return fmt.Sprintf("<message from='romeo@example.test/x' to='juliet@example.test/a' id='%d' type='chat'><body>%d</body></message>", id, id)
}

func say(id int) string {
	return fmt.Sprintf("<message to='juliet@example.test/a' id='%d' type='chat'><body>%d</body></message>", id, id)
}

func TestEnable(t *testing.T) { // XEP-0198 3
	w := newWorld(t, nil)
	c := w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test")
	c.wantPart("<sm xmlns='urn:xmpp:sm:3'/>")
	c.send("<enable xmlns='urn:xmpp:sm:3'/>")
	c.want("<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
	c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").take()
	c.send("<r xmlns='urn:xmpp:sm:3'/>").wantPart("<failed ")
	c.send("<enable xmlns='urn:xmpp:sm:3'/>")
	c.want("<enabled xmlns='urn:xmpp:sm:3'/>")
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='1'/>").wantPart("<unexpected-request ")
	d := w.login("romeo@example.test/y", "")
	d.send("<enable xmlns='urn:xmpp:sm:3' resume='1' max='60'/>").wantPart(" resume='true' max='60'/>")
	e := w.login("romeo@example.test/z", "")
	e.send("<enable xmlns='urn:xmpp:sm:3' resume='true' max='999999'/>").wantPart(" resume='true' max='600'/>")
}

func TestAcks(t *testing.T) { // XEP-0198 4
	w := newWorld(t, nil)
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "")
	romeo.send("<presence/>").take() // before enable: not counted
	romeo.send("<enable xmlns='urn:xmpp:sm:3'/>").take()
	juliet.send("<enable xmlns='urn:xmpp:sm:3'/>").take()
	romeo.send("<r xmlns='urn:xmpp:sm:3'/>").want("<a xmlns='urn:xmpp:sm:3' h='0'/>")
	romeo.send("<presence><show>away</show></presence><iq type='result' id='x'/>" + say(1) + "<r xmlns='urn:xmpp:sm:3'/>")
	romeo.wantPart("<a xmlns='urn:xmpp:sm:3' h='3'/>")
	juliet.want(msg(1) + askAck) // the server asks by itself for a message,
	romeo.send(say(2))
	juliet.want(msg(2))                                          // with one question at a time,
	juliet.send("<a xmlns='urn:xmpp:sm:3' h='1'/>").want(askAck) // again for what came behind it,
	juliet.send("<a xmlns='urn:xmpp:sm:3' h='2'/><a xmlns='urn:xmpp:sm:3' h='2'/>").want("")
	headline := "<message to='juliet@example.test/a' type='headline'><body>h</body></message>"
	for range 15 {
		romeo.send(headline)
		if out := juliet.take(); strings.Contains(out, askAck) {
			t.Errorf("asked for a headline: %s", out)
		}
	}
	romeo.send(headline)
	juliet.wantPart("</message>" + askAck) // and for 16 of anything
	juliet.send("<a xmlns='urn:xmpp:sm:3' h='18'/>").want("")
	juliet.send("<a xmlns='urn:xmpp:sm:3' h='19'/>").want("<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>h is more than was sent, or less than was acknowledged before</text>" +
		"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='19' send-count='18'/></stream:error></stream:stream>")
}

func TestResume(t *testing.T) { // XEP-0198 5
	w := newWorld(t, nil)
	befriend(w, "romeo@example.test", "juliet@example.test")
	romeo, juliet := w.im("romeo@example.test/x"), w.im("juliet@example.test/a")
	id := juliet.manage()
	romeo.take()
	romeo.send(say(1) + say(2))
	juliet.want(msg(1) + msg(2))
	juliet.send("<message to='romeo@example.test/x' type='chat' id='j'/>")
	romeo.take()
	juliet.cut()
	romeo.want("") // contacts see her as available
	romeo.send(say(3) + "<presence><show>away</show></presence><presence><show>dnd</show></presence>" + say(4))
	romeo.send("<iq type='get' id='q' to='juliet@example.test/a'><q xmlns='urn:x'/></iq>").wantPart("service-unavailable") // can't wait
	romeo.take()

	again := w.resume("juliet@example.test", id, 1) // she had got the first
	again.want("<resumed xmlns='urn:xmpp:sm:3' h='1' previd='" + id + "'/>" + msg(2) + msg(3) +
		"<presence from='romeo@example.test/x' to='juliet@example.test'><show>dnd</show></presence>" + msg(4))
	romeo.want("") // no new presence
	again.send("<a xmlns='urn:xmpp:sm:3' h='5'/>").want("")
	again.send("<message to='romeo@example.test/x' type='chat' id='k'/><r xmlns='urn:xmpp:sm:3'/>").want("<a xmlns='urn:xmpp:sm:3' h='2'/>")
	romeo.want("<message from='juliet@example.test/a' to='romeo@example.test/x' id='k' type='chat'/>")
	romeo.send("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='nurse@example.test'/></query></iq>").take()
	again.send("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='nurse@example.test'/></query></iq>").wantPart("<item jid='nurse@example.test'") // interest is kept
	again.send("<a xmlns='urn:xmpp:sm:3' h='7'/>").take()
	again.send("</stream:stream>")
	romeo.wantPart("<presence from='juliet@example.test/a' to='romeo@example.test' type='unavailable'/>")
	w.resume("juliet@example.test", id, 7).want("<failed xmlns='urn:xmpp:sm:3' h='3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
}

// A resumption while the old connection still stands takes over, also while a
// stanza of the old stream waits; nothing is handled twice.
func TestTakeOver(t *testing.T) {
	w := newWorld(t, nil)
	romeo, juliet := w.im("romeo@example.test/x"), w.im("juliet@example.test/a")
	id := juliet.manage()
	romeo.send(say(1))
	juliet.take()
	again := w.resume("juliet@example.test", id, 0)
	again.want("<resumed xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>" + msg(1))
	juliet.Flush()
	juliet.wantPart("<stream:error><conflict ")
	if !juliet.closing {
		t.Error("the old connection stays")
	}
	romeo.take()
	juliet.send("<message to='romeo@example.test/x' id='old'/>")
	romeo.want("")
	juliet.drop()
	romeo.send(say(2))
	again.want(msg(2))
}

func TestResumeRefused(t *testing.T) {
	w := newWorld(t, nil)
	id := w.im("juliet@example.test/a").manage()
	const notFound = "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
	c := w.resume("romeo@example.test", id, 0) // somebody else's
	c.want(notFound)
	c.send("<resume xmlns='urn:xmpp:sm:3' h='0' previd='nonsense'/>").want(notFound)
	c.send("<resume xmlns='urn:xmpp:sm:3' h='x' previd='nonsense'/>").wantPart("<bad-request ")
	c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").wantPart("<jid>romeo@example.test/") // can bind now
	c.send("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>").wantPart("<unexpected-request ")
	g := w.resume("romeo@example.test", "guess0", 0)
	for i := 0; !g.closing; i++ { // guessing is bounded
		if i > 10 {
			t.Fatal("no bound")
		}
		g.send(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' h='0' previd='guess%d'/>", i))
	}
	j := w.im("juliet@example.test/b")
	id = j.manage()
	w.resume("juliet@example.test", id, 99).wantPart("<handled-count-too-high ")
}

// What happens to the unacknowledged when a session ends: the one rule.
func TestUnacknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Limits.UnauthenticatedTime = time.Hour })
		romeo, juliet := w.im("romeo@example.test/x"), w.im("juliet@example.test/a")
		juliet.manage()
		from := "to='juliet@example.test/a' id='"
		romeo.take()
		romeo.send(say(1) + "<message type='headline' " + from + "h'/><message type='groupchat' " + from + "g'/>" +
			"<iq type='get' " + from + "q'><q xmlns='urn:x'/></iq><iq type='result' " + from + "r'/><presence " + from + "p'/><message " + from + "n'/>")
		juliet.take()
		juliet.cut()
		romeo.want("")
		phone := w.login("juliet@example.test/phone", "<presence/>")
		time.Sleep(11 * time.Minute) // in the bubble: the session's time is up
		synctest.Wait()
		phone.Flush()
		romeo.Flush()
		out := phone.take()
		stamp := regexp.MustCompile(`<delay xmlns='urn:xmpp:delay' from='example.test' stamp='[0-9T:.-]+Z'/>`)
		for _, part := range []string{
			"<message from='romeo@example.test/x' to='juliet@example.test' id='1' type='chat'><body>1</body>S</message>",
			"<message from='romeo@example.test/x' to='juliet@example.test' id='n'>S</message>",
			"<presence from='juliet@example.test/a' to='juliet@example.test' type='unavailable'/>",
		} {
			if !strings.Contains(stamp.ReplaceAllString(out, "S"), part) {
				t.Errorf("phone got %s, not %s", out, part)
			}
		}
		if strings.Count(out, "<message") != 2 {
			t.Errorf("phone got %s", out)
		}
		answers := romeo.take()
		if strings.Count(answers, "<iq") != 1 || !strings.Contains(answers, "id='q' type='error'><error type='cancel'><service-unavailable") || strings.Contains(answers, "<message") {
			t.Errorf("romeo got %s", answers)
		}
	})
}

// A message that another session has taken is not lost with one copy.
func TestForkedCopies(t *testing.T) {
	w := newWorld(t, nil)
	romeo, a, b := w.im("romeo@example.test/x"), w.im("juliet@example.test/a"), w.im("juliet@example.test/b")
	a.manage()
	a.take()
	romeo.take()
	romeo.send("<message to='juliet@example.test' id='1' type='chat'><body/></message>")
	a.wantPart("id='1'")
	b.wantPart("id='1'")
	a.send("</stream:stream>")
	b.wantPart("type='unavailable'")
	b.want("")
	romeo.want("")
}

func TestDetachedOverflow(t *testing.T) {
	w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Limits.Unacknowledged = 20 })
	romeo, juliet := w.im("romeo@example.test/x"), w.im("juliet@example.test/a")
	id := juliet.manage()
	for i := range 20 {
		romeo.send(say(i))
	}
	juliet.take()
	romeo.take()
	juliet.cut()
	romeo.send(say(20)) // one too many: the session ends, and each message is answered for
	if out := romeo.take(); strings.Count(out, "service-unavailable") != 21 {
		t.Errorf("%d answers: %s", strings.Count(out, "service-unavailable"), out)
	}
	w.resume("juliet@example.test", id, 0).wantPart("<item-not-found ")
}

// The order of a client's stanzas holds across a resumption, also while one of
// them still waits on the old stream.
func TestOrderAcrossResumption(t *testing.T) {
	release := make(chan struct{})
	slow := extension.Registration{Name: "slow", IQ: []extension.IQHandler{{
		Space: "urn:x", Local: "slow", To: extension.ToServer,
		Handle: func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
			<-release
			return nil, nil
		},
	}}}
	w := newWorld(t, with(slow))
	juliet := w.im("juliet@example.test/a")
	id := juliet.manage()
	var b transport.Batch
	wait := juliet.s.Feed(&b, []byte("<iq type='get' id='s' to='example.test'><slow xmlns='urn:x'/></iq>"))
	b.Flush()
	done := make(chan struct{})
	go func() { defer close(done); wait(context.Background()) }()

	again := w.connect().open("example.test").send(plain("juliet", "pw")).open("example.test")
	again.take()
	resume := again.s.Feed(&b, []byte("<resume xmlns='urn:xmpp:sm:3' h='0' previd='"+id+"'/>"))
	b.Flush()
	if resume == nil {
		t.Fatal("the resumption does not wait for the stanza in hand")
	}
	close(release)
	<-done
	resume(context.Background())
	again.s.Feed(&b, nil)
	b.Flush()
	again.wantPart("<resumed xmlns='urn:xmpp:sm:3' h='1' ")
	juliet.reap()
}

// The session that is to get a message ends instead of taking it: the message goes
// to those that RFC 6121 8.5.2.1.1 names without that one, behind what it has left,
// and not back to the sender.
func TestDetachedOverflowWithOthers(t *testing.T) {
	for _, to := range []string{"juliet@example.test", "juliet@example.test/a"} {
		w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Limits.Unacknowledged = 20 })
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence><priority>5</priority></presence>")
		other, tv := w.login("juliet@example.test/b", "<presence/>"), w.login("juliet@example.test/tv", "<presence><priority>-1</priority></presence>")
		juliet.manage()
		var want []int
		for n := range 20 {
			romeo.send(strings.Replace(say(n), "juliet@example.test/a", to, 1))
			want = append(want, n)
		}
		juliet.cut()
		romeo.send(strings.Replace(say(20), "juliet@example.test/a", to, 1)).want("")
		other.wantNumbers(append(want, 20)...)
		tv.wantNumbers()
	}
}
