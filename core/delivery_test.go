package core_test

import (
	"fmt"
	"strings"
	"testing"
)

// The table of RFC 6121 8.5.4, without offline storage: O is E.
func TestMessageDelivery(t *testing.T) {
	const (
		unavailable = "" // bound, no presence
		negative    = "<presence><priority>-1</priority></presence>"
		zero        = "<presence/>"
		five        = "<presence><priority>5</priority></presence>"
	)
	const bare, full, missing = "juliet@example.test", "juliet@example.test/a", "juliet@example.test/gone"
	rows := []struct {
		condition string
		resources []string // presence of juliet's resources a, b, c
		to        string
		// by type: normal, chat, groupchat, headline; E error, S silence, else
		// the resources that get it
		normal, chat, groupchat, headline string
	}{
		{"account does not exist", nil, bare, "E", "E", "E", "S"},
		{"account does not exist", nil, missing, "E", "E", "E", "S"},
		{"no active resources", []string{unavailable}, bare, "E", "E", "E", "S"},
		{"no active resources", []string{unavailable}, missing, "E", "E", "E", "S"},
		{"connected, full match", []string{unavailable}, full, "a", "a", "a", "a"},
		{"only negative", []string{negative}, bare, "E", "E", "E", "S"},
		{"only negative", []string{negative}, full, "a", "a", "a", "a"},
		{"only negative", []string{negative}, missing, "E", "E", "E", "S"},
		{"one non-negative", []string{zero}, bare, "a", "a", "E", "a"},
		{"one non-negative", []string{zero}, full, "a", "a", "a", "a"},
		{"one non-negative", []string{zero}, missing, "E", "a", "E", "S"},
		{"one non-negative, one negative", []string{negative, zero}, bare, "b", "b", "E", "b"},
		{"several of one priority", []string{five, five, zero}, bare, "ab", "ab", "E", "abc"},
		{"several non-negative", []string{zero, five, negative}, bare, "b", "b", "E", "ab"},
		{"several non-negative", []string{zero, five, negative}, full, "a", "a", "a", "a"},
		{"several non-negative", []string{zero, five, negative}, missing, "E", "b", "E", "S"},
	}
	for _, row := range rows {
		for typ, want := range map[string]string{"": row.normal, "normal": row.normal, "nonsense": row.normal, "chat": row.chat, "groupchat": row.groupchat, "headline": row.headline, "error": "S"} {
			if typ == "error" && row.to == full && len(row.resources) > 0 {
				want = "a"
			}
			t.Run(fmt.Sprintf("RFC 6121 8.5.4/%s/%s/%s", row.condition, row.to, typ), func(t *testing.T) {
				w := newWorld(t, nil)
				var juliet []*client
				for i, p := range row.resources {
					juliet = append(juliet, w.login("juliet@example.test/"+string(rune('a'+i)), p))
				}
				for _, c := range juliet {
					c.take()
				}
				romeo := w.login("romeo@example.test/x", "")
				attr := ""
				if typ != "" {
					attr = " type='" + typ + "'"
				}
				romeo.send("<message id='1' to='" + row.to + "'" + attr + "><body>hi</body></message>")
				got := ""
				for i, c := range juliet {
					if out := c.take(); strings.Contains(out, "<message from='romeo@example.test/x' to='"+row.to+"' id='1'"+attr+"><body>hi</body></message>") {
						got += string(rune('a' + i))
					} else if out != "" {
						t.Errorf("resource %d got %s", i, out)
					}
				}
				answer := romeo.take()
				switch {
				case strings.Contains(answer, "<service-unavailable"):
					got += "E"
				case answer == "" && got == "":
					got = "S"
				case answer != "":
					t.Errorf("romeo got %s", answer)
				}
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}

func TestIQDelivery(t *testing.T) {
	w := newWorld(t, nil)
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "")
	t.Run("RFC 6121 8.5.3.1 a full JID that is there", func(t *testing.T) {
		romeo.send("<iq type='get' id='1' to='juliet@example.test/a'><q xmlns='urn:x'/></iq>")
		juliet.want("<iq from='romeo@example.test/x' to='juliet@example.test/a' id='1' type='get'><q xmlns='urn:x'/></iq>")
		juliet.send("<iq type='result' id='1' to='romeo@example.test/x'/>")
		romeo.want("<iq from='juliet@example.test/a' to='romeo@example.test/x' id='1' type='result'/>")
	})
	for name, to := range map[string]string{
		"RFC 6121 8.5.3.2.3 a full JID that is gone":      "juliet@example.test/gone",
		"RFC 6121 8.5.2.1.3 a bare JID, unknown payload":  "juliet@example.test",
		"RFC 6121 8.5.1 no such account":                  "nobody@example.test",
		"RFC 6120 10.3.3 the own account":                 "romeo@example.test",
		"RFC 6120 10.5.1 the server, unknown payload":     "example.test",
		"RFC 6120 10.5.2 a resource of the server itself": "example.test/x",
		"another hosted domain":                           "example.net",
	} {
		t.Run(name, func(t *testing.T) {
			romeo.send("<iq type='get' id='2' to='" + to + "'><q xmlns='urn:x'/></iq>")
			romeo.want("<iq from='" + to + "' to='romeo@example.test/x' id='2' type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
			romeo.send("<iq type='result' id='3' to='" + to + "'/><iq type='error' id='3' to='" + to + "'/>")
			romeo.want("") // RFC 6120 8.2.3: no answer to an answer
		})
	}
	t.Run("RFC 6120 10.4.3 nobody answers for the domain", func(t *testing.T) {
		for _, to := range []string{"far.test", "sub.example.test", "romeo@conference.example.test/x"} {
			romeo.send("<iq type='get' id='4' to='" + to + "'><q xmlns='urn:x'/></iq>")
			romeo.wantPart("from='" + to + "' to='romeo@example.test/x' id='4' type='error'><error type='cancel'><remote-server-not-found")
		}
	})
	t.Run("RFC 6120 8.2.3 bad requests", func(t *testing.T) {
		for _, bad := range []string{
			"<iq type='get' to='juliet@example.test/a'><q xmlns='urn:x'/></iq>",
			"<iq id='5' to='juliet@example.test/a'><q xmlns='urn:x'/></iq>",
			"<iq type='ask' id='5'><q xmlns='urn:x'/></iq>",
			"<iq type='get' id='5'/>",
			"<iq type='set' id='5'><q xmlns='urn:x'/><q xmlns='urn:x'/></iq>",
		} {
			romeo.send(bad)
			romeo.wantPart("<bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>")
			juliet.want("")
		}
	})
	t.Run("RFC 6120 8.3.3.8 a malformed address", func(t *testing.T) {
		romeo.send("<message id='6' to='a@b@c'><body/></message>").wantPart("<jid-malformed ")
	})
	t.Run("RFC 6120 10.3.1 a message without an address", func(t *testing.T) {
		romeo.send("<presence/>").take()
		romeo.send("<message id='7' type='chat'><body>me</body></message>")
		romeo.want("<message from='romeo@example.test/x' to='romeo@example.test' id='7' type='chat'><body>me</body></message>")
	})
}

func TestOrderOfAllKinds(t *testing.T) {
	w := newWorld(t, nil)
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	var in, want strings.Builder
	for i := range 50 {
		fmt.Fprintf(&in, "<message to='juliet@example.test/a' id='m%d'/><presence to='juliet@example.test/a' id='p%d'/><iq type='get' to='juliet@example.test/a' id='i%d'><q xmlns='urn:x'/></iq>", i, i, i)
		from := "from='romeo@example.test/x' to='juliet@example.test/a'"
		fmt.Fprintf(&want, "<message %s id='m%d'/><presence %s id='p%d'/><iq %s id='i%d' type='get'><q xmlns='urn:x'/></iq>", from, i, from, i, from, i)
	}
	for _, b := range []byte(in.String()) { // RFC 6120 10.1, however it is cut
		romeo.send(string(b))
	}
	juliet.want(want.String())
}
