package interop

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// reader is a session of testdata/archive.py.
type reader struct{ *contact }

func readerOnline(t *testing.T, s *harness.Server, w way, jid string) *reader {
	t.Helper()
	c := &reader{&contact{slixmpp: startPython(t, s, w, "archive.py", jid, secret)}}
	c.jid = c.tells("online", func(e event) bool { return e.Pong && e.Roster == "yes" }).JID
	c.tells("managed", nil)
	return c
}

// archive pages through the archive.
func (c *reader) archive(most int, with string, reverse bool) event {
	c.t.Helper()
	c.does(map[string]any{"archive": most, "with": with, "reverse": reverse})
	return c.tells("archived", nil)
}

// TestArchive: the archive as slixmpp reads it (XEP-0313, 0059, 0359, 0441), also what
// came by another client, and while it was away.
func TestArchive(t *testing.T) {
	s := server(t)
	romeo, juliet, nurse := account(t, s, "romeo"), account(t, s, "juliet"), account(t, s, "nurse")
	r, j, n := readerOnline(t, s, starttls, romeo), readerOnline(t, s, direct, juliet), readerOnline(t, s, direct, nurse)
	var all []string
	for i := range 25 {
		body := fmt.Sprint("message ", i)
		all = append(all, body)
		switch {
		case i%5 == 4:
			n.send(juliet, body)
			j.hears(nurse, body)
		case i%2 == 0:
			r.send(juliet, body)
			j.hears(romeo, body)
		default:
			j.send(romeo, body)
			r.hears(juliet, body)
		}
	}
	forwards := j.archive(10, "", false)
	if !slices.Equal(forwards.Fields, all) {
		t.Errorf("forwards: %q", forwards.Fields)
	}
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	if got := j.archive(7, "", true); !slices.Equal(got.Fields, backwards) {
		t.Errorf("backwards: %q", got.Fields)
	}
	if got := j.archive(2, nurse, false); !slices.Equal(got.Fields, []string{"message 4", "message 9", "message 14", "message 19", "message 24"}) {
		t.Errorf("with the nurse: %q", got.Fields)
	}

	j.does(map[string]any{"told": true})
	told := j.tells("told", nil).Fields
	if len(told) != 15 || slices.ContainsFunc(told, func(id string) bool { return !slices.Contains(forwards.IDs, id) }) {
		t.Errorf("messages came with the IDs %q, the archive has %q", told, forwards.IDs)
	}
	j.does(map[string]any{"ends": true})
	if e := j.tells("ends", nil); !slices.Equal(e.Fields, []string{forwards.IDs[0], forwards.IDs[24]}) {
		t.Errorf("metadata %q", e.Fields)
	}
	j.does(map[string]any{"form": true})
	if e := j.tells("form", nil); !slices.Contains(e.Fields, "with") || !slices.Contains(e.Fields, "ids") {
		t.Errorf("fields %q", e.Fields)
	}

	j.does(map[string]any{"prefs": "always", "never": []string{nurse}})
	if e := j.tells("prefs", nil); e.Name != "always" || !slices.Equal(e.Fields, []string{nurse}) {
		t.Errorf("preferences %s, never %q", e.Name, e.Fields)
	}
	n.send(juliet, "off the record")
	j.hears(nurse, "off the record")
	j.leave()
	r.send(juliet, "while you slept")
	j = readerOnline(t, s, starttls, juliet)
	j.tells("message", func(e event) bool { return e.Body == "while you slept" }) // and what it had not acknowledged when it left
	if got := j.archive(50, "", false); !slices.Equal(got.Fields, append(all, "while you slept")) {
		t.Errorf("later: %q", got.Fields)
	}
}
