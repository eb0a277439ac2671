package carbons

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/forward"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// copier makes the copies, and remembers of what, for errors that come in answer.
type copier struct{ sent, received *memory }

// submit copies what a client of the account sends (section 8).
func (c *copier) submit(_ context.Context, _ *extension.Host, e *extension.Envelope) (v extension.Verdict, _ error) {
	st := e.Stanza
	peer := st.To.Bare()
	switch {
	case peer.IsZero() || peer == e.Account: // to oneself: see deliver
	case st.Type == stanza.TypeError:
		if !private(st) && c.received.knows(e.Account, peer, st.ID) {
			v.Copy = wrap("sent", e)
		}
	case eligible(st, outgoing):
		c.sent.note(e.Account, peer, st.ID)
		v.Copy = wrap("sent", e)
	}
	return v, nil
}

// deliver copies what comes to the account (section 7).
func (c *copier) deliver(_ context.Context, _ *extension.Host, e *extension.Envelope) (v extension.Verdict, _ error) {
	st := e.Stanza
	peer := st.From.Bare()
	own := peer == e.Account
	switch {
	case st.Type == stanza.TypeError:
		// Among the own sessions it may be the answer to a copy, which goes
		// nowhere (10.3).
		if !own && !private(st) && c.sent.knows(e.Account, peer, st.ID) {
			v.Copy = wrap("received", e)
		}
	case own:
		if eligible(st, outgoing) {
			v.Copy = wrap("sent", e)
		}
	case eligible(st, incoming):
		c.received.note(e.Account, peer, st.ID)
		v.Copy = wrap("received", e)
	}
	return v, nil
}

// wrap makes a copy: <sent/> or <received/> with the message in it, from the
// account. The kernel writes the address of each session.
func wrap(name string, e *extension.Envelope) *extension.Copy {
	h := stanza.Header{Kind: stanza.Message, Type: e.Stanza.Type, From: e.Account}
	st := e.Stanza
	if e.ArchiveID != "" { // which others must not be told (XEP-0313 3.5)
		st = st.Patch(nil, mam.StanzaID(e.Account.String(), e.ArchiveID))
	}
	return &extension.Copy{Mark: enabled, Stanza: forward.Wrap(h, stanza.El(NS, name), st, time.Time{})}
}
