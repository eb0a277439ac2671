// Package mam keeps the messages of accounts and answers queries about them: Message
// Archive Management (XEP-0313), with Result Set Management (XEP-0059), stanza ids
// (XEP-0359) and preferences (XEP-0441).
//
// rules.go says which messages are kept (6.1.1), prefs.go of whom, stages.go keeps
// them, query.go answers (4, 5), retention.go deletes what is old (3.2). What a query
// means is in ports/xmpp/mam and ports/extension/archive, which rooms share.
//
// A message is written to the archives of its sender and of its recipient by one
// commit, before anybody is given it, and comes to the recipient with its ID; to the
// sender's other clients in their carbon copies (3.5). If it can't be written its
// sender gets an error.
//
// Decided, where the specification leaves it open:
//
//   - groupchat is in no user's archive: the room has it. The field include-groupchat
//     is known, and changes nothing (4.1.4);
//   - what is kept is the message as it came, without the ID that it was given here;
//     the time is kept to the millisecond, as stamps tell it;
//   - a message that is longer than a row may be passes, and is not kept. The limits
//     of the configuration allow none.
//
// Left out are archives of the server and of others than accounts.
package mam

import (
	"context"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/archive"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Options of the extension; the zero value is good.
type Options struct {
	// Retention is how long messages are kept; 0: until the account is removed.
	Retention time.Duration
	// MaxPage is how many messages a query gets at most: 250 if zero, 500 at most.
	MaxPage int
}

const (
	defaultPage    = 50 // messages, if the query does not say
	defaultMaxPage = 250
	mostMaxPage    = 500 // a handler may send 1,000 stanzas
)

// Validate says what is wrong with the options: nil if nothing is.
func (o Options) Validate() error {
	if o.Retention < 0 || o.MaxPage < 0 || o.MaxPage > mostMaxPage {
		return fmt.Errorf("mam: retention %v, pages of %d messages; allowed are no negative values, and pages of %d at most", o.Retention, o.MaxPage, mostMaxPage)
	}
	return nil
}

// keeper is the extension.
type keeper struct {
	options Options
	ids     *mam.IDs // set by start
}

// New returns the extension. Options that are not valid let its Start fail.
func New(o Options) extension.Registration {
	k := &keeper{options: o}
	if k.options.MaxPage == 0 {
		k.options.MaxPage = defaultMaxPage
	}
	handler := func(local, typ string, inline bool, handle func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error)) extension.IQHandler {
		return extension.IQHandler{Space: mam.NS, Local: local, Type: typ, To: extension.ToOwnAccount, Inline: inline, Handle: handle}
	}
	handlers := []extension.IQHandler{
		handler("query", stanza.Set, false, k.query),
		handler("query", stanza.Get, true, form),
		handler("metadata", stanza.Get, false, k.metadata),
		handler("prefs", stanza.Get, false, getPrefs),
		handler("prefs", stanza.Set, false, setPrefs),
	}
	for _, q := range handlers {
		q.To, q.Inline, q.Handle = extension.ToAccount, true, refuse
		handlers = append(handlers, q)
	}
	return extension.Registration{
		Name: "mam",
		Implements: []extension.XEP{
			{Number: 313, Version: "1.1.3"}, {Number: 59, Version: "1.0", Note: "without pages by index"}, {Number: 359, Version: "0.7.0"},
			{Number: 441, Version: "0.2.0"},
		},
		Permissions: []extension.Permission{extension.SeeStanzas, extension.ReadRosters},
		Account:     extension.Disco{Features: []string{mam.NS, mam.FeatureExtended, mam.FeatureGroupchat, mam.NSIDs}},
		IQ:          handlers,
		Stages: []extension.StageHandler{
			{Stage: extension.Submit, Class: extension.Decide, Policy: extension.Closed, Match: messages, Handle: k.submit},
			{Stage: extension.Deliver, Class: extension.Decide, Policy: extension.Closed, Match: messages, Handle: k.deliver},
		},
		Residents:      []string{keyPrefs, keyRoster},
		ResidentRoster: keyRoster,
		Timer:          k.expire,
		Start:          k.start,
	}
}

func (k *keeper) start(ctx context.Context, h *extension.Host) error {
	if err := k.options.Validate(); err != nil {
		return err
	}
	secret, err := h.Secrets.Secret(ctx, "ids")
	if err != nil {
		return err
	}
	if k.ids, err = mam.NewIDs(secret); err != nil {
		return err
	}
	return h.Timers.Set(timerExpire, archive.FirstExpiry, nil)
}

// archive is the one of an account.
func (k *keeper) archive(h *extension.Host, owner jid.JID) *archive.Archive {
	return &archive.Archive{Archive: h.Archive, IDs: k.ids, Owner: owner}
}

// refuse answers who is not the owner (8.1), whether or not there is such an account.
func refuse(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	return nil, stanza.Err(stanza.Forbidden, "")
}
