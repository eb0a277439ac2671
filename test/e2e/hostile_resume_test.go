package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// badResumptions are attempts at a session that is not the client's, or not by
// its name (XEP-0198 5). Whatever is tried, the session stays its owner's.
func badResumptions(t *testing.T, h *hostile) {
	t.Run("XEP-0198 5 another's SM-ID, while the session is in use", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		id := juliet.Enable()
		refusedResumption(t, h, romeo, id)
		juliet.Sync() // is not taken over
		chat(romeo, juliet.JID, 1)
		juliet.Message("1")
	})
	t.Run("XEP-0198 5 another's SM-ID, while the session waits", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		id := juliet.Enable()
		juliet.Reset()
		refusedResumption(t, h, romeo, id)
		resumes(t, h, juliet, id)
	})
	t.Run("XEP-0198 5 another's SM-ID, from 12 accounts at once", func(t *testing.T) {
		_, juliet := strangers(t, h.Server)
		id := juliet.Enable()
		juliet.Reset()
		conns := make([]*xmppc.Conn, 12)
		for i := range conns {
			conns[i] = authenticated(t, h.Server, account(t, h.Server, "mercutio"))
			conns[i].Send(resume(id))
		}
		for _, c := range conns {
			failed(t, c, "item-not-found")
			c.Drop()
		}
		resumes(t, h, juliet, id)
	})
	for name, alter := range map[string]func(string) string{
		"in other case": func(id string) string {
			return strings.Map(func(r rune) rune {
				switch {
				case 'a' <= r && r <= 'z':
					return r - 'a' + 'A'
				case 'A' <= r && r <= 'Z':
					return r - 'A' + 'a'
				}
				return r
			}, id)
		},
		"in small letters":           strings.ToLower,
		"with a space before it":     func(id string) string { return " " + id },
		"with a space behind it":     func(id string) string { return id + " " },
		"with a line end behind it":  func(id string) string { return id + "&#10;" },
		"padded as base64":           func(id string) string { return id + "=" },
		"padded with a NUL's escape": func(id string) string { return id + "%00" },
		"twice":                      func(id string) string { return id + id },
		"but for its last letter":    func(id string) string { return id[:len(id)-1] },
		"but for its first letter":   func(id string) string { return id[1:] },
		"backwards": func(id string) string {
			b := []byte(id)
			for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
				b[i], b[j] = b[j], b[i]
			}
			return string(b)
		},
	} {
		t.Run("XEP-0198 5 the own SM-ID "+name, func(t *testing.T) {
			juliet := session(t, h.Server, account(t, h.Server, "juliet"), "")
			id := juliet.Enable()
			juliet.Reset()
			if lie := alter(id); lie != id {
				c := again(t, h, juliet)
				c.Send(resume(lie))
				failed(t, c, "item-not-found")
				c.Drop()
			}
			resumes(t, h, juliet, id)
		})
	}
	t.Run("XEP-0198 5 an SM-ID that was used up", func(t *testing.T) {
		juliet := session(t, h.Server, account(t, h.Server, "juliet"), "")
		id := juliet.Enable()
		juliet.Reset()
		c := resumes(t, h, juliet, id)
		c.Close()
		refused := again(t, h, juliet)
		refused.Send(resume(id))
		failed(t, refused, "item-not-found")
	})
	t.Run("XEP-0198 5 the SM-ID of the same name at nobody's resource: binding it takes nothing over", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		id := juliet.Enable()
		juliet.Reset()
		romeoLocal, _, _ := strings.Cut(romeo.Bare(), "@")
		thief := session(t, h.Server, romeoLocal, id) // the SM-ID as a resource
		chat(thief, juliet.JID, 1)
		silent(t, thief)
		resumes(t, h, juliet, id).Message("1")
	})
}

// again logs the owner of a session in once more, and does not bind.
func again(t *testing.T, h *hostile, c *xmppc.Conn) *xmppc.Conn {
	t.Helper()
	local, _, _ := strings.Cut(c.Bare(), "@")
	return authenticated(t, h.Server, local)
}

// refusedResumption has a thief try another's session; nothing is told of it.
func refusedResumption(t *testing.T, h *hostile, thief *xmppc.Conn, id string) {
	t.Helper()
	c := again(t, h, thief)
	c.Send(resume(id))
	if e := failed(t, c, "item-not-found"); e.Has("h") {
		t.Errorf("another's count is told: %s", e.Raw)
	}
	c.Bind("")
	c.Sync()
	c.Drop()
}

// resumes wants the owner to get the session back.
func resumes(t *testing.T, h *hostile, owner *xmppc.Conn, id string) *xmppc.Conn {
	t.Helper()
	c := again(t, h, owner)
	if e := c.Resume(id, owner.Handled, owner.JID); !e.Is(xmppc.NSSM, "resumed") {
		t.Fatalf("the owner got %s", e.Raw)
	}
	return c
}
