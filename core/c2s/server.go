// Package c2s is a client's stream (RFC 6120, RFC 7590): a state machine that
// is fed with bytes and has neither goroutine nor socket. It negotiates TLS,
// SASL and a resource, and then hands each stanza to the router.
//
// stream.go has the states, open.go the header and features, tls.go STARTTLS,
// auth.go SASL, bind.go the resource, receive.go what a bound client sends, pace.go
// how fast it may.
package c2s

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/forgery"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/core/presence"
	"github.com/hexmpp/hexmpp/core/registry"
	"github.com/hexmpp/hexmpp/core/router"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/core/throttle"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Limits bound what one client can use. A zero field means its default.
type Limits struct {
	StanzaBytes          int           // a stanza, once logged in; default 262,144, at least 10,000 (RFC 6120 13.12)
	StanzaBytesBefore    int           // an element before login; default 16,384, at least 10,000
	Depth                int           // nesting of elements; default 64
	Attributes           int           // attributes of an element; default 32
	UnauthenticatedTime  time.Duration // from connect to a bound resource; default 60 s
	UnauthenticatedBytes int           // input until login; default 131,072
	SASLAttempts         int           // failed logins on one stream; default 5 (RFC 6120 6.4.5: 2 to 5 retries)
	BindAttempts         int           // refused binds on one stream; default 10 (RFC 6120 7.7.3: 5 to 10)
	OutboxBytes          int           // queued for a client that does not read; default 4 MiB
	SessionsPerAccount   int           // default 100
	Unacknowledged       int           // stanzas kept for a client that does not acknowledge (XEP-0198); default 1,000
	ResumeTime           time.Duration // a session waits for another connection; default 10 min, negative: never
	PastSessions         int           // that have ended, and whose counts can be told; default 100,000
}

func (l *Limits) setDefaults() {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.StanzaBytes, 256<<10)
	def(&l.StanzaBytesBefore, 16<<10)
	def(&l.Depth, 64)
	def(&l.Attributes, 32)
	def(&l.UnauthenticatedBytes, 128<<10)
	def(&l.SASLAttempts, 5)
	def(&l.BindAttempts, 10)
	def(&l.OutboxBytes, 4<<20)
	def(&l.SessionsPerAccount, 100)
	def(&l.Unacknowledged, 1000)
	if l.ResumeTime == 0 {
		l.ResumeTime = 10 * time.Minute
	}
	if l.UnauthenticatedTime <= 0 {
		l.UnauthenticatedTime = time.Minute
	}
}

// before and after are the limits of the reader before and after login.
func (l *Limits) before() xmlstream.Limits {
	return xmlstream.Limits{StanzaBytes: l.StanzaBytesBefore, Depth: l.Depth, Attributes: l.Attributes}
}

func (l *Limits) after() xmlstream.Limits {
	return xmlstream.Limits{StanzaBytes: l.StanzaBytes, ElementBytes: elementBytes, Depth: l.Depth, Attributes: l.Attributes}
}

// elementBytes bounds what is no stanza, once logged in: those that there are
// (XEP-0198, XEP-0352) have some 100 bytes. RFC 6120 13.12 wants 10,000 of a stanza.
const elementBytes = 10_000

// Outbox returns the limits of what is queued for a client.
func (l *Limits) Outbox() session.OutboxLimits {
	return session.OutboxLimits{Bytes: l.OutboxBytes, Kept: l.Unacknowledged}
}

// Options of client streams.
type Options struct {
	// TLSRequired: nobody logs in on a stream that is not encrypted. Where it
	// is false, PLAIN without TLS is still for loopback addresses only.
	TLSRequired bool
	Limits      Limits
}

// Deps are what client streams stand on.
type Deps struct {
	Kernel      session.Kernel
	Senders     session.Senders
	Gone        func(*Stream) // called once, by Closed
	Router      *router.Router
	Registry    *registry.Registry
	Pipeline    *pipeline.Pipeline
	Forgery     *forgery.Guard
	Presence    *presence.Presence
	Sessions    cluster.Registry
	Credentials auth.Credentials
	Verifier    auth.Verifier
	LoggedIn    func(user jid.JID, at time.Time)
	// Removed says whether the account was removed since a login at that time.
	Removed  func(user jid.JID, login time.Time) bool
	Throttle *throttle.Throttle
	Rates    *throttle.Rates // nil: accounts send as fast as they can
	Full     func() bool     // what is accepted can't be kept safe at present
	Observe  *observe.Kernel
	Log      *zap.Logger
	Now      func() time.Time
}

// Server holds what all client streams share.
type Server struct {
	Options
	Deps
	Resumables *session.Resumables
	sources    alarm
	requests   alarm
	resting    atomic.Int64
	returning  atomic.Int64 // streams that wait for Session.Returned
}

// NewServer returns a Server.
func NewServer(o Options, d Deps) *Server {
	o.Limits.setDefaults()
	if d.Full == nil {
		d.Full = func() bool { return false }
	}
	return &Server{Options: o, Deps: d, Resumables: session.NewResumables(o.Limits.ResumeTime, o.Limits.PastSessions, d.Now, d.Senders)}
}
