package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// speaking is an extension with a service whose occupants send requests: to
// <q xmlns='urn:x' from='F' to='T'/> it sends one from F to T.
func speaking() extension.Registration {
	reg := answering(true, func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		p := q.Payload()
		return nil, h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: "service",
			From: jid.MustParse(p.Attr("from")), To: jid.MustParse(p.Attr("to"))}, stanza.El("urn:y", "y")))
	})
	reg.Components = []extension.Component{{Domain: "rooms.$domain"}}
	return reg
}

// TestStrangers is privacy.strangers: refuse (RFC 6121 8.5.3.1).
func TestStrangers(t *testing.T) {
	var store *rosters
	item := func(contact string, sub storage.Subscription) storage.RosterItem {
		return storage.RosterItem{Contact: jid.MustParse(contact), Subscription: sub}
	}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		with(speaking())(o, p)
		o.RefuseStrangers = true
		store = p.Store.(*rosters)
		store.m[jid.MustParse("juliet@example.test")] = storage.Roster{Version: 1, Items: []storage.RosterItem{
			item("both@example.net", storage.SubBoth), item("from@example.net", storage.SubFrom),
			item("none@example.net", storage.SubNone), item("to@example.net", storage.SubTo),
		}}
	})
	const him = "juliet@example.test/a"
	ask := func(c *client, typ, to string) (refused bool) {
		t.Helper()
		c.send(fmt.Sprintf("<iq type='%s' id='q' to='%s'><q xmlns='urn:q'/></iq>", typ, to))
		out := c.take()
		if out != "" && !strings.Contains(out, "<service-unavailable ") {
			t.Error(out)
		}
		return out != ""
	}
	juliet := w.login(him, "")
	for _, online := range []bool{false, true} { // whether the roster is in memory
		if online {
			juliet.send("<presence/>").take()
		}
		for _, row := range []struct {
			from string
			want bool
		}{
			{"both@example.net/x", true}, {"from@example.net/x", true}, {"to@example.net/x", false}, {"none@example.net/x", false},
			{"nurse@example.test/x", false}, {"juliet@example.test/b", true}, {"juliet@example.net/a", false},
		} {
			c := w.login(row.from, "")
			for _, typ := range []string{"get", "set"} {
				if got := !ask(c, typ, him); got != row.want {
					t.Errorf("online %v: iq %s of %s: taken %v, want %v", online, typ, row.from, got, row.want)
				}
				if got := strings.Contains(juliet.take(), "<q xmlns='urn:q'/>"); got != row.want {
					t.Errorf("online %v: iq %s of %s: came %v, want %v", online, typ, row.from, got, row.want)
				}
			}
			for _, typ := range []string{"result", "error"} { // 8.5.3.1: always
				c.send("<iq type='" + typ + "' id='r' to='" + him + "'/>")
				juliet.wantPart("id='r' type='" + typ + "'")
			}
			c.drop()
		}
	}

	// Directed presence, to the bare JID or a resource, and its end.
	nurse := w.login("nurse@example.test/x", "")
	other := w.login("nurse@example.test/y", "")
	for _, to := range []string{"nurse@example.test", "nurse@example.test/x", "nurse@example.test/gone"} {
		juliet.send("<presence to='" + to + "'/>")
		nurse.take()
		other.take()
		asked := store.asked
		if ask(nurse, "get", him) || ask(other, "set", him) {
			t.Errorf("refused after presence to %s", to)
		}
		if store.asked != asked {
			t.Error("storage was asked for whoever is known in memory")
		}
		juliet.send("<presence type='unavailable' to='" + to + "'/>").take()
		nurse.take()
		other.take()
		if !ask(nurse, "get", him) || !ask(other, "set", him) || juliet.take() != "" {
			t.Errorf("taken after unavailable presence to %s", to)
		}
	}
	juliet.send("<presence to='nurse@example.test'/>")
	nurse.take()
	second := w.login("juliet@example.test/b", "<presence/>")
	if !ask(nurse, "get", "juliet@example.test/b") || second.take() != "" {
		t.Error("presence of one resource opens another")
	}
	nurse.send("<presence to='" + "juliet@example.test/b" + "'/>")
	second.take()
	if !ask(nurse, "get", "juliet@example.test/b") {
		t.Error("presence of the sender's opens the recipient")
	}

	// Services.
	juliet.take()
	for _, row := range []struct {
		from string
		want bool
	}{
		{"example.test", true}, {"example.net", true}, {"rooms.example.test", true}, {"rooms.example.net", true},
		{"hall@rooms.example.test/nurse", false}, {"hall@rooms.example.test", false},
	} {
		nurse.send("<iq type='get' id='1' to='example.test'><q xmlns='urn:x' from='" + row.from + "' to='" + him + "'/></iq>").take()
		if got := strings.Contains(juliet.take(), "id='service'"); got != row.want {
			t.Errorf("a request of %s: came %v, want %v", row.from, got, row.want)
		}
	}
	juliet.send("<presence to='hall@rooms.example.test/juliet'/>").take() // she joins
	nurse.send("<iq type='get' id='1' to='example.test'><q xmlns='urn:x' from='hall@rooms.example.test/nurse' to='" + him + "'/></iq>").take()
	juliet.wantPart("from='hall@rooms.example.test/nurse' to='" + him + "' id='service' type='get'")

	// Whoever is refused can't tell why: no account, no resource, not online, not permitted.
	second.drop()
	stranger := w.login("stranger@example.test/x", "")
	store.asked = 0
	everybody := []string{"nobody@example.test/a", "nurse@example.net/a", "juliet@example.test/no", him, "nurse@example.test/x"}
	got := stranger.alike("<iq type='get' id='1' to='%s'><q xmlns='urn:q'/></iq>", everybody...)
	if !strings.Contains(got, "type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>") {
		t.Error(got)
	}
	if store.asked != len(everybody) {
		t.Errorf("storage was asked %d times for %d requests: the time tells who is online", store.asked, len(everybody))
	}
	store.fail = errors.New("broken")
	if again := stranger.alike("<iq type='get' id='1' to='%s'><q xmlns='urn:q'/></iq>", everybody...); again != got {
		t.Errorf("%s\nstorage fails: %s", got, again)
	}
}

// Without the option, requests of strangers come through, and storage is not asked.
func TestStrangersAreAllowed(t *testing.T) {
	var store *rosters
	w := newWorld(t, func(_ *core.Options, p *core.Ports) { store = p.Store.(*rosters) })
	juliet := w.login("juliet@example.test/a", "")
	w.login("nurse@example.test/x", "").send("<iq type='get' id='q' to='juliet@example.test/a'><q xmlns='urn:q'/></iq>").want("")
	juliet.wantPart("<q xmlns='urn:q'/>")
	if store.asked != 0 {
		t.Errorf("storage was asked %d times", store.asked)
	}
}
