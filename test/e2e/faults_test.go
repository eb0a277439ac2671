package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// maxFaultLines is how often one and the same trouble may be told in the log while
// hundreds of stanzas meet it: 20 times in ten seconds.
const maxFaultLines = 60

// counted counts what a client sends.
type counted struct {
	*xmppc.Conn
	sent uint32
}

func (c *counted) chat(to, id string) {
	c.sent++
	c.Sendf("<message type='chat' id='%s' to='%s'><body>%[1]s</body></message>", id, to)
}

// told reads the server's next count, and answers when it asks for the client's.
func (c *counted) told() uint32 {
	for {
		if e := c.Next(); e.Is(xmppc.NSSM, "a") {
			return c.Count(e)
		}
		c.Ack(c.Handled)
	}
}

// settle waits until all that was sent is safe.
func (c *counted) settle(t *testing.T) {
	t.Helper()
	c.Sendf("<r xmlns='%s'/>", xmppc.NSSM)
	for h := c.told(); h != c.sent; h = c.told() {
		if int32(h-c.sent) > 0 {
			t.Fatalf("%d are counted of %d", h, c.sent)
		}
	}
}

// errors reads what came back.
func (c *counted) errors() []*xmppc.Element {
	c.sent++
	return messages(c.Conn)
}

// wantError wants these messages to have come back, in order, with an error.
func wantError(t *testing.T, got []*xmppc.Element, ids []string, condition, typ string) {
	t.Helper()
	if len(got) != len(ids) {
		t.Errorf("%d of %d messages came back", len(got), len(ids))
		return
	}
	for i, e := range got {
		if e.Attr("type") != "error" || e.Attr("id") != ids[i] || e.Condition() != condition || e.Child(xmppc.NSClient, "error").Attr("type") != typ {
			t.Errorf("%q came back as %s", ids[i], e.Raw)
		}
	}
}

func wantHealth(t *testing.T, s *harness.Server, status int, lines ...string) {
	t.Helper()
	got, body := get(t, s, "/health")
	for _, line := range lines {
		if !strings.Contains(body, line) {
			got = 0
		}
	}
	if got != status {
		t.Errorf("/health says %q, want %d and %q", body, status, lines)
	}
}

// wellAgain waits until the server says so by itself.
func wellAgain(t *testing.T, s *harness.Server) {
	t.Helper()
	if !harness.Eventually(t, time.Minute, func() bool { status, _ := get(t, s, "/health"); return status == http.StatusOK }) {
		_, body := get(t, s, "/health")
		t.Fatalf("the server does not recover: %s", body)
	}
}

// fewLines checks that no trouble was told without end.
func fewLines(t *testing.T, log string) {
	t.Helper()
	lines := map[string]int{}
	for line := range strings.Lines(log) {
		if _, msg, ok := strings.Cut(line, `"msg":"`); ok && !strings.Contains(line, `"level":"info"`) {
			msg, _, _ = strings.Cut(msg, `"`)
			lines[msg]++
		}
	}
	if len(lines) == 0 {
		t.Error("nothing was logged")
	}
	for msg, n := range lines {
		if n > maxFaultLines {
			t.Errorf("%d times: %s", n, msg)
		}
	}
	t.Log(lines)
}

// teller sends messages to somebody who is not online, and notes which came back.
type teller struct {
	*counted
	to      string // local part
	ids     []string
	refused map[string]bool
}

func newTeller(t *testing.T, s *harness.Server) *teller {
	t.Helper()
	return &teller{counted: &counted{Conn: session(t, s, account(t, s, "teller"), "")}, to: account(t, s, "listener"), refused: map[string]bool{}}
}

// tell sends some, and waits until each is kept or has come back. It says whether
// all were kept.
func (x *teller) tell(t *testing.T) (kept bool) {
	t.Helper()
	for range 5 {
		id := fmt.Sprint("told ", len(x.ids))
		x.ids = append(x.ids, id)
		x.chat(x.to+"@"+domain, id)
	}
	told := x.errors()
	for _, e := range told {
		wantError(t, []*xmppc.Element{e}, []string{e.Attr("id")}, "internal-server-error", "cancel")
		x.refused[e.Attr("id")] = true
	}
	return len(told) == 0
}

// check has the other one come online: what was kept is there once, in order. Of what
// came back the server may not have known whether it was kept.
func (x *teller) check(t *testing.T, s *harness.Server) {
	t.Helper()
	c := session(t, s, x.to, "")
	c.Send("<presence/>")
	got := messages(c)
	for _, id := range x.ids {
		switch {
		case len(got) > 0 && got[0].Body() == id:
			got = got[1:]
		case !x.refused[id]:
			t.Errorf("%q was neither kept nor refused", id)
		}
	}
	if len(got) > 0 {
		t.Errorf("%d messages are there twice, or out of order, the first of them: %s", len(got), got[0].Raw)
	}
}
