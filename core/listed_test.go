package core_test

import (
	"context"
	"testing"

	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// A stage handler knows who is in the roster of the account that it decides for, as it is
// by now, and of no other.
func TestListedInAStage(t *testing.T) { plugintest.BothWays(t, testListedInAStage) }

func testListedInAStage(t *testing.T, as plugintest.Way) {
	juliet, nurse := jid.MustParse("juliet@example.test"), jid.MustParse("nurse@example.test")
	reg := extension.Registration{Name: "friends", Residents: []string{"friends"}, ResidentRoster: "friends",
		Permissions: []extension.Permission{extension.SeeStanzas, extension.ReadRosters}}
	reg.Stages = []extension.StageHandler{{
		Stage: extension.Deliver, Class: extension.Decide, Policy: extension.Closed,
		Match: extension.Match{Kinds: []stanza.Kind{stanza.Message}, Resident: "friends"},
		Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) (v extension.Verdict, err error) {
			if _, err := h.Rosters.Listed(nurse, juliet); err == nil {
				t.Error("the roster of another")
			}
			listed, err := h.Rosters.Listed(e.Account, e.Stanza.From)
			if err == nil && !listed {
				v.Action = extension.Drop
			}
			return v, err
		},
	}}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		p.Store = accountsIn(t, "juliet@example.test", "romeo@example.test", "nurse@example.test")
		for _, owner := range []jid.JID{juliet, nurse} {
			if err := p.Store.Commit(t.Context(), storage.Writes{Ops: []storage.Op{{Space: "friends", Owner: owner, Key: "friends"}}}); err != nil {
				t.Fatal(err)
			}
		}
		with(as(t, reg))(o, p)
	})
	she, romeo := w.login("juliet@example.test/a", "<presence/>"), w.login("romeo@example.test/x", "")
	romeo.send(say(1))
	she.want("")
	she.send("<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='romeo@example.test'/></query></iq>").take()
	romeo.send(say(2))
	she.want(msg(2))
	she.send("<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='romeo@example.test' subscription='remove'/></query></iq>").take()
	romeo.send(say(3))
	she.want("")
}
