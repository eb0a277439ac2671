package extension

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Far claims all far domains: those that are neither hosted, nor a component's, nor a
// subdomain of a hosted one (with a wildcard in the DNS such a one would be this server
// again). One registration may, with the permission FarDomains. Take runs elsewhere, or by plugin.Inside:
// the registration has a Remote when the kernel sees it.
//
// Whoever claims them may also send, by Stanzas.Send, what is from a far domain, to whom this
// server answers for, and nothing that is from any other domain. It goes the way of
// what a client sends, but for the stage Submit. That the domain is authenticated is the extension's
// word (RFC 6120 13.7).
type Far struct {
	// Take takes what goes to a far domain. It never waits: what it is given stays with
	// the kernel, which gives it to the next process if this one dies, until Done is
	// called, minutes later as it may be. Of one domain one Take is called at a time, in order;
	// of several at the same time. At most 256 events of a domain, or 1 MiB of them, are out at once;
	// the others wait for these.
	//
	// ctx ends with the process, and is one for plugin.Do and plugin.Background.
	Take func(ctx context.Context, e *FarEvent)
}

// FarEvent is a stanza for a far domain, or the copies of one for several people there.
type FarEvent struct {
	// ID is greater than those of all events of the domain that were dispatched before, also of
	// earlier runs of the server. It is the same when the event is given again.
	ID uint64
	// Attempt is 1 for the first time. More: a process of before had the event, and may have written it.
	Attempt int
	// Domain is that of whom it is for: canonical, as jid.JID.Domain returns it. It is the event's
	// ordering key.
	Domain string
	// Stanza has a from of ours. Its to is zero if there are Recipients.
	Stanza *stanza.Stanza
	// Recipients are whom copies of the stanza are for, in order: one for each, all of them of Domain. At most 500.
	Recipients []jid.JID
	Received   time.Time

	// Done is called once, by any goroutine: with nil when the peer has the stanza (or, of
	// one that acknowledges nothing, when it was written), with a *stanza.Error when it can't
	// be given to it: messages, and iq of type get and set, are answered with that; presence,
	// errors and results are not (RFC 6120 8.2.3, 8.3.1). Of several Recipients each is answered for. Any
	// other error is internal-server-error. Events of a domain may be done in any order.
	Done func(err error)
}
