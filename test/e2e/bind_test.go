package e2e

import (
	"io"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func TestBind(t *testing.T) {
	s := server(t)

	t.Run("RFC 6120 7.6 the server makes resources that differ and cannot be guessed", func(t *testing.T) {
		local := account(t, s, "romeo")
		seen := map[string]bool{}
		for range 5 {
			c := session(t, s, local, "")
			bare, resource, _ := strings.Cut(c.JID, "/")
			if bare != local+"@"+domain || len(resource) < 12 || seen[resource] {
				t.Errorf("JID %s", c.JID)
			}
			seen[resource] = true
		}
	})

	t.Run("RFC 6120 7.7 the client's resource", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "orchard wall \u2665")
		if _, resource, _ := strings.Cut(c.JID, "/"); resource != "orchard wall \u2665" {
			t.Errorf("JID %s", c.JID)
		}
	})

	t.Run("RFC 7622 3.4 resources are case-sensitive", func(t *testing.T) {
		local := account(t, s, "romeo")
		a, b := session(t, s, local, "Orchard"), session(t, s, local, "orchard")
		if a.JID == b.JID {
			t.Errorf("both are %s", a.JID)
		}
		a.Sync()
	})

	t.Run("RFC 6120 7.7.2.2 a resource in use", func(t *testing.T) {
		local := account(t, s, "romeo")
		first, later := session(t, s, local, "orchard"), session(t, s, local, "orchard")
		if first.JID != later.JID { // 1. another resource was given
			first.Sync()
			later.Sync()
			return
		}
		first.ExpectStreamError("conflict") // 3. the old session ends
		later.Sync()
	})

	t.Run("RFC 6120 7.7.2.1 a resource that is none: bad-request, or mended", func(t *testing.T) {
		c := authenticated(t, s, account(t, s, "romeo"))
		for _, resource := range []string{"", strings.Repeat("r", 1024), "bell\u0007"} {
			if strings.ContainsRune(resource, '\a') {
				continue // not XML at all: the hostile tables have it
			}
			res := c.Ask("set", "", "<bind xmlns='"+xmppc.NSBind+"'><resource>"+resource+"</resource></bind>")
			if res.Attr("type") == "result" {
				return // mended: that stream is bound now
			}
			if cond := res.Condition(); cond != "bad-request" && cond != "jid-malformed" {
				t.Errorf("resource of %d bytes: %s", len(resource), res.Raw)
			}
		}
		c.Bind("orchard") // and the stream goes on
	})

	t.Run("RFC 6120 7.1 a second bind on a stream is refused", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "orchard")
		res := c.Ask("set", "", "<bind xmlns='"+xmppc.NSBind+"'><resource>another</resource></bind>")
		if res.Attr("type") != "error" {
			t.Errorf("answer %s", res.Raw)
		}
		if from := c.IQ("get", "", ping).Attr("to"); from != "" && from != c.JID {
			t.Errorf("the session is now %s", from)
		}
	})

	t.Run("RFC 3921 3 the session request is a no-op", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "orchard")
		c.IQ("set", "", "<session xmlns='"+xmppc.NSSess+"'/>")
		c.IQ("set", domain, "<session xmlns='"+xmppc.NSSess+"'/>")
	})

	t.Run("RFC 6120 4.4 a session that is closed frees its resource", func(t *testing.T) {
		local := account(t, s, "romeo")
		for range 3 {
			c := session(t, s, local, "orchard")
			if c.JID != local+"@"+domain+"/orchard" {
				t.Fatalf("JID %s", c.JID)
			}
			c.Send("</stream:stream>")
			if _, err := c.TryNext(); err != io.EOF {
				t.Fatalf("end of the stream: %v", err)
			}
		}
	})
}

const ping = "<ping xmlns='" + xmppc.NSPing + "'/>"
