package core_test

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func TestPresenceOfOwnResources(t *testing.T) {
	w := newWorld(t, nil)
	a := w.login("juliet@example.test/a", "")
	b := w.login("juliet@example.test/b", "")
	romeo := w.login("romeo@example.test/x", "<presence/>")

	a.send("<presence><show>away</show><priority>3</priority></presence>")
	a.want("<presence from='juliet@example.test/a' to='juliet@example.test'><show>away</show><priority>3</priority></presence>")
	b.want("") // connected, not available

	b.send("<presence/>") // RFC 6121 4.2.2: each learns of the other
	b.want("<presence from='juliet@example.test/a' to='juliet@example.test'><show>away</show><priority>3</priority></presence>" +
		"<presence from='juliet@example.test/b' to='juliet@example.test'/>")
	a.want("<presence from='juliet@example.test/b' to='juliet@example.test'/>")

	b.send("<presence><show>dnd</show></presence>") // 4.4.2: an update, no presence of others again
	b.want("<presence from='juliet@example.test/b' to='juliet@example.test'><show>dnd</show></presence>")
	a.want("<presence from='juliet@example.test/b' to='juliet@example.test'><show>dnd</show></presence>")

	b.send("<presence type='unavailable'><status>bye</status></presence>") // 4.5.2
	a.want("<presence from='juliet@example.test/b' to='juliet@example.test' type='unavailable'><status>bye</status></presence>")
	b.take()
	b.send("<presence type='unavailable'/>") // was not available: nobody is told
	a.want("")

	b.send("<presence/>")
	a.take()
	b.drop() // 4.5.3: a lost connection counts as unavailable
	a.want("<presence from='juliet@example.test/b' to='juliet@example.test' type='unavailable'/>")
	romeo.want("")
}

func TestDirectedPresence(t *testing.T) {
	w := newWorld(t, nil)
	romeo := w.login("romeo@example.test/x", "")
	juliet := w.login("juliet@example.test/a", "<presence/>")
	nurse := w.login("nurse@example.test/n", "<presence/>")

	romeo.send("<presence to='juliet@example.test/a'/><presence to='nurse@example.test'/>")
	juliet.want("<presence from='romeo@example.test/x' to='juliet@example.test/a'/>")
	nurse.want("<presence from='romeo@example.test/x' to='nurse@example.test'/>")

	romeo.send("<presence type='unavailable' to='nurse@example.test'/>") // 4.6.3: ends it for her only
	nurse.want("<presence from='romeo@example.test/x' to='nurse@example.test' type='unavailable'/>")
	romeo.drop() // 4.6.4
	juliet.want("<presence from='romeo@example.test/x' to='juliet@example.test/a' type='unavailable'/>")
	nurse.want("")
}

func TestPresenceErrors(t *testing.T) {
	w := newWorld(t, nil)
	romeo := w.login("romeo@example.test/x", "")
	juliet := w.login("juliet@example.test/a", "<presence/>")
	for _, bad := range []string{
		"<presence><priority>128</priority></presence>", // RFC 6121 4.7.2.3
		"<presence><priority>-129</priority></presence>",
		"<presence><priority>high</priority></presence>",
		"<presence type='nonsense'/>", // 4.7.1
		"<presence type='nonsense' to='juliet@example.test'/>",
		"<presence type='subscribe'/>",
	} {
		romeo.send(bad).wantPart("<bad-request ")
		juliet.want("")
	}
	romeo.send("<message id='1' to='romeo@example.test' type='chat'/>").wantPart("service-unavailable") // still not available
}

// A session that takes over a full JID: the old one ends with conflict, and
// what others hear of its end comes before anything of the new one.
func TestConflict(t *testing.T) {
	w := newWorld(t, nil)
	old := w.login("romeo@example.test/x", "")
	juliet := w.login("juliet@example.test/a", "<presence/>")
	other := w.login("romeo@example.test/y", "<presence/>")
	old.send("<presence/><presence to='juliet@example.test'/>").take()
	juliet.take()
	other.take()

	w.login("romeo@example.test/x", "<presence to='juliet@example.test'/>")
	old.wantPart("<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>")
	if !old.closing {
		t.Error("the old connection was not closed")
	}
	old.drop()
	juliet.want("<presence from='romeo@example.test/x' to='juliet@example.test' type='unavailable'/>" +
		"<presence from='romeo@example.test/x' to='juliet@example.test'/>")
	other.want("<presence from='romeo@example.test/x' to='romeo@example.test' type='unavailable'/>")
	juliet.send("<message to='romeo@example.test/x' id='1' type='normal'/>").want("") // the new session is reached
}

func TestSlowReaderCostsItselfOnly(t *testing.T) {
	w := newWorld(t, nil)
	romeo := w.login("romeo@example.test/x", "")
	juliet := w.login("juliet@example.test/a", "<presence/>")
	nurse := w.login("nurse@example.test/n", "<presence/>")
	juliet.stuck = true
	msg := "<message to='juliet@example.test/a' type='chat' id='1'><body>" + strings.Repeat("x", 60_000) + "</body></message>"
	for i := 0; ; i++ {
		if i > 200 {
			t.Fatal("the outbox has no bound")
		}
		romeo.send(msg)
		if out := romeo.take(); out != "" { // the sender is told of what was not taken
			if !strings.Contains(out, "service-unavailable") {
				t.Error(out)
			}
			break
		}
	}
	if !juliet.closing {
		t.Error("the session goes on")
	}
	juliet.stuck = false
	juliet.Flush()
	juliet.wantPart("<stream:error><resource-constraint ")
	romeo.send("<message to='nurse@example.test/n' id='2'/>")
	nurse.wantPart("id='2'")
}

// Between SASL and bind a client has no session, but its account can go.
func TestAccountRemovedBeforeBind(t *testing.T) {
	w := newWorld(t, func(_ *core.Options, p *core.Ports) { p.Accounts = removable{} })
	c := w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test")
	c.take()
	if err := w.k.RemoveUser(t.Context(), jid.MustParse("romeo@example.test")); err != nil {
		t.Fatal(err)
	}
	c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").wantPart("<not-authorized ")
	if !c.closing {
		t.Error("the stream goes on")
	}
	w.login("romeo@example.test/x", "") // an account of the same name that is made anew
}
