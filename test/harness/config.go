package harness

import (
	"fmt"
	"strings"
	"time"
)

// Config is what a test may want to differ from the defaults of the harness.
// The zero value is one domain, TLS required, closed registration, no rate
// limits.
type Config struct {
	Domains      []string // default example.test
	Registration string   // closed or open; default closed
	ClearText    bool     // permits login without TLS
	SelfSigned   bool     // leaves the certificates to the server
	Rates        bool     // limits.rates: true
	Admins       []string
	Limits       Limits

	// Postgres is the connection string of a PostgreSQL database to use. The
	// default is SQLite, or with HEXMPP_TEST_POSTGRES a new database there.
	Postgres string
	SQLite   bool // SQLite, whatever HEXMPP_TEST_POSTGRES says

	S2S string // address for other servers; without one there is no federation

	// Extra is YAML at top level, appended as it is. Without a word in it about the plugin muc
	// that is off.
	Extra string
}

// Limits are the keys below "limits" that tests set. A zero field is left out.
type Limits struct {
	UnauthenticatedTime  time.Duration // limits.unauthenticated-time
	StanzaBytes          int           // limits.stanza-bytes
	ResumeTime           time.Duration // limits.resume-time
	Unacknowledged       int           // limits.unacknowledged
	RosterItems          int           // limits.roster-items
	RosterRequests       int           // limits.roster-requests
	OfflineMessages      int           // limits.offline-messages; negative: 0
	StanzasPerSecond     int           // limits.stanzas-per-second
	StanzasBurst         int           // limits.stanzas-burst
	SubscriptionRequests int           // limits.subscription-requests-per-hour
}

// listeners are the addresses that the harness picked for one server.
type listeners struct{ c2s, c2sTLS, http, https string }

// yaml writes the configuration file. This is the one place that knows the keys.
func (c Config) yaml(data, certificates string, at listeners) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("domains: [%s]", strings.Join(c.Domains, ", "))
	line("data: %q", data)
	line("listen:")
	line("  c2s: %q", at.c2s)
	line("  c2s-tls: %q", at.c2sTLS)
	line("  http: %q", at.http)
	line("  https: %q", at.https)
	if c.S2S != "" {
		line("  s2s: %q", c.S2S)
	}
	if c.Postgres != "" {
		line("storage: {driver: postgres, dsn: %q}", c.Postgres)
	}
	line("tls:")
	if !c.SelfSigned {
		line("  certificates: %q", certificates)
	}
	line("  required: %t", !c.ClearText)
	line("registration:")
	line("  mode: %s", c.Registration)
	line("limits:")
	line("  rates: %t", c.Rates)
	if d := c.Limits.UnauthenticatedTime; d > 0 {
		line("  unauthenticated-time: %s", d)
	}
	if d := c.Limits.ResumeTime; d > 0 {
		line("  resume-time: %s", d)
	}
	for _, limit := range []struct {
		key   string
		value int
	}{
		{"stanza-bytes", c.Limits.StanzaBytes}, {"unacknowledged", c.Limits.Unacknowledged},
		{"roster-items", c.Limits.RosterItems}, {"roster-requests", c.Limits.RosterRequests},
		{"stanzas-per-second", c.Limits.StanzasPerSecond}, {"stanzas-burst", c.Limits.StanzasBurst},
		{"subscription-requests-per-hour", c.Limits.SubscriptionRequests},
	} {
		if limit.value > 0 {
			line("  %s: %d", limit.key, limit.value)
		}
	}
	if n := c.Limits.OfflineMessages; n != 0 {
		line("  offline-messages: %d", max(n, 0))
	}
	if len(c.Admins) > 0 {
		line("admins: [%s]", strings.Join(c.Admins, ", "))
	}
	b.WriteString(withoutRooms(elsewhere(c.Extra, inProcesses)))
	return b.String()
}

func (c Config) withDefaults() Config {
	if len(c.Domains) == 0 {
		c.Domains = []string{"example.test"}
	}
	if c.Registration == "" {
		c.Registration = "closed"
	}
	return c
}
