package s2s

import (
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/plugins/s2s/verify"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Options are those of the configuration.
type Options struct {
	Mode         string   `json:"mode" jsonschema:"Who may federate: open (all but those of deny), allow (those of allow alone), none."`
	Allow        []string `json:"allow" jsonschema:"Far domains that may federate, with mode allow."`
	Deny         []string `json:"deny" jsonschema:"Far domains that may not."`
	Certificates string   `json:"certificates" jsonschema:"What proves who the other server is: dialback, or required: a valid certificate."`
	// CertificatesOf are domains of which a valid certificate is required though it is not of others.
	CertificatesOf []string `json:"certificates-of" jsonschema:"Far domains that must have a valid certificate, with certificates: dialback."`
	// CAFiles and Pins are for servers whose certificates no public authority has signed.
	CAFiles []string          `json:"ca-files" jsonschema:"Files (PEM) with certificate authorities that are trusted beside those of the system."`
	Pins    map[string]string `json:"pins" jsonschema:"The only keys that prove a domain: SHA-256 of the SubjectPublicKeyInfo of its certificate, in hexadecimal or base64; several with spaces between. No authority counts for it then."`
	DANE    bool              `json:"dane" jsonschema:"Whether signed records of the DNS say what certificates other servers have (RFC 7673)."`
	POSH    bool              `json:"posh" jsonschema:"Whether the web server of a domain is asked what certificate it has (RFC 7711)."`
	// WithoutTLS are far domains that may federate without encryption.
	WithoutTLS []string          `json:"without-tls" jsonschema:"Far domains that may federate without encryption; what they send and get can be read and changed on the way."`
	Overrides  map[string]string `json:"overrides" jsonschema:"Where far domains are, instead of what the DNS says: DOMAIN to HOST:PORT."`
	Gone       []string          `json:"gone" jsonschema:"Domains that were ours once: peers are told that they are gone."`
	Bidi       bool              `json:"bidi" jsonschema:"Whether to use a connection both ways with peers that can (XEP-0288)."`

	QueueEvents int `json:"queue-events" jsonschema:"How many stanzas may wait for one far domain."`
	QueueBytes  int `json:"queue-bytes" jsonschema:"How many bytes of them."`
	QueueTime   int `json:"queue-time" jsonschema:"Seconds that a stanza waits for a server that can't be reached at the moment."`
	ConnectTime int `json:"connect-time" jsonschema:"Seconds for a connection to a server, from DNS to authentication."`
	ResumeTime  int `json:"resume-time" jsonschema:"Seconds that a broken stream can be resumed (XEP-0198)."`
	AckTime     int `json:"ack-time" jsonschema:"Seconds to wait for an acknowledgement (XEP-0198) until a connection counts as broken."`
	IdleTime    int `json:"idle-time" jsonschema:"Seconds without a stanza until a connection is closed."`
	BackOff     int `json:"back-off" jsonschema:"Seconds, at most, until a server is tried again that could not be reached."`

	MaxHalfOpen   int `json:"max-half-open" jsonschema:"How many incoming connections may be without authentication."`
	MaxPerAddress int `json:"max-per-address" jsonschema:"How many of those from one address."`
	MaxPerDomain  int `json:"max-per-domain" jsonschema:"How many incoming streams a far domain may have."`
	MaxPairs      int `json:"max-pairs" jsonschema:"How many domain pairs a stream may have (XEP-0220 2.6)."`
	MaxStanza     int `json:"max-stanza" jsonschema:"Bytes of the largest stanza that is taken."`
}

// Defaults are the options that are not set.
var Defaults = Options{
	Mode: "open", Certificates: "dialback", Bidi: true,
	QueueEvents: 1000, QueueBytes: 4 << 20, QueueTime: 60, ConnectTime: 30, ResumeTime: 300, AckTime: 60, IdleTime: 900, BackOff: 300,
	MaxHalfOpen: 500, MaxPerAddress: 50, MaxPerDomain: 20, MaxPairs: 200, MaxStanza: 262144,
}

// policy is the part of the options that is asked for each stream.
type policy struct {
	mode        string
	required    bool
	allow, deny map[string]bool
	certificate map[string]bool
	withoutTLS  map[string]bool
	gone        map[string]bool
}

// check reads options. The error names one that can't be.
func (o *Options) check() (*policy, error) {
	p := &policy{mode: o.Mode}
	switch o.Mode {
	case "open", "allow", "none":
	default:
		return nil, fmt.Errorf("s2s: mode: %q; it is open, allow or none", o.Mode)
	}
	switch o.Certificates {
	case "dialback":
	case "required":
		p.required = true
	default:
		return nil, fmt.Errorf("s2s: certificates: %q; it is dialback or required", o.Certificates)
	}
	for _, l := range []struct {
		name string
		list []string
		set  *map[string]bool
	}{{"allow", o.Allow, &p.allow}, {"deny", o.Deny, &p.deny}, {"certificates-of", o.CertificatesOf, &p.certificate}, {"without-tls", o.WithoutTLS, &p.withoutTLS}, {"gone", o.Gone, &p.gone}} {
		*l.set = map[string]bool{}
		for _, d := range l.list {
			j, err := jid.Parse(d)
			if err != nil || j != j.DomainJID() {
				return nil, fmt.Errorf("s2s: %s: %q is no domain", l.name, d)
			}
			(*l.set)[j.Domain()] = true
		}
	}
	for _, b := range []struct {
		name              string
		value, least, top int
	}{
		{"queue-events", o.QueueEvents, 1, 100_000}, {"queue-bytes", o.QueueBytes, 1 << 10, 1 << 30}, {"queue-time", o.QueueTime, 1, 86_400},
		{"connect-time", o.ConnectTime, 1, 600}, {"resume-time", o.ResumeTime, 1, 86_400}, {"ack-time", o.AckTime, 1, 3600},
		{"idle-time", o.IdleTime, 10, 86_400}, {"back-off", o.BackOff, 1, 86_400},
		{"max-half-open", o.MaxHalfOpen, 1, 100_000}, {"max-per-address", o.MaxPerAddress, 1, 100_000}, {"max-per-domain", o.MaxPerDomain, 1, 10_000},
		{"max-pairs", o.MaxPairs, 1, 10_000}, {"max-stanza", o.MaxStanza, 10_000, 16 << 20},
	} {
		if b.value < b.least || b.value > b.top {
			return nil, fmt.Errorf("s2s: %s: %d; allowed are %d to %d", b.name, b.value, b.least, b.top)
		}
	}
	return p, nil
}

// terms says what is asked of a far domain.
func (p *policy) terms(far string) peerstream.Terms {
	return peerstream.Terms{
		Refused:     p.mode == "none" || p.mode == "allow" && !p.allow[far] || p.deny[far],
		NoTLS:       p.withoutTLS[far],
		Certificate: p.required || p.certificate[far],
	}
}

// Verifier makes what Deps.Verify is, of the options. It reads the files.
func (o *Options) Verifier() (*verify.Verifier, error) {
	return verify.New(verify.Options{CAFiles: o.CAFiles, Pins: o.Pins, DANE: o.DANE, POSH: o.POSH})
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// config makes what the streams share.
func (e *Engine) config() *peerstream.Config {
	o := &e.options
	return &peerstream.Config{
		Certificate: e.deps.Kernel.Certificate, Verify: e.deps.Verify, Ours: e.deps.Kernel.Ours,
		Gone: func(d string) bool { return e.policy.gone[d] }, Terms: e.policy.terms,
		Key: func(receiving, originating, id string) string {
			return e.deps.Key(e.secret, receiving, originating, id)
		},
		NewID:       newID,
		Before:      xmlstream.Limits{StanzaBytes: 16 << 10, Depth: 8, Attributes: 16},
		After:       xmlstream.Limits{StanzaBytes: o.MaxStanza, ElementBytes: 16 << 10},
		Negotiation: seconds(o.ConnectTime), Dialback: seconds(o.ConnectTime), Write: 30 * time.Second,
		Idle: seconds(o.IdleTime), Closing: 5 * time.Second, Tick: e.tick,
		MaxPairs: o.MaxPairs, MaxQueued: 256 << 10,
	}
}
