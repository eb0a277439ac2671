package roster

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// The nine states of RFC 6121 A.1, in its order.
var states = []State{None, PendingOut, PendingIn, PendingOut | PendingIn, To, To | PendingIn, From, From | PendingOut, Both}

const (
	n, nO, nI, nOI, t, tI, f, fO, b = 0, 1, 2, 3, 4, 5, 6, 7, 8
)

// Each cell of the tables of RFC 6121 A.2 and A.3: whether the stanza passes,
// and the new state.
func TestAppendixA(t9 *testing.T) {
	yes, no := true, false
	tables := []struct {
		section string
		typ     string
		inbound bool
		pass    [9]bool
		state   [9]int
		reply   [9]string
	}{
		{"A.2.1", stanza.Subscribe, false, [9]bool{yes, yes, yes, yes, yes, yes, yes, yes, yes}, [9]int{nO, nO, nOI, nOI, t, tI, fO, fO, b}, [9]string{}},
		{"A.2.2", stanza.Unsubscribe, false, [9]bool{yes, yes, yes, yes, yes, yes, yes, yes, yes}, [9]int{n, n, nI, nI, n, nI, f, f, f}, [9]string{}},
		{"A.2.3", stanza.Subscribed, false, [9]bool{no, no, yes, yes, no, yes, no, no, no}, [9]int{n, nO, f, fO, t, b, f, fO, b}, [9]string{}},
		{"A.2.4", stanza.Unsubscribed, false, [9]bool{no, no, yes, yes, no, yes, yes, yes, yes}, [9]int{n, nO, n, nO, t, t, n, nO, t}, [9]string{}},
		{"A.3.1", stanza.Subscribe, true, [9]bool{yes, yes, no, no, yes, no, no, no, no}, [9]int{nI, nOI, nI, nOI, tI, tI, f, fO, b},
			[9]string{f: stanza.Subscribed, fO: stanza.Subscribed, b: stanza.Subscribed}},
		{"A.3.2", stanza.Unsubscribe, true, [9]bool{no, no, yes, yes, no, yes, yes, yes, yes}, [9]int{n, nO, n, nO, t, t, n, nO, t},
			[9]string{nI: stanza.Unsubscribed, nOI: stanza.Unsubscribed, tI: stanza.Unsubscribed, f: stanza.Unsubscribed, fO: stanza.Unsubscribed, b: stanza.Unsubscribed}},
		{"A.3.3", stanza.Subscribed, true, [9]bool{no, yes, no, yes, no, no, no, yes, no}, [9]int{n, t, nI, tI, t, tI, f, b, b}, [9]string{}},
		{"A.3.4", stanza.Unsubscribed, true, [9]bool{no, yes, no, yes, yes, yes, no, yes, yes}, [9]int{n, n, nI, nI, n, nI, f, f, f}, [9]string{}},
	}
	for _, table := range tables {
		for i, was := range states {
			step := was.Outbound(table.typ, false)
			if table.inbound {
				step = was.Inbound(table.typ, false)
			}
			if step.Pass != table.pass[i] || step.State != states[table.state[i]] || step.Reply != table.reply[i] {
				t9.Errorf("RFC 6121 %s, state %d: %+v, want pass %v, state %04b, reply %q", table.section, i+1, step, table.pass[i], states[table.state[i]], table.reply[i])
			}
		}
	}
}

// RFC 6121 3.4: pre-approval.
func TestPreApproval(t9 *testing.T) {
	for _, was := range []State{None, PendingOut, To} {
		given := was.Outbound(stanza.Subscribed, false)
		if given.Pass || !given.Approved || given.State != was {
			t9.Errorf("3.4.2 state %04b: %+v", was, given)
		}
		asked := was.Inbound(stanza.Subscribe, true)
		if asked.Pass || asked.Reply != stanza.Subscribed || asked.State != was|From || asked.Approved {
			t9.Errorf("3.4.2 state %04b: %+v", was, asked)
		}
		taken := was.Outbound(stanza.Unsubscribed, true)
		if taken.Pass || taken.Approved || taken.State != was {
			t9.Errorf("3.4.3 state %04b: %+v", was, taken)
		}
	}
	for _, was := range []State{From, From | PendingOut, Both} {
		if step := was.Outbound(stanza.Subscribed, false); step.Approved {
			t9.Errorf("3.4 state %04b is approved already: %+v", was, step)
		}
	}
}

func TestSubscription(t9 *testing.T) {
	for i, want := range []string{"none", "none", "none", "none", "to", "to", "from", "from", "both"} {
		if got := states[i].Subscription(); string(got) != want {
			t9.Errorf("state %d: %s, want %s", i+1, got, want)
		}
	}
}
