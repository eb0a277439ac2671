package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// restarted stops a server in good order, and starts it again; meanwhile is done in
// between. Its clients hang up when the server does.
func restarted(t *testing.T, s *harness.Server, meanwhile func(), clients ...*xmppc.Conn) {
	t.Helper()
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		c.Net().SetDeadline(time.Now().Add(xmppc.Timeout))
		io.Copy(io.Discard, c.Net()) // what it is still sent is lost
		c.Drop()
	}
	if err := s.Wait(); err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile()
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
}

// back resumes a session of before, of whose stanzas its client has handled those
// that it has read.
func back(t *testing.T, s *harness.Server, was *xmppc.Conn, id string) (*xmppc.Conn, *xmppc.Element) {
	t.Helper()
	local, _, _ := strings.Cut(was.Bare(), "@")
	c := authenticated(t, s, local)
	return c, c.Resume(id, was.Handled, was.JID)
}

// resumed is back for a session that must be there; h is the server's count.
func resumed(t *testing.T, s *harness.Server, was *xmppc.Conn, id string, h int) *xmppc.Conn {
	t.Helper()
	c, e := back(t, s, was, id)
	if !e.Is(xmppc.NSSM, "resumed") || e.Attr("h") != fmt.Sprint(h) {
		t.Fatalf("%s: got %s, want %d stanzas counted", was.JID, e.Raw, h)
	}
	return c
}

// afresh wants <failed/>, and binds a new session, which is available.
func afresh(t *testing.T, s *harness.Server, was *xmppc.Conn, id, condition string) *xmppc.Conn {
	t.Helper()
	c, e := back(t, s, was, id)
	if !e.Is(xmppc.NSSM, "failed") || e.Condition() != condition {
		t.Fatalf("%s: got %s", was.JID, e.Raw)
	}
	c.Bind("")
	c.Send("<presence/>")
	return c
}

