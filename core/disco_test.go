package core_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/core"
)

const (
	askInfo  = "<iq type='get' id='1' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
	askItems = "<iq type='get' id='1' to='%s'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"
)

var fromAttr = regexp.MustCompile(`from='[^']*'`)

// alike hands in the request to each address, and returns the answer, which must
// be the same for all of them but for its from.
func (c *client) alike(request string, to ...string) (answer string) {
	c.w.t.Helper()
	for i, addr := range to {
		c.send(strings.Replace(request, "%s", addr, 1))
		got := fromAttr.ReplaceAllString(c.take(), "")
		if i > 0 && got != answer {
			c.w.t.Errorf("%s of %s: %s\nof %s: %s", request, to[0], answer, addr, got)
		}
		answer = got
	}
	return answer
}

func TestAccountDisco(t *testing.T) { // XEP-0030 8
	var store *rosters
	w := newWorld(t, func(_ *core.Options, p *core.Ports) { store = p.Store.(*rosters) })
	befriend(w, "romeo@example.test/x", "juliet@example.test/y")
	romeo := w.login("romeo@example.test/x", "<presence/>")
	w.login("romeo@example.test/hidden", "")
	juliet := w.login("juliet@example.test/y", "")
	nurse := w.login("nurse@example.test/z", "")

	juliet.send(strings.Replace(askInfo, "%s", "romeo@example.test", 1))
	juliet.wantPart("from='romeo@example.test' to='juliet@example.test/y' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='account' type='registered'/>")
	const his = "<query xmlns='http://jabber.org/protocol/disco#items'><item jid='romeo@example.test/x'/></query></iq>"
	for _, c := range []*client{romeo, juliet} {
		c.take()
		c.send(strings.Replace(askItems, "%s", "romeo@example.test", 1)).wantPart(his)
	}

	everybody := []string{"nobody@example.test", "juliet@example.test", "romeo@example.test", "romeo@example.net"} // missing, offline, online, elsewhere
	juliet.drop()
	store.asked = 0
	if got := nurse.alike(askInfo, everybody...); !strings.Contains(got, "type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>") {
		t.Error(got)
	}
	if got := nurse.alike(askItems, everybody...); !strings.Contains(got, "type='result'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>") {
		t.Error(got)
	}
	if store.asked != 2*len(everybody) {
		t.Errorf("storage was asked %d times for %d requests: the time tells who is online", store.asked, 2*len(everybody))
	}
	if got, other := nurse.alike(askInfo, everybody...), nurse.alike("<iq type='get' id='1' to='%s'><q xmlns='urn:nobody'/></iq>", everybody...); got != other {
		t.Errorf("%s\nother requests: %s", got, other)
	}
}
