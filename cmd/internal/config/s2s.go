package config

import (
	"slices"
	"time"
)

// Modes of federation.
const (
	FederateOpen  = "open"
	FederateAllow = "allow"
	FederateNone  = "none"
)

// S2S has the options of the plugin s2s.
type S2S struct {
	Mode           string
	Allow, Deny    []string
	Certificates   string
	CertificatesOf []string
	CAFiles        []string // absolute
	Pins           map[string]string
	DANE, POSH     bool
	WithoutTLS     []string
	Overrides      map[string]string
	Gone           []string
	Bidi           bool

	QueueStanzas int
	QueueBytes   int
	QueueTime    time.Duration
	ConnectTime  time.Duration
	ResumeTime   time.Duration
	AckTime      time.Duration
	IdleTime     time.Duration
	BackOff      time.Duration

	HalfOpen           int
	HalfOpenPerAddress int
	StreamsPerDomain   int
	Pairs              int
	StanzaBytes        int
}

func s2sOptions(s *S2S) []option {
	return []option{
		{key: "mode", value: one(&s.Mode, choice(FederateOpen, FederateAllow, FederateNone)), note: "open, if listen.s2s or listen.s2s-tls has an address; else none",
			doc: "Whom the server talks to: everybody but those of deny, those of allow alone, or nobody."},
		{key: "allow", value: many(&s.Allow, domain), preset: "[]",
			doc: "Far domains that it talks to, with mode: allow."},
		{key: "deny", value: many(&s.Deny, domain), preset: "[]",
			doc: "Far domains that it does not talk to."},
		{key: "certificates", value: one(&s.Certificates, choice("dialback", "required")), preset: "dialback",
			doc: "What proves who the other server is: a valid certificate or, with dialback, the answer of the server that the DNS names (XEP-0220)."},
		{key: "certificates-of", value: many(&s.CertificatesOf, domain), preset: "[]",
			doc: "Far domains that must have a valid certificate, with certificates: dialback."},
		{key: "ca-files", value: many(&s.CAFiles, path), preset: "[]",
			doc: "Files (PEM) with certificate authorities that are trusted beside those of the operating system. They are read when the plugin starts."},
		{key: "pins", value: pairs(&s.Pins, domain, text), preset: "{}",
			doc: "The only keys that prove a domain: SHA-256 of the SubjectPublicKeyInfo of its certificate, in hexadecimal or base64; several with spaces between. No authority counts for it then."},
		{key: "dane", value: one(&s.DANE, boolean), preset: "false",
			doc: "Whether signed records of the DNS (TLSA, RFC 7673) say what certificates a domain has, if it has such records. The nameservers of /etc/resolv.conf must validate DNSSEC, and be on this machine unless that file has options trust-ad."},
		{key: "posh", value: one(&s.POSH, boolean), preset: "false",
			doc: "Whether the web server of a domain is asked what certificate it has (RFC 7711), where that proves nothing by itself."},
		{key: "without-tls", value: many(&s.WithoutTLS, domain), preset: "[]",
			doc: "Far domains that may go without encryption. What is sent to them and comes from them can be read and changed on its way."},
		{key: "overrides", value: pairs(&s.Overrides, domain, endpoint), preset: "{}",
			doc: "Where far domains are, in place of what the DNS says."},
		{key: "gone", value: many(&s.Gone, domain), preset: "[]",
			doc: "Domains that were hosted here once: other servers are told that they are gone."},
		{key: "bidi", value: one(&s.Bidi, boolean), preset: "true",
			doc: "Whether one connection is used both ways with servers that can (XEP-0288)."},
		{key: "queue-stanzas", value: one(&s.QueueStanzas, number(1, 100_000)), preset: "1000",
			doc: "How many stanzas may wait for one far domain. What comes then is answered with resource-constraint, of type wait."},
		{key: "queue-bytes", value: one(&s.QueueBytes, size(1<<10, 1<<30)), preset: "4MiB",
			doc: "How many bytes of them; otherwise as queue-stanzas."},
		{key: "queue-time", value: one(&s.QueueTime, duration(time.Second, 24*time.Hour)), preset: "1m0s",
			doc: "How long a stanza waits for a server that was there a moment ago and can't be reached now. After that it is answered with remote-server-timeout."},
		{key: "connect-time", value: one(&s.ConnectTime, duration(time.Second, 10*time.Minute)), preset: "30s",
			doc: "How long it may take to get to a server, from the question to the DNS until both know each other."},
		{key: "resume-time", value: one(&s.ResumeTime, duration(time.Second, 24*time.Hour)), preset: "5m0s",
			doc: "How long a stream whose connection broke can be resumed (XEP-0198)."},
		{key: "ack-time", value: one(&s.AckTime, duration(time.Second, time.Hour)), preset: "1m0s",
			doc: "How long a server may take to acknowledge (XEP-0198) until its connection counts as broken."},
		{key: "idle-time", value: one(&s.IdleTime, duration(10*time.Second, 24*time.Hour)), preset: "15m0s",
			doc: "How long a connection stays that nobody uses."},
		{key: "back-off", value: one(&s.BackOff, duration(time.Second, 24*time.Hour)), preset: "5m0s",
			doc: "The longest time until a server is tried again that could not be reached."},
		{key: "half-open", value: one(&s.HalfOpen, number(1, 100_000)), preset: "500",
			doc: "How many connections of other servers may be under way to be authenticated. More are closed."},
		{key: "half-open-per-address", value: one(&s.HalfOpenPerAddress, number(1, 100_000)), preset: "50",
			doc: "How many of them may come from one address."},
		{key: "streams-per-domain", value: one(&s.StreamsPerDomain, number(1, 10_000)), preset: "20",
			doc: "How many streams a far domain may have to here."},
		{key: "pairs", value: one(&s.Pairs, number(1, 10_000)), preset: "200",
			doc: "How many pairs of domains one stream may be used for (XEP-0220)."},
		{key: "stanza-bytes", value: one(&s.StanzaBytes, size(10_000, mostStanza)), preset: "256KiB",
			doc: "The largest stanza that is taken from other servers."},
	}
}

