// Package vcard keeps one vCard per account (XEP-0054): the owner gets and
// replaces it (sections 3.1, 3.2), everybody may read it by the bare JID of the
// account (3.3), and service discovery tells so (4).
//
// For everybody but the owner an account without a vCard and an account that
// does not exist are the same: service-unavailable, the condition that 3.3
// demands for both, without a text. The owner of no vCard gets item-not-found
// (3.1). A set by anybody else, or to the server, is forbidden (3.2), whether
// or not there is such an account.
//
// A vCard is kept as the XML that it came as. The DTD (9) and the notes on
// capitals and single elements (8) are not enforced: clients write more than
// they name. A vCard without content takes the stored one away. Left out are a
// vCard of the server itself (3.3, last note), and the hash of its photo in
// presence (XEP-0153).
package vcard

import (
	"context"
	"fmt"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of <vCard/>, and the feature that stands for it (section 4).
const NS = "vcard-temp"

// key is where an account's vCard is stored, as XML.
const key = "vcard"

// Options of the extension; the zero value is good.
type Options struct {
	// MaxBytes bounds a vCard, in bytes of XML: 128 KiB if zero, at most
	// storage.MaxValue. A photo inside counts as base64.
	MaxBytes int
}

const defaultMaxBytes = 128 << 10

// Validate says what is wrong with the options: nil if nothing is.
func (o Options) Validate() error {
	if o.MaxBytes < 0 || o.MaxBytes > storage.MaxValue {
		return fmt.Errorf("vcard: a bound of %d bytes; allowed are 1 to %d, and 0 for the default", o.MaxBytes, storage.MaxValue)
	}
	return nil
}

// New returns the extension. Options that are not valid let its Start fail.
func New(o Options) extension.Registration {
	invalid := o.Validate()
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	disco := extension.Disco{Features: []string{NS}}
	handler := func(typ string, to extension.To, inline bool, handle func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error)) extension.IQHandler {
		return extension.IQHandler{Space: NS, Local: "vCard", Type: typ, To: to, Inline: inline, Handle: handle}
	}
	return extension.Registration{
		Name:       "vcard",
		Implements: []extension.XEP{{Number: 54, Version: "1.3.0", Note: "no vCard of the server itself; the DTD is not enforced"}},
		Server:     disco,
		Account:    disco,
		IQ: []extension.IQHandler{
			handler(stanza.Get, extension.ToOwnAccount, false, getOwn),
			handler(stanza.Set, extension.ToOwnAccount, false, o.set),
			handler(stanza.Get, extension.ToAccount, false, getOther),
			handler(stanza.Set, extension.ToAccount|extension.ToServer, true, forbid),
		},
		Start: func(context.Context, *extension.Host) error { return invalid },
	}
}

// getOwn is section 3.1.
func getOwn(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	card, err := load(ctx, h, q.From.Bare())
	if err == nil && card == nil {
		return nil, stanza.Err(stanza.ItemNotFound, "You have no vCard.")
	}
	return card, err
}

// getOther is section 3.3. It does not ask whether there is such an account: a
// missing one has nothing stored.
func getOther(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	card, err := load(ctx, h, q.To)
	if err == nil && card == nil {
		return nil, stanza.Err(stanza.ServiceUnavailable, "")
	}
	return card, err
}

// set is section 3.2: the vCard is always replaced as a whole.
func (o Options) set(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	// Not q.Payload: of what can't be read it would return the name alone, which
	// looks like a vCard without content.
	card, err := q.ParseChild(q.Child)
	if err != nil {
		return nil, stanza.Err(stanza.BadRequest, "")
	}
	owner := q.From.Bare()
	if blank(card) {
		h.Store.Delete(owner, key)
		return nil, nil
	}
	text, err := encode(card, o.MaxBytes)
	if err != nil {
		return nil, err
	}
	h.Store.Put(owner, key, text)
	return nil, nil
}

// forbid answers who sets the vCard of another (section 3.2, example 7).
func forbid(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	return nil, stanza.Err(stanza.Forbidden, "")
}

// blank reports whether there is nothing in a vCard to keep.
func blank(card *stanza.Element) bool {
	return len(card.Elements()) == 0 && strings.TrimSpace(card.Text()) == ""
}
