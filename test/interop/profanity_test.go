package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// profanity is a session of the terminal client.
type profanity struct {
	*terminal
	jid string // bare
}

const profanitySettings = `[ui]
splash=false
history=false
enc.warn=false
wrap=false
[connection]
carbons=false
[notifications]
message=false
typing=false
`

// startProfanity writes an account with its password, and has the client
// connect by it. "legacy" is what profanity calls direct TLS.
func startProfanity(t *testing.T, s *harness.Server, w way, jid, password string) *profanity {
	t.Helper()
	program := harness.Require(t, "profanity", "profanity")
	host, port := w.address(t, s)
	policy := map[way]string{starttls: "force", direct: "legacy"}[w]
	env := append(home(t), "SSL_CERT_FILE="+s.CA.File)
	write := func(variable, name, text string) {
		path := filepath.Join(value(env, variable), "profanity", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("XDG_CONFIG_HOME", "profrc", profanitySettings)
	write("XDG_DATA_HOME", "accounts", fmt.Sprintf(
		"[test]\nenabled=true\njid=%s\nresource=terminal\nserver=%s\nport=%s\ntls.policy=%s\npassword=%s\n", jid, host, port, policy, password))
	return &profanity{terminal: openTerminal(t, "profanity of "+jid, env, program, "-a", "test"), jid: jid}
}

func profanityOnline(t *testing.T, s *harness.Server, w way, jid string) *profanity {
	t.Helper()
	p := startProfanity(t, s, w, jid, secret)
	p.shows(jid + "/terminal logged in successfully")
	awaitPresence(t, s, jid) // which it sends later, once it has its roster
	return p
}

func (p *profanity) send(to, body string) {
	p.t.Helper()
	p.enter("/msg " + to + " " + body)
	p.shows("me: " + body)
}

func (p *profanity) hears(from, body string) {
	p.t.Helper()
	p.enter("/msg " + from) // goes to the window of that contact
	p.shows(append([]string{from}, strings.FieldsFunc(body, func(r rune) bool { return r == '\n' })...)...)
}

func (p *profanity) leave() {
	p.t.Helper()
	p.enter("/disconnect")
	p.enter("/win 1")
	p.shows(p.jid, "logged out successfully")
}

// oneLine: typing has no way to put a line feed into a message.
func (p *profanity) oneLine() bool { return true }

// TestProfanityContacts: RFC 6121 3 and 4 as profanity shows them.
func TestProfanityContacts(t *testing.T) {
	s := server(t)
	romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
	r, j := profanityOnline(t, s, starttls, romeo), profanityOnline(t, s, direct, juliet)
	r.enter("/roster add " + juliet + " Sun")
	r.shows("Roster item added: " + juliet + " (Sun)")
	r.shows("Offline (0)", "Sun", "Rooms (0)") // the panel at the right; the numbers are of unread messages
	r.enter("/sub request " + juliet)
	j.shows("Received authorization request from " + romeo)
	j.enter("/sub allow " + romeo)
	r.shows("Subscription received from " + juliet)
	r.shows("Online (0)", "Sun", "Away (0)")

	j.enter("/roster nick " + romeo + " Star")
	j.enter("/sub request " + romeo)
	r.shows("Received authorization request from " + juliet)
	r.enter("/sub allow " + juliet)
	j.shows("Subscription received from " + romeo)
	j.shows("Online (0)", "Star", "Away (0)")

	r.enter("/status set away")
	j.shows("Away (0)", "Star", "Extended Away (0)")
	r.enter("/status set online")
	j.shows("Online (0)", "Star", "Away (0)")
	r.send(juliet, "Thus with a kiss I die")
	j.enter("/msg " + romeo)
	j.shows("Thus with a kiss I die")

	r.leave()
	j.enter("/win 1")
	j.shows("Offline (0)", "Star", "Rooms (0)")
	j.leave()
}

func TestProfanityWrongPassword(t *testing.T) {
	s := server(t)
	romeo := account(t, s, "romeo")
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) {
			startProfanity(t, s, w, romeo, "wrong").shows("Login failed")
		})
	}
}

func value(env []string, variable string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, variable+"="); ok {
			return v
		}
	}
	return ""
}
