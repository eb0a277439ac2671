// Package register is in-band registration (XEP-0077) with a server: new
// accounts before login (section 3.1, 3.1.1), the removal of one's own account
// (3.2), a new password for it (3.3), data forms beside the plain fields (4),
// the stream feature (8) and the disco feature (10).
//
// Left out are the error forms that ask for more than name and password (3.2,
// 3.3), redirection to a web page (5), the obsolete key (7), and the numeric
// codes of errors (9), which RFC 6120 no longer has. Removal ends sessions and
// removes what is stored; the kernel keeps no subscriptions yet that would have
// to be cancelled (3.2).
package register

import (
	"net/netip"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Namespaces of XEP-0077.
const (
	NS        = "jabber:iq:register"
	NSFeature = "http://jabber.org/features/iq-register"
)

// Limiter says whether a client's address may make one more account now. It is
// asked by many goroutines, once an attempt, before anything costly. An invalid
// address stands for all clients whose address is not known.
type Limiter interface {
	Allow(addr netip.Addr, now time.Time) bool
}

// Options of the extension. The zero value registers nobody, and lets users
// change their password and remove their account.
type Options struct {
	// Open lets everybody make an account before login.
	Open bool
	// Limiter bounds new accounts by address; nil does not bound them.
	Limiter Limiter
	// MinPassword is the least number of characters of a new password; at
	// least one is wanted anyway.
	MinPassword int
	// Reserved are accounts that nobody can make here: they count as taken.
	// Whoever makes an administrator's account is an administrator.
	Reserved []jid.JID
	// AllowClear permits passwords on streams that are not encrypted.
	AllowClear bool
	// NoPasswordChange and NoRemoval take these from users.
	NoPasswordChange bool
	NoRemoval        bool
}

// New returns the extension.
func New(o Options) extension.Registration {
	r := extension.Registration{
		Name: "register",
		Implements: []extension.XEP{{Number: 77, Version: "2.4",
			Note: "no redirection (5), no forms in errors, no error codes (9)"}},
		Permissions: []extension.Permission{extension.ManageAccounts},
		IQ: []extension.IQHandler{
			{Space: NS, Local: "query", Type: stanza.Get, To: extension.ToStream, Inline: true, Handle: o.fields},
			{Space: NS, Local: "query", Type: stanza.Set, To: extension.ToStream, Handle: o.create},
			{Space: NS, Local: "query", Type: stanza.Get, To: extension.ToServer | extension.ToOwnAccount, Inline: true, Handle: o.registered},
			{Space: NS, Local: "query", Type: stanza.Set, To: extension.ToServer | extension.ToOwnAccount, Handle: o.change},
		},
	}
	if o.Open {
		r.StreamFeatures = []extension.StreamFeature{{
			Before:  true,
			Element: func(string) *stanza.Element { return stanza.El(NSFeature, "register") },
		}}
	}
	if o.Open || !o.NoPasswordChange || !o.NoRemoval {
		r.Server.Features = []string{NS}
	}
	return r
}

// safe reports whether a password may be sent on the stream that q came on
// (section 11).
func (o *Options) safe(q extension.IQ) bool { return q.Origin.Secure || o.AllowClear }

// owner returns the account that a logged-in client sends for. ok is false if q
// is not of a session, or is addressed to another hosted domain than its own:
// there the account is not registered.
func owner(q extension.IQ) (account jid.JID, ok bool) {
	account = q.Origin.Session.Bare()
	to := q.To
	return account, !account.IsZero() && (to.IsZero() || to == account || to == account.DomainJID())
}
