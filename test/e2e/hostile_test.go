package e2e

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// A badInput is one thing that a client must not send, and what the server
// says to it. Rows are named by the rule that is broken.
type badInput struct {
	rule string
	from stage
	send []string // each is one write
	want answer
}

// A stage is where in the dialogue the bad input is sent.
type stage func(t *testing.T, h *hostile) *xmppc.Conn

// An answer checks what comes back, up to the end of the connection if it is to end.
type answer func(t *testing.T, c *xmppc.Conn)

// hostile is one server that suffers all the tables, and its only account.
type hostile struct {
	*harness.Server
	user string
}

// leastInputs is how many named rows the tables have together at least, not
// counting the dialogues and floods.
const leastInputs = 350

// stanzaLimit is low, so that no row must send much.
const stanzaLimit = 64 << 10

// hostileRoster is how many contacts an account may have there.
const hostileRoster = 250

// TestHostile runs every table against one server. After each it looks whether
// a good client is served, and memory and descriptors are back where they were
// before all; at the end, which is the server's, so are goroutines.
func TestHostile(t *testing.T) {
	s := harness.Start(t, harness.Config{
		Registration: "open",
		Limits:       harness.Limits{StanzaBytes: stanzaLimit, RosterItems: hostileRoster},
	})
	h := &hostile{Server: s, user: "romeo"}
	s.MustAddUser(t, h.user+"@"+domain, secret)
	goodClient(t, h)
	before := s.Usage(t)

	tables := []struct {
		name string
		rows []badInput
	}{
		{"XML", badXML}, {"bytes", badBytes}, {"size", badSizes}, {"header", badHeaders},
		{"sequence", badSequences}, {"SASL", badSASL}, {"roster and presence", badIM}, {"stream management", badManagement},
		{"forgeries", badForgeries}, {"capabilities", badHashes}, {"payloads", badPayloads},
	}
	// After each, what is checked here once more costs little and names the culprit.
	suffer := func(name string, f func(t *testing.T)) {
		t.Run(name, f)
		t.Run("after "+name, func(t *testing.T) {
			goodClient(t, h)
			backToNormal(t, h, before)
		})
	}
	n := 0
	for _, table := range tables {
		suffer(table.name, func(t *testing.T) {
			for _, row := range table.rows {
				t.Run(row.rule, func(t *testing.T) { row.run(t, h) })
			}
		})
		n += len(table.rows)
	}
	suffer("guessing", func(t *testing.T) { guessing(t, h) })
	suffer("TLS", func(t *testing.T) { badTLS(t, h) })
	suffer("ends", func(t *testing.T) { badEnds(t, h) })
	suffer("resumptions", func(t *testing.T) { badResumptions(t, h) })
	suffer("floods", func(t *testing.T) { floods(t, h) })
	suffer("floods of chat", func(t *testing.T) { imFloods(t, h) })
	suffer("storms", func(t *testing.T) { storms(t, h) })
	if n < leastInputs {
		t.Errorf("%d bad inputs in the tables, which are meant to have %d at least", n, leastInputs)
	}
	t.Logf("%d bad inputs in tables, and the dialogues", n)

	t.Run("goroutines are back where they were", func(t *testing.T) { noGoroutineLeft(t, h) })
}

func (row badInput) run(t *testing.T, h *hostile) {
	c := row.from(t, h)
	for _, piece := range row.send {
		if err := c.TrySend(piece); err != nil {
			break // the server needn't read to the end of it
		}
	}
	row.want(t, c)
	c.Drop()
}

// goodClient logs in, sends itself a message, and leaves.
func goodClient(t *testing.T, h *hostile) {
	c := session(t, h.Server, h.user, "")
	c.Sendf("<message to='%s' type='chat'><body>still here</body></message>", c.JID)
	c.Message("still here")
	c.Close()
}

// The stages.

// inClear has connected and sent nothing.
func inClear(t *testing.T, h *hostile) *xmppc.Conn { return xmppc.Dial(t, h.C2S) }

// inTLS is connected by direct TLS and has sent nothing.
func inTLS(t *testing.T, h *hostile) *xmppc.Conn { return direct(t, h.Server, domain) }

// openedInClear has the features that offer STARTTLS.
func openedInClear(t *testing.T, h *hostile) *xmppc.Conn {
	c := xmppc.Dial(t, h.C2S)
	c.Open(domain)
	return c
}

