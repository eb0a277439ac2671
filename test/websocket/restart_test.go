package websocket

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestPlannedStop: a stop closes the WebSocket and leaves the stream unfinished; the
// session goes on behind it, and has what was not acknowledged.
func TestPlannedStop(t *testing.T) {
	s := harness.Start(t, harness.Config{})
	s.MustAddUser(t, "a@"+domain, secret)
	a := dial(t, s, nil).logIn("a", "page")
	a.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	_, id, _ := strings.Cut(a.until("<enabled "), " id='")
	id, _, _ = strings.Cut(id, "'")
	a.say("<message xmlns='jabber:client' to='a@" + domain + "/page' type='chat' id='1'><body>kept</body></message>")
	a.until("<body>kept<")
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop() }()
	if got, status := a.rest(); status != 1000 || strings.Contains(strings.Join(got, ""), "<close") {
		t.Errorf("%q %d", got, status)
	}
	a.nc.Close()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	back := dial(t, s, nil).logIn("a", "")
	back.say("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>")
	if got := back.until("<resumed "); !strings.Contains(got, "h='1'") {
		t.Error(got)
	}
	back.until("<body>kept<")
}
