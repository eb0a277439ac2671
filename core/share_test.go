package core_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
)

// One account can't have the server hold a full outbox for each of its sessions: all
// of them together have as much as four.
func TestSessionsOfAnAccountShareABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outbox = 64 << 10
		w, m := offlineWorld(t, func(o *core.Options, _ *core.Ports) {
			o.Limits.OutboxBytes, o.Offline = outbox, offline.Options{Messages: 10_000}
			o.Rates.Disabled = true
		})
		var all []*client
		for i := range 8 {
			c := w.login(fmt.Sprintf("juliet@example.test/%d", i), "<presence><priority>-1</priority></presence>")
			c.manage() // what one leaves is stored
			all = append(all, c)
		}
		other := w.online("nurse@example.test/n")
		other.manage()
		romeo := w.login("romeo@example.test/x", "")
		message := "<message to='%s' type='chat'><body>" + strings.Repeat("x", 1000) + "</body></message>"
		for i := range all { // each has less than its own bound
			for range 80 {
				romeo.send(fmt.Sprintf(message, fmt.Sprint("juliet@example.test/", i)))
			}
		}
		for range 80 {
			romeo.send(fmt.Sprintf(message, "nurse@example.test/n"))
		}
		synctest.Wait()
		ended := 0
		for _, c := range all {
			if c.closing {
				c.wantPart("<resource-constraint ")
				ended++
			}
		}
		if ended == 0 || ended == len(all) {
			t.Errorf("%d sessions of %d have ended", ended, len(all))
		}
		if other.closing {
			t.Error("so did that of somebody else")
		}
		if n := len(m.waiting(t, juliet)); n < 80*ended-80 || n > 80*ended {
			t.Errorf("%d messages are stored of what %d sessions left", n, ended)
		}
		// Who acknowledges makes room.
		for i, c := range all {
			if !c.closing {
				c.send(ack(80))
				for range 50 {
					romeo.send(fmt.Sprintf(message, fmt.Sprint("juliet@example.test/", i)))
				}
				if c.closing {
					t.Errorf("session %d has ended", i)
				}
			}
		}
	})
}

// So it is with many that hold little.
func TestManySessionsOfAnAccountShareABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outbox, sessions = 64 << 10, 80
		w, _ := offlineWorld(t, func(o *core.Options, _ *core.Ports) {
			o.Limits.OutboxBytes, o.Offline = outbox, offline.Options{Messages: 10_000}
			o.Rates.Disabled = true
		})
		var all []*client
		for i := range sessions {
			c := w.login(fmt.Sprintf("juliet@example.test/%d", i), "")
			c.manage()
			all = append(all, c)
		}
		romeo := w.login("romeo@example.test/x", "")
		body := strings.Repeat("x", 1000)
		for i := range all {
			for range 12 { // less than a fifth of what one may hold
				romeo.send(fmt.Sprintf("<message to='juliet@example.test/%d' type='chat'><body>%s</body></message>", i, body))
			}
		}
		synctest.Wait()
		open := 0
		for _, c := range all {
			if !c.closing {
				open++
			}
		}
		if most := 8 * outbox / 12_000; open > most+5 || open < most/2 {
			t.Errorf("%d sessions hold 12 kB each", open)
		}
	})
}
