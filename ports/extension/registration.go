// Package extension is the port for everything that is not the kernel: one
// struct of plain data and functions that says what an extension claims, sees
// and asks for. The same Registration runs inside the server or as a process.
//
// # A handler is a transaction
//
// Each handler is given a Host. What it asks through it (sends, writes, timers,
// requests, changes of memory and groups) is buffered, and reads see own writes. When
// the handler returns nil all of it is applied, writes first and then memory; when it
// returns an error or panics, none of it. Calls of Host.Accounts are the exception, and say so.
//
// # Where handlers run
//
// A handler that is marked Inline runs on the goroutine that reads a client's
// stream: it must not wait for anything, storage included. All others run on
// a bounded number of worker goroutines; the stream that sent the stanza is not
// read meanwhile, so that its stanzas stay in order. Handlers of different
// streams run at the same time, but for those that are Ordered.
package extension

import (
	"context"
	"net/netip"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Registration is everything that an extension claims. It is checked once, at
// start: two claims to the same thing, or a permission that is not granted,
// stop the server with an error that names both sides.
type Registration struct {
	Name        string // as in the configuration: "ping"
	Implements  []XEP
	Permissions []Permission

	Server  Disco // what disco#info of each hosted domain gains
	Account Disco // what disco#info of each account gains

	IQ             []IQHandler
	Stages         []StageHandler
	StreamFeatures []StreamFeature
	Elements       []ElementHandler
	Components     []Component
	// Far claims all domains that are neither hosted nor claimed; nil: it does not.
	Far *Far
	// Listeners are sockets that it serves, if the configuration has addresses for them.
	Listeners []Listener
	// Calls are what administrators may ask of it.
	Calls []Call
	// HTTP are paths of the server's HTTP listeners that it answers for.
	HTTP []Route

	// Residents are keys of the Store whose entries the kernel keeps in memory,
	// for accounts that are in use: stage handlers may read them, but those of the
	// stage Write.
	Residents []string
	// ResidentRoster is one of Residents: of an account that has an entry of it the
	// kernel has the roster in memory, too, for Rosters.Listed.
	ResidentRoster string
	// Marks are what Sessions.Mark may put on a session.
	Marks []Mark

	// Reply is given the answers to Stanzas.Request; Timer the timers that
	// fired. They may be nil if the extension never asks for any.
	Reply func(ctx context.Context, h *Host, r Reply) error
	Timer func(ctx context.Context, h *Host, t Timer) error
	// Notice is told what happened to sessions: Notices says of which events.
	Notice  func(ctx context.Context, h *Host, n Notice) error
	Notices []Event

	// Forget is told that what handlers know by heart of an ordering key, beyond storage,
	// memory and groups, is void: something could not be applied, or a handler failed (by a
	// panic, by an error that is no *stanza.Error, or by one when it had asked for something).
	// No handler of an event of the key runs meanwhile. It may be nil; if it is not, the
	// extension wants what package plugin promises of ordering keys: it runs as a process, or
	// inside by plugin.Inside.
	Forget func(key string)

	// Remote, if it is not nil, is where the handlers run: their functions are not
	// called, see there.
	Remote Remote

	// Start is called once, before any other handler; an error stops the
	// server. Stop is called after the last handler has returned.
	Start func(ctx context.Context, h *Host) error
	Stop  func(ctx context.Context) error
}

// XEP is a specification that the extension implements.
type XEP struct {
	Number  int
	Version string // of the XEP: "2.0.1"
	Note    string // what is left out, "" if nothing
}

// Disco is a part of an answer to service discovery (XEP-0030).
type Disco struct {
	Identities []Identity
	Features   []string
	Forms      []*stanza.Element // extended information, XEP-0128
}

// Identity is a disco#info identity.
type Identity struct{ Category, Type, Name string }

// Permission is something that an administrator grants.
type Permission string

const (
	// SendAsAccount allows Stanzas.SendAs, and copies for Groups that are from an account.
	SendAsAccount Permission = "send-as-account"
	// ManageAccounts allows all calls of Host.Accounts, and Sessions.End.
	ManageAccounts Permission = "manage-accounts"
	// ListAccounts allows Get and List of Host.Accounts.
	ListAccounts Permission = "list-accounts"
	// SeeStanzas allows stage handlers.
	SeeStanzas Permission = "see-stanzas"
	// ReadRosters allows Host.Rosters.
	ReadRosters Permission = "read-rosters"
	// SeePresence allows notices of sessions.
	SeePresence Permission = "see-presence"
	// TellPresence allows Sessions.Withdraw and Sessions.Announce.
	TellPresence Permission = "tell-presence"
	// FarDomains allows Registration.Far.
	FarDomains Permission = "far-domains"
	// ReadCertificates allows Host.Certificates: private keys of all domains of the server.
	ReadCertificates Permission = "read-certificates"
	// ServeHTTP allows Registration.HTTP: pages of the server's own origin.
	ServeHTTP Permission = "serve-http"
)

// Permissions lists all that there are.
func Permissions() []Permission {
	return []Permission{SendAsAccount, ManageAccounts, ListAccounts, SeeStanzas, ReadRosters, SeePresence, TellPresence, FarDomains, ReadCertificates, ServeHTTP}
}

// To says whom an IQ must be addressed to for a handler. The values can be
// combined.
type To uint8

const (
	ToServer     To = 1 << iota // a hosted domain
	ToOwnAccount                // the sender's own bare JID, or no to at all (RFC 6120 10.3.3)
	ToAccount                   // the bare JID of another account, from any sender
	ToStream                    // no to, or a hosted domain, on a stream that is not logged in yet
)

// IQHandler answers iq stanzas of type get or set.
type IQHandler struct {
	Space, Local string // name of the payload
	Type         string // stanza.Get, stanza.Set, or "" for both
	To           To
	// Inline: the handler waits for nothing (see the package comment).
	Inline bool
	// Ordered: requests of one account to such handlers of this extension follow one
	// another. Each has been answered, and what it asked for has been done, before
	// the next one begins: so what one session is told of what another one did comes
	// in the order in which it was done. A request that has to wait for 30 seconds, or
	// behind 19 others, is refused with resource-constraint. Not with Inline.
	Ordered bool
	// Handle returns the payload of the result, nil for an empty one. A
	// *stanza.Error becomes the error answer; any other error becomes
	// internal-server-error and a line in the log.
	Handle func(ctx context.Context, h *Host, iq IQ) (*stanza.Element, error)
}

// IQ is a request as a handler gets it: to is checked, from is authentic.
type IQ struct {
	*stanza.Stanza
	Child  stanza.Child // the payload
	Origin Origin
}

// Payload parses the payload into a tree, which takes 10 ms and more of the longest
// there are. So no Inline handler calls it: see Attr.
func (q IQ) Payload() *stanza.Element { return q.Stanza.Element(q.Child) }

// Attr returns an unprefixed attribute of the payload, "" if it is absent. It reads
// the start tag alone.
func (q IQ) Attr(local string) string {
	value, _ := q.ChildAttr(q.Child, local)
	return value
}

// Origin says where a stanza entered the server.
type Origin struct {
	Session jid.JID    // full JID of the local session; zero if it was none, or is not logged in
	Fence   uint64     // of that session: of those that have a JID one after the other the later one has the greater; 0 if there is none
	Domain  string     // the hosted domain of the stream, "" if it was no client's
	Addr    netip.Addr // the client's address; invalid if it was no client's
	Secure  bool       // the stream is encrypted
}

// StreamFeature is advertised in <stream:features/>.
type StreamFeature struct {
	// Before: offered before login, on streams where logins are allowed (most
	// configurations want encryption first); otherwise after it, beside bind.
	Before  bool
	Element func(domain string) *stanza.Element // nil: not offered for this domain
}

// ElementHandler is told of elements that a logged-in client sends beside its
// stanzas, such as <active/> of XEP-0352. Two claims to one name stop the server.
type ElementHandler struct {
	Space, Local string
	// Handle runs inline, in order with the stanzas of the client. Nothing is
	// answered; a *stream.Error ends the stream.
	Handle func(ctx context.Context, h *Host, session jid.JID, e *stanza.Element) error
}

// Mark is a flag on a session: the kernel matches by it (Match.Mark, Copy.Mark)
// and shows it to no client.
type Mark struct {
	Name string
	// Connection: a session that is resumed on another connection (XEP-0198) has
	// lost it.
	Connection bool
}

// Event is something that happens to a session.
type Event uint8

const (
	// BecameUnavailable: a session that was available (RFC 6121 4.2) is so no
	// more, or has ended.
	BecameUnavailable Event = iota + 1
	// BecameAvailable: a session sent initial presence (RFC 6121 4.2), or presence
	// after it was unavailable, and others can see it. One that is resumed, or was kept
	// over a restart of the server, was available all the time.
	BecameAvailable
)

// Notice tells of an event. Nobody waits for it: notices come later, one after the
// other, in the order of the events. But a handler of requests that may wait, and
// reads what is stored of an account, reads what notices about it wrote. Of those
// that wait for an extension there are at most 100,000 (64 MiB); more are dropped,
// with an error in the log. Of one account there are at most 100: then the newest
// takes the place of the one before. Accounts take turns.
type Notice struct {
	Event    Event
	Session  jid.JID
	At       time.Time
	Presence *stanza.Stanza // that made it so: of BecameUnavailable the last one, of type unavailable
}

// Component answers for domains of its own.
type Component struct {
	// Domain is its address: "conference.$domain" stands for one in each
	// hosted domain.
	Domain string
	Disco  Disco
	Items  func(ctx context.Context, h *Host, iq IQ) ([]Item, error) // disco#items; nil: none
	// Handle is given each stanza to the domain and its JIDs that no IQ
	// handler below answers, in order per sender. An error is answered to the
	// sender as in IQHandler.
	Handle func(ctx context.Context, h *Host, e *Envelope) error
	// IQ answers requests to the component's domain itself; To is not used.
	IQ []IQHandler
	// Key is that of its stanzas, where the registration has a Remote.
	Key OrderingKey
}

// OrderingKey says which stanzas to a component are handled in order; others don't
// wait for them. Stanzas of one sender to one address always are.
type OrderingKey uint8

const (
	ToBare     OrderingKey = iota // those to one bare JID: a room
	Pair                          // those from one bare JID to another
	DomainPair                    // those from one domain to another
)

// Item is an item of disco#items.
type Item struct {
	JID  jid.JID
	Node string
	Name string
}