// openedInTLS has the features that offer SASL.
func openedInTLS(t *testing.T, h *hostile) *xmppc.Conn {
	c := inTLS(t, h)
	c.Open(domain)
	return c
}

// loggedIn stands between SASL and binding.
func loggedIn(t *testing.T, h *hostile) *xmppc.Conn { return authenticated(t, h.Server, h.user) }

// bound has a session.
func bound(t *testing.T, h *hostile) *xmppc.Conn { return session(t, h.Server, h.user, "") }

// The answers.

// streamError wants a stream error with one of these conditions, and the end.
func streamError(conditions ...string) answer {
	return func(t *testing.T, c *xmppc.Conn) {
		t.Helper()
		c.ExpectStreamError(conditions...)
	}
}

// headerThenError is streamError before the stream was opened: the server
// opens its side first (RFC 6120 4.9.1.2).
func headerThenError(conditions ...string) answer {
	return func(t *testing.T, c *xmppc.Conn) {
		t.Helper()
		c.ExpectHeader()
		c.ExpectStreamError(conditions...)
	}
}

// failure wants a SASL failure with one of these conditions; the stream goes on.
func failure(conditions ...string) answer {
	return func(t *testing.T, c *xmppc.Conn) {
		t.Helper()
		c.ExpectFailure(conditions...)
		c.Sendf("<abort xmlns='%s'/>", xmppc.NSSASL)
		c.ExpectFailure("aborted")
	}
}

// failureOrError wants a SASL failure, or the end of the stream by one of the conditions.
func failureOrError(conditions ...string) answer {
	return func(t *testing.T, c *xmppc.Conn) {
		t.Helper()
		e := c.Next()
		named := false
		for _, condition := range conditions {
			named = named || e.Condition() == condition
		}
		switch {
		case !named:
			t.Errorf("got %s, want one of %q", e.Raw, conditions)
		case e.Is(xmppc.NSStream, "error"):
			c.ExpectEnd()
		}
	}
}

// ended wants the end, in good order or not, and no stanza before it.
func ended(t *testing.T, c *xmppc.Conn) {
	t.Helper()
	for {
		e, err := c.TryNext()
		if errors.Is(err, io.EOF) || errors.Is(err, xmppc.ErrConnection) {
			c.ExpectHangup()
			return
		}
		if err != nil || !e.Is(xmppc.NSStream, "error") {
			t.Fatalf("got %s (%v), want the end", e.Name(), err)
		}
	}
}

// How far measurements may be off after thousands of bad inputs.
const (
	// Connections that have just ended may still be closing; the heap grows and
	// shrinks by the collector's pace, and the runtime gives memory back slowly.
	// The floods below send four times as much, and the rows together some 20 MiB.
	spareMemory      = 24 << 20
	spareDescriptors = 2
	spareGoroutines  = 3 // the database's pool and the runtime's own come and go
)

func backToNormal(t *testing.T, h *hostile, before harness.Usage) {
	margin := int64(spareMemory)
	if harness.Race {
		margin *= 8 // shadow memory is four times the heap's peak and not given back
	}
	var now harness.Usage
	fine := harness.Eventually(t, 60*time.Second, func() bool {
		now = h.Usage(t)
		return now.FDs <= before.FDs+spareDescriptors && now.RSS <= before.RSS+margin
	})
	t.Logf("before: %v", before)
	t.Logf("now:    %v", now)
	if !fine {
		t.Errorf("the server doesn't come back to %d descriptors and %d KiB", before.FDs+spareDescriptors, (before.RSS+margin)>>10)
	}
}

// noGoroutineLeft compares with a server that has seen one good client only.
func noGoroutineLeft(t *testing.T, h *hostile) {
	if harness.AgainstProsody() {
		t.Skip("Prosody has none")
	}
	fresh := harness.Start(t, harness.Config{Registration: "open"})
	fresh.MustAddUser(t, h.user+"@"+domain, secret)
	goodClient(t, &hostile{Server: fresh, user: h.user})
	want, got := fresh.Goroutines(t), h.Goroutines(t)
	t.Logf("%d goroutines, in a fresh server %d", len(got), len(want))
	if len(got) > len(want)+spareGoroutines {
		t.Errorf("%d goroutines are left over:\n%s", len(got)-len(want), strings.Join(got, "\n\n"))
	}
}
