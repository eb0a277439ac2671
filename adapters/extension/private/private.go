// Package private keeps XML that only its owner sees (XEP-0049): elements in
// namespaces of their own, set and got with jabber:iq:private (section 2.3).
//
// What belongs together is told by namespace and name of the element: a set
// replaces what was stored under the same two and nothing else; several
// elements of one name in a set are kept together. Setting an empty element
// takes the stored one away: a get answers the same for both.
//
// The errors are those of sections 2.3 and 3: forbidden for what belongs to
// others, whether or not there is such an account; not-acceptable for no
// element, one without a namespace of its own, and one in a reserved namespace.
// For a get without element 3 names "Bad Format", which RFC 6120 does not have;
// 2.3 demands not-acceptable for it. bad-request is for more than one element in
// a get (2.1) and more than one namespace in a set (2.3).
package private

import (
	"context"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of the query (section 2).
const NS = "jabber:iq:private"

// Options of the extension; the zero value is good.
type Options struct {
	// MaxBytes bounds what is stored under one name, in bytes of XML: 64 KiB if
	// zero, at most storage.MaxValue.
	MaxBytes int
	// MaxElements bounds how many names (namespace and local name) an account
	// has stored: 64 if zero, at most 10,000.
	MaxElements int
}

const (
	defaultMaxBytes    = 64 << 10
	defaultMaxElements = 64
	maxElements        = 10_000
)

// Validate says what is wrong with the options: nil if nothing is.
func (o Options) Validate() error {
	if o.MaxBytes < 0 || o.MaxBytes > storage.MaxValue {
		return fmt.Errorf("private: a bound of %d bytes; allowed are 1 to %d, and 0 for the default", o.MaxBytes, storage.MaxValue)
	}
	if o.MaxElements < 0 || o.MaxElements > maxElements {
		return fmt.Errorf("private: a bound of %d elements; allowed are 1 to %d, and 0 for the default", o.MaxElements, maxElements)
	}
	return nil
}

// New returns the extension. Options that are not valid let its Start fail.
func New(o Options) extension.Registration {
	invalid := o.Validate()
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxElements == 0 {
		o.MaxElements = defaultMaxElements
	}
	disco := extension.Disco{Features: []string{NS}}
	return extension.Registration{
		Name:       "private",
		Implements: []extension.XEP{{Number: 49, Version: "1.2"}},
		Server:     disco, // where clients look for it
		Account:    disco, // where it is
		IQ: []extension.IQHandler{
			{Space: NS, Local: "query", Type: stanza.Get, To: extension.ToOwnAccount, Handle: get},
			{Space: NS, Local: "query", Type: stanza.Set, To: extension.ToOwnAccount, Handle: o.set},
			{Space: NS, Local: "query", To: extension.ToAccount | extension.ToServer, Inline: true, Handle: forbid},
		},
		Start: func(context.Context, *extension.Host) error { return invalid },
	}
}

// get returns what is stored under the name of the one element in the query, or
// that element, empty (section 2.3, example 2).
func get(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	list := q.Payload().Elements()
	if err := acceptable(list); err != nil {
		return nil, err
	}
	if len(list) > 1 {
		return nil, stanza.Err(stanza.BadRequest, "Get one element at a time.")
	}
	n := nameOf(list[0])
	stored, ok, err := h.Store.Get(ctx, q.From.Bare(), n.key())
	if err != nil {
		return nil, fmt.Errorf("private: load of %s: %w", q.From.Bare(), err)
	}
	if !ok {
		return stanza.El(NS, "query").Add(stanza.El(n.space, n.local)), nil
	}
	query, err := decode(stored.Value)
	if err != nil {
		return nil, fmt.Errorf("private: read what is stored of %s: %w", q.From.Bare(), err)
	}
	return query, nil
}

// set stores what is in the query (section 2.3, example 1).
func (o Options) set(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	list := q.Payload().Elements()
	if err := acceptable(list); err != nil {
		return nil, err
	}
	groups, err := o.group(list)
	if err != nil {
		return nil, err
	}
	return nil, o.store(ctx, h, q.From.Bare(), groups)
}

// forbid answers who asks for what belongs to others (section 2.3, example 3),
// and whoever takes the server for his account.
func forbid(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	return nil, stanza.Err(stanza.Forbidden, "")
}
