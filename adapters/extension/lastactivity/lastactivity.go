// Package lastactivity tells how long ago somebody or something was active
// (XEP-0012): an account, when it was last available (section 3), and the server,
// when it was started (section 5). What a session says of itself (section 4) is for
// its client to answer.
//
// Nobody learns of an account who may not see its presence (sections 3, 4, 8): that
// takes a subscription of type from or both in the account's roster. All others are
// answered forbidden, as section 3 demands; so is a request to an account that is not
// there, though RFC 6121 8.5.1 has service-unavailable for it: the two must not
// differ. A request to a full JID that may not be delivered is answered
// service-unavailable instead of the forbidden of section 4, since that is what one
// to a resource that is not there gets (RFC 6121 8.5.3.1, 8.5.3.2.2): whether it is
// there is just what is not to be told.
//
// A session that is connected and not available does not count as activity of now,
// though section 3 would let it: who hides stays hidden ("subject to local security
// policies"). Of an account that was never available there is nothing to tell, which
// is item-not-found to those who may ask.
package lastactivity

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of <query/>, and the feature that stands for it (section 6).
const NS = "jabber:iq:last"

// New returns the extension.
func New() extension.Registration {
	var started time.Time
	disco := extension.Disco{Features: []string{NS}}
	handler := extension.IQHandler{Space: NS, Local: "query", Type: stanza.Get}
	server, account := handler, handler
	server.To, server.Inline = extension.ToServer, true
	server.Handle = func(_ context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		return since(h, started), nil
	}
	account.To, account.Handle = extension.ToOwnAccount|extension.ToAccount, ofAccount
	return extension.Registration{
		Name:        "lastactivity",
		Implements:  []extension.XEP{{Number: 12, Version: "2.0"}},
		Permissions: []extension.Permission{extension.ReadRosters, extension.SeePresence, extension.SeeStanzas},
		Server:      disco,
		Account:     disco,
		IQ:          []extension.IQHandler{server, account},
		Stages: []extension.StageHandler{{
			Stage: extension.Deliver, Class: extension.Decide, Policy: extension.Closed,
			Match: extension.Match{
				Kinds: []stanza.Kind{stanza.IQ}, Types: []string{stanza.Get}, Child: &extension.Name{Space: NS, Local: "query"},
			},
			Handle: toSession,
		}},
		Notices: []extension.Event{extension.BecameUnavailable},
		Notice:  left,
		Start: func(_ context.Context, h *extension.Host) error {
			started = h.Now()
			return nil
		},
	}
}

// since returns a query that says how long ago a moment was, in whole seconds: 0 if
// the clock was set back behind it.
func since(h *extension.Host, at time.Time) *stanza.Element {
	seconds := max(0, h.Now().Sub(at)/time.Second)
	return stanza.El(NS, "query", stanza.At("seconds", strconv.FormatInt(int64(seconds), 10)))
}

// ofAccount is section 3.
func ofAccount(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	account := q.To
	if account.IsZero() {
		account = q.From.Bare()
	}
	sees, err := h.Rosters.Subscribed(ctx, account, q.From)
	switch {
	case err != nil:
		return nil, fmt.Errorf("lastactivity: who may ask %s: %w", account, err)
	case !sees:
		return nil, stanza.Err(stanza.Forbidden, "")
	case available(h, account):
		return since(h, h.Now()), nil
	}
	r, err := load(ctx, h, account)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, stanza.Err(stanza.ItemNotFound, "")
	}
	query := since(h, r.At)
	if r.Status != "" {
		query.WithText(r.Status)
	}
	return query, nil
}

func available(h *extension.Host, account jid.JID) bool {
	return slices.ContainsFunc(h.Sessions.Of(account), func(s extension.Session) bool { return s.Available })
}

// toSession is section 4: it keeps requests from sessions whose presence the sender
// may not see. Of an account without an available session nothing is in memory: then
// nobody's request reaches any of its sessions.
func toSession(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
	if e.Stanza.To.IsBare() {
		return extension.Verdict{}, nil // ofAccount
	}
	sees, err := h.Rosters.Known(e.Account, e.Stanza.From)
	if err != nil || sees {
		return extension.Verdict{}, err
	}
	return extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.ServiceUnavailable, "")}, nil
}
