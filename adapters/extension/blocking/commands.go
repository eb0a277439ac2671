package blocking

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// get is section 3.2. From here on the session gets pushes.
func get(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	l, _, err := load(ctx, h, q.From.Bare())
	if err != nil {
		return nil, err
	}
	e := stanza.El(NS, "blocklist")
	for it := range l.items() {
		e.Add(item(it))
	}
	return e, h.Sessions.Mark(q.From, asked, true)
}

// block is section 3.3.
func (o Options) block(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	owner := q.From.Bare()
	named, err := parse(q)
	if err != nil {
		return nil, err
	}
	if len(named) == 0 {
		return nil, stanza.Err(stanza.BadRequest, "There is no item in it.")
	}
	for _, j := range named {
		if unblockable(owner, j) {
			return nil, stanza.Err(stanza.NotAllowed, "Your own account and server can't be blocked.")
		}
	}
	old, revision, err := load(ctx, h, owner)
	if err != nil {
		return nil, err
	}
	next, added := old.with(named)
	if len(added) > 0 {
		if next.len() > o.MaxItems || len(next) > o.maxBytes() {
			return nil, stanza.Err(stanza.ResourceConstraint, fmt.Sprintf("A block list has at most %d items and %d bytes.", o.MaxItems, o.maxBytes()))
		}
		h.Store.Swap(owner, key, next, revision)
		// Who was blocked before hears nothing: it would learn that the user is there.
		if err := h.Sessions.Withdraw(owner, added, old.jids()); err != nil {
			return nil, err
		}
	}
	return nil, push(h, owner, "block", named)
}

// unblockable says whether an item could stand for nothing but the own account or
// the own server.
func unblockable(owner, j jid.JID) bool {
	return j.Bare() == owner || j.Bare() == owner.DomainJID() && !j.IsBare()
}

// unblock is sections 3.4 and, without items, 3.5.
func unblock(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	owner := q.From.Bare()
	named, err := parse(q)
	if err != nil {
		return nil, err
	}
	old, revision, err := load(ctx, h, owner)
	if err != nil {
		return nil, err
	}
	next, removed := old.without(named)
	if len(named) == 0 {
		next, removed = nil, old.jids()
	}
	if len(next) < len(old) {
		h.Store.Swap(owner, key, next, revision)
		if len(next) == 0 { // on the condition of the Swap
			h.Store.Delete(owner, key)
		}
		// It passes the stage Submit, so that who is blocked by another item still
		// hears nothing.
		if err := h.Sessions.Announce(owner, removed); err != nil {
			return nil, err
		}
	}
	return nil, push(h, owner, "unblock", named)
}

// push tells the sessions that have asked for the list what has been done to it
// (examples 8, 12, 15). Ids are such that nobody can guess the answer to one.
func push(h *extension.Host, owner jid.JID, command string, named []jid.JID) error {
	e := stanza.El(NS, command)
	for _, j := range named {
		e.Add(item(j.String()))
	}
	content := stanza.New(stanza.Header{}, e)
	for _, s := range h.Sessions.Of(owner) {
		if !slices.Contains(s.Marks, asked) {
			continue
		}
		err := h.Stanzas.Send(content.With(stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: rand.Text(), From: owner, To: s.JID}))
		if errors.Is(err, extension.ErrBound) {
			h.Log.Warn("not all sessions of an account are told of its block list: they are too many", "account", owner.String())
			return nil // to block is worth more
		}
		if err != nil {
			return fmt.Errorf("blocking: push: %w", err)
		}
	}
	return nil
}

func item(j string) *stanza.Element { return stanza.El(NS, "item", stanza.At("jid", j)) }

// parse reads the items of a command: prepared, each once, in their order. None is
// an error unless the element is empty, since that means all of them (3.5).
// Elements beside items, and in them, are other specifications'.
func parse(q extension.IQ) ([]jid.JID, error) {
	// Not q.Payload: of what can't be read it would return the name alone, which
	// looks like an empty command.
	command, err := q.ParseChild(q.Child)
	if err != nil {
		return nil, stanza.Err(stanza.BadRequest, "")
	}
	var named []jid.JID
	seen := map[jid.JID]bool{}
	for _, e := range command.Elements() {
		if e.Space != NS || e.Local != "item" {
			continue
		}
		j, err := jid.Parse(e.Attr("jid"))
		if err != nil {
			return nil, stanza.Err(stanza.BadRequest, "The jid of an item is missing, or is no address.")
		}
		if !seen[j] {
			seen[j] = true
			named = append(named, j)
		}
	}
	if len(named) == 0 && len(command.Elements()) > 0 {
		return nil, stanza.Err(stanza.BadRequest, "There is no item in it.")
	}
	return named, nil
}
