package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// floods are good stanzas, but too many of them. Each test sends more than
// spareMemory, so that a queue without a bound shows.
func floods(t *testing.T, h *hostile) {
	t.Run("a client that doesn't read is cut off, others notice nothing", func(t *testing.T) { unread(t, h) })
	t.Run("a client that doesn't read its own answers", func(t *testing.T) { unreadAnswers(t, h) })
	t.Run("RFC 6120 8.2.3 a burst of requests is answered in order and to the last", func(t *testing.T) { burst(t, h) })
	t.Run("RFC 6121 4.6 directed presence to ever new addresses", func(t *testing.T) { directedFlood(t, h) })
	t.Run("many connections that say nothing", func(t *testing.T) {
		conns := make([]*xmppc.Conn, 200)
		for i := range conns {
			conns[i] = inClear(t, h)
			if i%2 == 0 {
				conns[i].SendHeader(domain)
			}
		}
		goodClient(t, h)
		for _, c := range conns {
			c.Drop()
		}
	})
	t.Run("stanzas to oneself without end", func(t *testing.T) {
		watchPeakWithin(t, h, spareArchived, func() {
			c := online(t, h.Server, account(t, h.Server, "romeo"), "", 0)
			message := fmt.Sprintf("<message to='%s'><body>%s</body></message>", c.JID, strings.Repeat("x", 32<<10))
			overwhelm(t, c, message)
		})
	})
}

// spareArchived is spareMemory for floods of messages, which pass the archive: a large
// one is copied into rows, and by the database, so that more is waiting for the
// collector. The floods send twice as much.
const spareArchived = 2 * spareMemory

// watchPeak checks that the server's memory stays within bounds meanwhile.
func watchPeak(t *testing.T, h *hostile, flood func()) {
	t.Helper()
	watchPeakWithin(t, h, spareMemory, flood)
}

func watchPeakWithin(t *testing.T, h *hostile, margin int64, flood func()) {
	t.Helper()
	before := h.Usage(t)
	h.ResetPeak(t)
	flood()
	after := h.Usage(t)
	if harness.Race {
		margin *= 4
	}
	t.Logf("before: %v; after: %v", before, after)
	if after.Peak > before.RSS+margin {
		t.Errorf("memory grew by %d KiB, more than %d", (after.Peak-before.RSS)>>10, margin>>10)
	}
}

func unread(t *testing.T, h *hostile) {
	romeo, juliet := romeoAndJuliet(t, h.Server)
	mercutio := online(t, h.Server, account(t, h.Server, "mercutio"), "street", 0)
	benvolio := online(t, h.Server, account(t, h.Server, "benvolio"), "street", 0)
	message := fmt.Sprintf("<message to='%s' type='chat'><body>%s</body></message>", juliet.JID, strings.Repeat("x", 32<<10))

	watchPeakWithin(t, h, spareArchived, func() {
		for round := range 192 { // 96 MiB
			romeo.Send(strings.Repeat(message, 16))
			romeo.Sync("presence", "message") // errors, once she is gone
			if round%16 == 0 {
				mercutio.Sendf("<message to='%s' type='chat'><body>%d</body></message>", benvolio.JID, round)
				benvolio.Message(fmt.Sprint(round))
			}
		}
	})
	id := "is she there"
	romeo.Sendf("<iq type='get' id='%s' to='%s'>%s</iq>", id, juliet.JID, ping)
	for e := romeo.Next(); ; e = romeo.Next() {
		if e.Attr("id") != id {
			continue
		}
		if e.Condition() != "service-unavailable" {
			t.Errorf("want service-unavailable, since her session must be gone: %s", e.Raw)
		}
		return
	}
}

func unreadAnswers(t *testing.T, h *hostile) {
	watchPeak(t, h, func() {
		c := bound(t, h)
		request := fmt.Sprintf("<iq type='get' id='%s' to='%s'>%s</iq>", strings.Repeat("i", 900), domain, ping)
		overwhelm(t, c, request)
	})
	goodClient(t, h)
}

// overwhelm repeats a stanza that brings an answer, and doesn't read. The
// server either stops reading, or has ended the stream when the client looks.
func overwhelm(t *testing.T, c *xmppc.Conn, stanza string) {
	t.Helper()
	piece := []byte(strings.Repeat(stanza, 1+(64<<10)/len(stanza)))
	for sent := 0; sent < 96<<20; sent += len(piece) {
		c.Net().SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Net().Write(piece); err != nil {
			t.Logf("refused after %d KiB: %v", sent>>10, err)
			c.Drop()
			return
		}
	}
	for n := 0; ; n++ {
		e, err := c.TryNext()
		if err == nil && !e.Is(xmppc.NSStream, "error") {
			continue
		}
		if ne := (net.Error)(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Error("after 96 MiB that were not read the stream goes on")
		}
		t.Logf("the end comes after %d answers: %s, %v", n, e.Condition(), err)
		c.Drop()
		return
	}
}

func burst(t *testing.T, h *hostile) {
	const many = 10000
	c := bound(t, h)
	written := make(chan error, 1)
	go func() { // ends when all is written, or the connection is closed with the test
		_, err := io.Copy(c.Net(), strings.NewReader(numbered("<iq type='get' id='n%d'>"+ping+"</iq>", many)))
		written <- err
	}()
	for i := range many {
		e := c.Next()
		if e.Attr("id") != fmt.Sprintf("n%d", i) || e.Attr("type") != "result" {
			t.Fatalf("answer %d is %s", i, e.Raw)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func directedFlood(t *testing.T, h *hostile) {
	watchPeak(t, h, func() {
		c := online(t, h.Server, account(t, h.Server, "romeo"), "", 0)
		const many = 400
		for round := range 100 {
			var b strings.Builder
			for i := range many {
				fmt.Fprintf(&b, "<presence to='x%d-%d%s@%s'/>", round, i, strings.Repeat("y", 600), domain)
			}
			if c.TrySend(b.String()) != nil {
				return // cut off: as good
			}
			c.TrySend("<iq type='get' id='round' to='" + domain + "'>" + ping + "</iq>")
			for {
				e, err := c.TryNext()
				if err != nil || e.Is(xmppc.NSStream, "error") {
					return
				}
				if e.Attr("id") == "round" {
					break
				}
			}
		}
	})
	goodClient(t, h)
}