// TestPlannedRestart: what docs/durability.md says of SIGTERM.
func TestPlannedRestart(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open"})

	t.Run("XEP-0198 5 sessions are resumed, and nothing is lost or comes twice", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		rid, jid := romeo.Enable(), juliet.Enable()
		chat(romeo, juliet.JID, 1, 2, 3)
		for n := range 2 { // the third is not read, and none is acknowledged
			juliet.Message(fmt.Sprint(n + 1))
		}
		other := session(t, s, account(t, s, "nurse"), "")
		if err := s.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		other.ExpectStreamError("system-shutdown")
		other.Drop()
		romeo.ExpectHangup() // without a word (XEP-0198 7)
		for _, c := range []*xmppc.Conn{romeo, juliet} {
			c.Drop()
		}
		if err := errors.Join(s.Wait(), s.Run()); err != nil {
			t.Fatal(err)
		}

		romeo = resumed(t, s, romeo, rid, 4) // a ping follows the messages
		chat(romeo, juliet.JID, 4)
		romeo.Collect() // nobody has told it that juliet was gone
		juliet = resumed(t, s, juliet, jid, 0)
		if got := wait(juliet, 2); !slices.Equal(got, []string{"3", "4"}) {
			t.Errorf("got %q", got)
		}
		hears(t, juliet)
		setItem(romeo, "<item jid='nurse@"+domain+"'/>") // reads the push: interest is kept
		juliet.Send("</stream:stream>")
		if p := romeo.Next(); describe(p) != "unavailable from "+juliet.JID {
			t.Errorf("got %s", p.Raw)
		}
	})

	t.Run("XEP-0198 5 what comes while the client is away waits for it, also over a second restart", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		id := juliet.Enable()
		juliet.Reset()
		chat(romeo, juliet.JID, 1)
		r, _, _ := strings.Cut(romeo.Bare(), "@")
		for n := range 2 {
			restarted(t, s, nil, romeo)
			romeo = im(t, s, r, "orchard")
			chat(romeo, juliet.JID, n+2)
		}
		romeo.IQError("get", juliet.JID, ping, "service-unavailable") // it can't wait
		juliet = resumed(t, s, juliet, id, 0)
		if got := wait(juliet, 3); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("XEP-0280 carbons are still on, and copies wait", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		juliet.IQ("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>")
		id := juliet.Enable()
		restarted(t, s, nil, romeo, juliet)
		r, _, _ := strings.Cut(romeo.Bare(), "@")
		romeo = im(t, s, r, "orchard")
		phone := im(t, s, local, "phone")
		chat(romeo, phone.JID, 1)
		juliet = resumed(t, s, juliet, id, 0)
		e := juliet.Next()
		for !e.Is(xmppc.NSClient, "message") {
			e = juliet.Next()
		}
		if e.Child("urn:xmpp:carbons:2", "received") == nil {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0160 messages that are stored and on their way come once", func(t *testing.T) {
		romeo, local := absent(t, s)
		leave(romeo, local, 1, 100)
		juliet := session(t, s, local, "balcony")
		id := juliet.Enable()
		juliet.Send("<presence/>")
		got := wait(juliet, 10) // presence is among what was read
		r, _, _ := strings.Cut(romeo.Bare(), "@")
		restarted(t, s, nil, romeo, juliet)
		romeo = im(t, s, r, "orchard")
		chat(romeo, juliet.JID, 101)
		juliet, e := back(t, s, juliet, id)
		if !e.Is(xmppc.NSSM, "resumed") {
			t.Fatal(e.Raw)
		}
		for len(got) < 101 {
			e := juliet.NextOrAsk()
			switch {
			case e.Is(xmppc.NSClient, "message"):
				got = append(got, e.Body())
			case e.Is(xmppc.NSSM, "r"):
				juliet.Ack(juliet.Handled)
			}
		}
		if !slices.Equal(got, numbers(1, 101)) {
			t.Errorf("got %q", got)
		}
		juliet.Ack(juliet.Handled)
		juliet.Collect()
	})

	t.Run("an account that is removed meanwhile has no session", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		id := juliet.Enable()
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		restarted(t, s, func() { s.CLI(t, "user", "remove", juliet.Bare()) }, romeo, juliet)
		done := s.CLI(t, "user", "add", juliet.Bare(), "--password", secret)
		if done.Code != 0 {
			t.Fatal(done)
		}
		c := authenticated(t, s, local)
		if e := c.Resume(id, 0, juliet.JID); !e.Is(xmppc.NSSM, "failed") || e.Has("h") {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("a file that is damaged is put aside, and what was acknowledged is not lost", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		romeo.Enable()
		id := juliet.Enable()
		chat(romeo, juliet.JID, 1)
		romeo.AwaitCount(2)
		file := filepath.Join(s.Dir, "data", "sessions")
		restarted(t, s, func() {
			p, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p[len(p)/2] ^= 1
			if err := os.WriteFile(file, p, 0o600); err != nil {
				t.Fatal(err)
			}
		}, romeo, juliet)
		if found, err := filepath.Glob(file + ".unreadable-*"); err != nil || len(found) != 1 || !strings.Contains(s.Log.String(), found[0]) {
			t.Errorf("%q, %v", found, err)
		}
		if got := wait(afresh(t, s, juliet, id, "item-not-found"), 1); !slices.Equal(got, []string{"1"}) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("a kill behind the restart is one like any other", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		rid, id := romeo.Enable(), juliet.Enable()
		chat(romeo, juliet.JID, 1)
		romeo.AwaitCount(2)
		restarted(t, s, nil, romeo, juliet)
		romeo = resumed(t, s, romeo, rid, 2)
		chat(romeo, juliet.JID, 2)
		romeo.AwaitCount(4)
		s.Kill()
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		if got := wait(afresh(t, s, juliet, id, "item-not-found"), 2); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("metrics tell how many sessions are back", func(t *testing.T) {
		juliet := session(t, s, account(t, s, "juliet"), "")
		juliet.Enable()
		restarted(t, s, nil, juliet)
		answer, err := http.Get("http://" + s.HTTP + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || !strings.Contains(string(text), "\nhexmpp_sessions_restored_total ") || strings.Contains(string(text), "\nhexmpp_sessions_restored_total 0\n") {
			t.Errorf("%v\n%s", err, text)
		}
	})

	t.Run("limits.resume-time: 0 ends what could be resumed", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		romeo.Enable()
		id := juliet.Enable()
		chat(romeo, juliet.JID, 1)
		romeo.AwaitCount(2)
		restarted(t, s, func() {
			p, err := os.ReadFile(s.File)
			if err != nil {
				t.Fatal(err)
			}
			off := strings.Replace(string(p), "\nlimits:\n", "\nlimits:\n  resume-time: 0s\n", 1)
			if err := os.WriteFile(s.File, []byte(off), 0o600); err != nil {
				t.Fatal(err)
			}
		}, romeo, juliet)
		if got := wait(afresh(t, s, juliet, id, "feature-not-implemented"), 1); !slices.Equal(got, []string{"1"}) {
			t.Errorf("got %q", got)
		}
	})
}
