// Package blocking lets users block others (XEP-0191): all that comes from whom
// an account has blocked, and all that would go there, ends at the server.
//
// commands.go has sections 3.2 to 3.5, stages.go what section 3.3 wants of the
// stanzas of blocked users and of stanzas to them, list.go section 6. Blocking is
// polite (section 4): subscriptions stay, and nobody is told but by the
// unavailable presence of 3.3.
//
// The own account and the own server (the domain of the account itself) are never
// blocked: by section 5, note 1, for the other resources, and since a client that
// can't reach its server can't unblock anything either. An item that could stand
// for nothing else is refused; the own domain may be blocked, which keeps out its
// other users (section 6).
//
// Left out are privacy lists (XEP-0016, section 5) and directories that hide who
// has blocked the searcher (section 4).
package blocking

import (
	"context"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of the commands, and the feature that stands for them (3.1).
const NS = "urn:xmpp:blocking"

// NSErrors is the namespace of <blocked/> (3.3, example 9).
const NSErrors = "urn:xmpp:blocking:errors"

const (
	key   = "list"  // where an account's list is stored; of an empty one there is no entry
	asked = "asked" // mark of sessions that have asked for the list, and get pushes
)

// Options of the extension; the zero value is good.
type Options struct {
	// MaxItems bounds a list: 1,000 if zero, at most 10,000. What an item takes is
	// bounded by 128 bytes in the average of a list that is full.
	MaxItems int
}

const (
	defaultMaxItems = 1_000
	mostMaxItems    = 10_000
	bytesPerItem    = 128
)

// Validate says what is wrong with the options: nil if nothing is.
func (o Options) Validate() error {
	if o.MaxItems < 0 || o.MaxItems > mostMaxItems {
		return fmt.Errorf("blocking: a bound of %d items; allowed are 1 to %d, and 0 for the default", o.MaxItems, mostMaxItems)
	}
	return nil
}

// maxBytes bounds a list as it is stored.
func (o Options) maxBytes() int { return min(o.MaxItems*bytesPerItem, storage.MaxValue) }

// New returns the extension. Options that are not valid let its Start fail.
func New(o Options) extension.Registration {
	invalid := o.Validate()
	if o.MaxItems == 0 {
		o.MaxItems = defaultMaxItems
	}
	// Ordered: whoever reads the list gets each later change behind it, and changes
	// come in the order in which they were made.
	command := func(local, typ string, handle func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error)) extension.IQHandler {
		return extension.IQHandler{Space: NS, Local: local, Type: typ, To: extension.ToOwnAccount, Ordered: true, Handle: handle}
	}
	return extension.Registration{
		Name:        "blocking",
		Implements:  []extension.XEP{{Number: 191, Version: "1.3"}},
		Permissions: []extension.Permission{extension.SeeStanzas, extension.TellPresence},
		Server:      extension.Disco{Features: []string{NS}},
		IQ: []extension.IQHandler{
			command("blocklist", stanza.Get, get),
			command("block", stanza.Set, o.block),
			command("unblock", stanza.Set, unblock),
		},
		Stages:    stages(),
		Residents: []string{key},
		Marks:     []extension.Mark{{Name: asked}},
		Start:     func(context.Context, *extension.Host) error { return invalid },
	}
}
