package core_test

import (
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
)

// What is stored when a session leaves it is safe like a chat message, also where
// without the session it would go back to its sender (RFC 6121 8.5.3.2.1).
func TestNormalMessagesToFullJIDsAreSpooled(t *testing.T) {
	for _, typ := range []string{"", " type='normal'", " type='nonsense'"} {
		synctest.Test(t, func(t *testing.T) {
			sp := &spool{}
			m := &mailbox{Store: accountsIn(t, "juliet@example.test")}
			w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) { p.Store = m })
			romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
			romeo.manage()
			juliet.manage()
			romeo.send("<message to='juliet@example.test/a'" + typ + "><body>1</body></message>" + askAck).want(ack(0))
			sp.wantHeld(t, 1)
			sp.sync(1)
			romeo.want(ack(1))
			juliet.send("</stream:stream>")
			keeps(t, m, "1")
			sp.wantHeld(t, 0)
			romeo.send("<message to='juliet@example.test/a'" + typ + " id='2'><body>2</body></message>" + askAck)
			romeo.wantPart("<service-unavailable ")
			keeps(t, m, "1")
			sp.wantHeld(t, 0)
		})
	}
}
