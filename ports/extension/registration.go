// Package extension is the port for everything that is not the kernel: one
// struct of plain data and functions that says what an extension claims, sees
// and asks for. The same Registration runs inside the server or as a process.
//
// # A handler is a transaction
//
// Each handler is given a Host. What it asks through it (sends, writes, timers,
// requests) is buffered, and reads see own writes. When the handler returns nil
// all of it is applied, writes first; when it returns an error or panics, none
// of it. Calls of Host.Accounts are the exception, and say so.
//
// # Where handlers run
//
// A handler that is marked Inline runs on the goroutine that reads a client's
// stream: it must not wait for anything, storage included. All others run on
// a bounded number of worker goroutines; the stream that sent the stanza is not
// read meanwhile, so that its stanzas stay in order. Handlers of different
// streams run at the same time.
package extension

import (
	"context"
	"net/netip"

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
	Components     []Component

	// Reply is given the answers to Stanzas.Request; Timer the timers that
	// fired. They may be nil if the extension never asks for any.
	Reply func(ctx context.Context, h *Host, r Reply) error
	Timer func(ctx context.Context, h *Host, t Timer) error

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
	// SendAsAccount allows Stanzas.SendAs.
	SendAsAccount Permission = "send-as-account"
	// ManageAccounts allows the changing calls of Host.Accounts.
	ManageAccounts Permission = "manage-accounts"
	// SeeStanzas allows stage handlers.
	SeeStanzas Permission = "see-stanzas"
)

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

// Payload parses the payload into a tree.
func (q IQ) Payload() *stanza.Element { return q.Stanza.Element(q.Child) }

// Origin says where a stanza entered the server.
type Origin struct {
	Session jid.JID    // full JID of the local session; zero if it was none, or is not logged in
	Domain  string     // the hosted domain of the stream, "" if it was no client's
	Addr    netip.Addr // the client's address; invalid if it was no client's
	Secure  bool       // the stream is encrypted
}

// Stage is a place on a stanza's way.
type Stage uint8

const (
	Submit      Stage = iota + 1 // a local session handed it in; from is stamped
	Deliver                      // it goes to an account of a hosted domain
	Undelivered                  // no session of that account took it
	Write                        // it goes to one session
)

// Class says what a stage handler may do.
type Class uint8

const (
	Observe Class = iota + 1 // is told; its verdict is ignored
	Decide                   // gives a verdict
)

// Policy says what happens to a stanza when a Decide handler fails.
type Policy uint8

const (
	Closed Policy = iota // it is refused with internal-server-error
	Open                 // it passes
)

// StageHandler sees stanzas on their way. It runs inline: see the package
// comment. What it writes to storage is committed before the stanza is
// delivered; if that fails the sender gets an error, unless the handler's class
// is Observe. In the stage Write the stanza does not wait: writes follow it, in
// order, and are dropped when too many wait (1,000 for each extension).
type StageHandler struct {
	Stage  Stage
	Class  Class
	Match  Match
	Policy Policy
	Handle func(ctx context.Context, h *Host, e *Envelope) (Verdict, error)
}

// Match selects stanzas; the kernel evaluates it. A nil or empty field matches
// anything.
type Match struct {
	Kinds []stanza.Kind
	Types []string // as RFC 6121 reads them: an absent message type is normal
	// Child names a child element that must be there: {"", "body"} is a body.
	Child *Name
}

// Envelope is a stanza on its way.
type Envelope struct {
	Stanza  *stanza.Stanza
	Origin  Origin
	Account jid.JID // Deliver, Undelivered: bare JID of the recipient
	Session jid.JID // Write: full JID of the recipient
}

// Action of a Verdict.
type Action uint8

const (
	Pass    Action = iota
	Drop           // nothing is answered
	Refuse         // the sender gets Verdict.Error
	Replace        // Verdict.Stanza goes on instead
	Patch          // Verdict.Remove and Verdict.Append change the content
	Handled        // the extension answers for it from here on
)

// Verdict is a stage handler's answer. The zero value lets the stanza pass. A
// handler that makes of an iq what breaks RFC 6120 8.2.3 has failed.
type Verdict struct {
	Action Action
	Error  *stanza.Error     // Refuse
	Stanza *stanza.Stanza    // Replace: same kind; to and from stay those of the original
	Remove []Name            // Patch: children to remove
	Append []*stanza.Element // Patch: children to add at the end
}

// Name is the name of an element; an empty Local matches any in the namespace.
type Name struct{ Space, Local string }

// StreamFeature is advertised in <stream:features/>.
type StreamFeature struct {
	// Before: offered before login, on streams where logins are allowed (most
	// configurations want encryption first); otherwise after it, beside bind.
	Before  bool
	Element func(domain string) *stanza.Element // nil: not offered for this domain
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
}

// Item is an item of disco#items.
type Item struct {
	JID  jid.JID
	Node string
	Name string
}

// Order says in which order the stage handlers of extensions run: names of
// registrations, one list per stage. An extension that has a handler for a
// stage must be in its list, and no name may be in it that has none.
type Order map[Stage][]string
