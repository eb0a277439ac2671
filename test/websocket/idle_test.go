package websocket

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// TestIdleSessions: sessions by WebSocket hold no goroutine, over TLS or not, and none of
// the room that HTTP has.
func TestIdleSessions(t *testing.T) {
	s := harness.Start(t, harness.Config{})
	s.MustAddUser(t, "a@"+domain, secret)
	const sessions = 90 // an account may have 100
	for i := range sessions {
		dial(t, s, nil).logIn("a", fmt.Sprint(i))
	}
	r, err := http.Get("http://" + s.HTTP + "/health")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if stacks := s.Goroutines(t); len(stacks) > sessions {
		t.Errorf("%d goroutines for %d sessions:\n%s", len(stacks), sessions, strings.Join(stacks[:20], "\n\n"))
	}
}

// BenchmarkIdle reports what an idle session takes by WebSocket and by TCP, both over
// TLS: resident memory, in bytes. HEXMPP_IDLE says how many there are (default 1,000).
func BenchmarkIdle(b *testing.B) {
	n := 1000
	fmt.Sscan(os.Getenv("HEXMPP_IDLE"), &n)
	for _, way := range []string{"tcp", "websocket"} {
		b.Run(way, func(b *testing.B) {
			s := harness.Start(b, harness.Config{Extra: "metrics: {from: []}\n"})
			for i := range n/50 + 1 {
				s.MustAddUser(b, fmt.Sprintf("u%d@%s", i, domain), secret)
			}
			before := s.Usage(b).RSS
			for i := range n {
				user, resource := fmt.Sprintf("u%d", i/50), fmt.Sprint(i)
				if way == "tcp" {
					c := xmppc.DialTLS(b, s.C2STLS, s.CA.TLS(domain))
					c.Open(domain)
					c.LoginPlain(user, secret)
					c.Bind(resource)
					continue
				}
				dialTLS(b, s).logIn(user, resource)
			}
			b.ReportMetric(float64(s.Usage(b).RSS-before)/float64(n), "B/session")
		})
	}
}

func dialTLS(t testing.TB, s *harness.Server) *client {
	t.Helper()
	nc, err := tls.Dial("tcp", s.HTTPS, s.CA.TLS(domain))
	if err != nil {
		t.Fatal(err)
	}
	r, answer := ask(t, nc, domain, nil)
	if answer.StatusCode != 101 {
		t.Fatal(answer.Status)
	}
	return &client{t, nc, r}
}