// plugin is what the plugin s2s is given.
func (s *S2S) plugin() map[string]any {
	seconds := func(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
	list := func(l []string) []string { return slices.Concat([]string{}, l) } // never null
	return map[string]any{
		"mode": s.Mode, "allow": list(s.Allow), "deny": list(s.Deny), "certificates": s.Certificates, "certificates-of": list(s.CertificatesOf),
		"ca-files": list(s.CAFiles), "pins": s.Pins, "dane": s.DANE, "posh": s.POSH,
		"without-tls": list(s.WithoutTLS), "overrides": s.Overrides, "gone": list(s.Gone), "bidi": s.Bidi,
		"queue-events": s.QueueStanzas, "queue-bytes": s.QueueBytes, "queue-time": seconds(s.QueueTime), "connect-time": seconds(s.ConnectTime),
		"resume-time": seconds(s.ResumeTime), "ack-time": seconds(s.AckTime), "idle-time": seconds(s.IdleTime), "back-off": seconds(s.BackOff),
		"max-half-open": s.HalfOpen, "max-per-address": s.HalfOpenPerAddress, "max-per-domain": s.StreamsPerDomain, "max-pairs": s.Pairs, "max-stanza": s.StanzaBytes,
	}
}

// completeS2S gives federation what depends on other sections, before plugins are checked.
func completeS2S(c *Config, bad func(path, format string, args ...any)) {
	if _, set := c.lines["s2s.mode"]; !set {
		c.S2S.Mode = FederateNone
		if len(c.Listen.S2S)+len(c.Listen.S2STLS) > 0 {
			c.S2S.Mode = FederateOpen
		}
	}
	for _, a := range c.Listen.S2STLS {
		if slices.Contains(c.Listen.S2S, a) && !anyPort(a) {
			bad("listen.s2s-tls", "%s is an address of listen.s2s already; give each its own port", a)
		}
	}
	for _, l := range []struct {
		name string
		list []string
	}{{"allow", c.S2S.Allow}, {"deny", c.S2S.Deny}, {"certificates-of", c.S2S.CertificatesOf}, {"without-tls", c.S2S.WithoutTLS}, {"gone", c.S2S.Gone}} {
		for _, d := range l.list {
			if slices.Contains(c.Domains, d) {
				bad("s2s."+l.name, "%s is a hosted domain", d)
			}
		}
	}
	if len(c.S2S.Allow) > 0 && c.S2S.Mode != FederateAllow {
		bad("s2s.allow", "it says nothing unless mode is %s", FederateAllow)
	}
	if p := c.Plugins["s2s"]; p != nil {
		if len(p.Listen) > 0 {
			bad("plugins.s2s.listen", "where it listens is said by listen.s2s and listen.s2s-tls")
		}
		p.Enabled = p.Enabled && c.S2S.Mode != FederateNone
	}
}
