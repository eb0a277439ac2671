package xmppc

import (
	"encoding/base64"
	"slices"
	"strings"
	"sync/atomic"
)

// ids numbers the requests of all connections of a test process.
var ids atomic.Int64

// Mechanisms lists what the features offer.
func (c *Conn) Mechanisms() (names []string) {
	for _, m := range c.Features.Child(NSSASL, "mechanisms").All(NSSASL, "mechanism") {
		names = append(names, m.Text)
	}
	return names
}

// Offers reports whether the features offer a mechanism.
func (c *Conn) Offers(mechanism string) bool { return oneOf(mechanism, c.Mechanisms()) }

// Login authenticates by the strongest SCRAM that is offered, without channel
// binding, checks the server's signature and opens the stream anew.
func (c *Conn) Login(user, password string) {
	c.t.Helper()
	for _, mechanism := range []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"} {
		if c.Offers(mechanism) {
			c.LoginBy(&Scram{Mechanism: mechanism, User: user, Password: password})
			return
		}
	}
	c.t.Fatalf("%s: no SCRAM among the mechanisms: %s", c.name(), c.Features.Raw)
}

// LoginBy is Login with a mechanism of one's choice.
func (c *Conn) LoginBy(s *Scram) {
	c.t.Helper()
	if e := c.TryScram(s); !e.Is(NSSASL, "success") {
		c.t.Fatalf("%s: %s for %s: %s", c.name(), s.Mechanism, s.User, e.Raw)
	}
	if err := s.verify(); err != nil {
		c.t.Fatalf("%s: %s: %v", c.name(), s.Mechanism, err)
	}
	c.Open(c.Domain)
}

// LoginPlain authenticates by PLAIN (RFC 4616) and opens the stream anew.
func (c *Conn) LoginPlain(user, password string) {
	c.t.Helper()
	if e := c.TryPlain("", user, password); !e.Is(NSSASL, "success") {
		c.t.Fatalf("%s: PLAIN for %s: %s", c.name(), user, e.Raw)
	}
	c.Open(c.Domain)
}

// TryPlain sends PLAIN and returns <success/> or <failure/>.
func (c *Conn) TryPlain(authzid, user, password string) *Element {
	c.t.Helper()
	c.Auth("PLAIN", authzid+"\x00"+user+"\x00"+password)
	return c.Next()
}

// TryScram runs a SCRAM exchange (RFC 5802) up to the server's last word:
// <success/> or <failure/>.
func (c *Conn) TryScram(s *Scram) *Element {
	c.t.Helper()
	if err := s.start(c.Peer); err != nil {
		c.t.Fatalf("%s: %v", s.Mechanism, err)
	}
	c.Auth(s.Mechanism, s.clientFirst())
	e := c.Next()
	if !e.Is(NSSASL, "challenge") {
		return e
	}
	final, err := s.clientFinal(c.decode(e), c.offer())
	if err != nil {
		c.t.Fatalf("%s: %v", s.Mechanism, err)
	}
	c.Response(final)
	e = c.Next()
	if e.Is(NSSASL, "success") {
		s.serverFinal = c.decode(e)
	}
	return e
}

// offer is what the features show of SASL, as XEP-0474 section 6.1 writes it.
func (c *Conn) offer() string {
	text := strings.Join(slices.Sorted(slices.Values(c.Mechanisms())), "\x1e")
	list := c.Features.Child(NSBindings, "sasl-channel-binding")
	if list == nil {
		return text
	}
	var types []string
	for _, e := range list.All(NSBindings, "channel-binding") {
		types = append(types, e.Attr("type"))
	}
	slices.Sort(types)
	return text + "\x1f" + strings.Join(types, "\x1e")
}

// Auth sends <auth/> with an initial response.
func (c *Conn) Auth(mechanism, initial string) {
	c.t.Helper()
	c.Sendf("<auth xmlns='%s' mechanism='%s'>%s</auth>", NSSASL, mechanism, Encode(initial))
}

// Response sends <response/>.
func (c *Conn) Response(data string) {
	c.t.Helper()
	c.Sendf("<response xmlns='%s'>%s</response>", NSSASL, Encode(data))
}

// ExpectFailure reads a SASL failure with one of these conditions.
func (c *Conn) ExpectFailure(conditions ...string) *Element {
	c.t.Helper()
	e := c.Expect(NSSASL, "failure")
	if !oneOf(e.Condition(), conditions) {
		c.t.Fatalf("%s: failure %q, want %q:\n%s", c.name(), e.Condition(), conditions, e.Raw)
	}
	return e
}

// Encode is SASL's base64: "=" stands for nothing (RFC 6120 6.4.2).
func Encode(data string) string {
	if data == "" {
		return "="
	}
	return base64.StdEncoding.EncodeToString([]byte(data))
}

func (c *Conn) decode(e *Element) string {
	c.t.Helper()
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(e.Text))
	if err != nil {
		c.t.Fatalf("%s: base64 in %s: %v", c.name(), e.Raw, err)
	}
	return string(b)
}
