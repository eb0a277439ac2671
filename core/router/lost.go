package router

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Lost decides what becomes of stanzas that a session, whose full JID is to, did not
// bring to its client. This is the one rule for it; no setting changes it:
//
//   - chat and normal messages go to the bare JID, as new ones would but for the
//     Deliver stage, which they have passed (Recall sees them instead), and with a
//     stamp of their time: to
//     other sessions, or into storage, in front of what comes later and whatever the
//     quota; unless another session has a copy, or may still get it;
//   - an iq get or set is answered with service-unavailable;
//   - everything else is dropped: groupchat (the room has its history), headlines,
//     errors, answers, presence (subscription requests are roster state).
//
// What came from storage is not lost: it is stored still.
//
// They stay in order. From the first one on that has to wait for something, or is to
// be stored, all of them wait in package offline, which holds the account meanwhile,
// and tries again what fails. A receipt is used up when a message is stored, or a rule
// has decided that it goes nowhere; never by an error.
func (r *Router) Lost(b *transport.Batch, to jid.JID, all []session.Lost) {
	waits := false
	for i := range all {
		l := r.leaving(to, &all[i])
		if l == nil || !waits && l.begin(b) {
			continue
		}
		waits = true
		r.Offline.Late(to.Bare(), offline.Left{Stanza: l.e.Stanza, At: l.at, Bring: l.bring, Anyway: true, Refused: l.refused, Done: l.done})
	}
}

// leaving is a stanza that a session left, on its way.
type leaving struct {
	r       *Router
	e       extension.Envelope
	at      time.Time
	receipt cluster.Receipt

	begins   bool           // begin runs
	parked   bool           // begin came to where it is to be stored
	wait     transport.Wait // what is left of begin; nil for nothing
	recalled bool           // it is behind the stage Recall
	handed   bool           // a session has it, and the receipt
	keep     *stanza.Stanza // what is to be stored
	err      error          // nothing is decided
}

// leaving returns nil for a stanza of which nothing becomes.
func (r *Router) leaving(to jid.JID, l *session.Lost) *leaving {
	st := l.Stanza
	x := &leaving{r: r, e: extension.Envelope{Stanza: st, Account: to.Bare()}, at: l.At}
	switch {
	case st.Kind == stanza.IQ:
		if st.Type == stanza.Get || st.Type == stanza.Set {
			return x
		}
		return nil
	case st.Kind == stanza.Presence, st.Type == stanza.GroupChat, st.Type == stanza.Headline, st.Type == stanza.TypeError:
		return nil
	case l.Fork != nil && (!l.Fork.Lost() || l.Fork.Message == nil):
		return nil
	case l.Fork != nil:
		st = l.Fork.Message // this may have been a copy of it
	}
	if l.Fork != nil && !l.Fork.Receipt.At.IsZero() {
		x.receipt = l.Fork.Receipt
		x.at = x.receipt.At
	}
	if x.at.IsZero() { // nobody noted it: without stream management nothing waits for long
		x.at = r.Offline.Now()
	}
	h := st.Header
	h.To = to.Bare()
	x.e.Stanza = offline.Stamped(st.With(h), x.at)
	return x
}

// begin goes as far as it can without waiting, and says whether that is the end.
func (l *leaving) begin(b *transport.Batch) bool {
	l.begins = true
	l.wait = l.step(b)
	l.begins = false
	if l.wait != nil || l.err != nil || l.parked {
		return false
	}
	l.done()
	return true
}

// bring goes on, from where it came to last: see offline.Left.
func (l *leaving) bring(context.Context) (*stanza.Stanza, error) {
	l.err = nil
	w := l.wait
	if l.wait = nil; w == nil {
		w = func(ctx context.Context) { transport.Run(ctx, l.step) }
	}
	l.r.Hosts.Own(w)(context.Background())
	return l.keep, l.err
}

// step takes the next stage.
func (l *leaving) step(b *transport.Batch) transport.Wait {
	switch {
	case l.e.Stanza.Kind == stanza.IQ:
		return l.r.refuse(b, &l.e, stanza.Err(stanza.ServiceUnavailable, ""))
	case l.recalled:
		return l.undelivered(b)
	case !l.r.wanted(extension.Recall, &l.e):
		return l.relay(b, &l.e)
	}
	// It has waited: somebody may have been blocked since.
	return l.r.begin(b, &passage{Passage: through(extension.Recall, &l.e), next: l.relay, ended: l.ended})
}

// relay gives a message to other sessions. When none takes it, it is to be stored,
// which is nothing for begin. What has waited is stored in any case, if it can be: a
// session that took it, and ended, would leave it behind those that still wait.
func (l *leaving) relay(b *transport.Batch, e *extension.Envelope) transport.Wait {
	l.recalled, l.e = true, *e
	if l.begins || l.r.Offline.Fate(e.Stanza) != offline.Keep {
		l.handed, _ = l.r.taken(b, e, l.r.Sessions.Sessions(e.Stanza.To.Bare()), nil, l.receipt, true)
	}
	switch {
	case l.handed:
		return nil
	case l.begins && l.r.Offline.Enabled():
		l.parked = true
		return nil
	}
	return l.undelivered(b)
}

// undelivered goes on with a message that no session takes.
func (l *leaving) undelivered(b *transport.Batch) transport.Wait {
	if !l.r.wanted(extension.Undelivered, &l.e) {
		return l.fate(b, &l.e)
	}
	return l.r.begin(b, &passage{Passage: through(extension.Undelivered, &l.e), next: l.fate, ended: l.ended})
}

// fate has a message stored, or returns it to its sender, or drops it.
func (l *leaving) fate(b *transport.Batch, e *extension.Envelope) transport.Wait {
	switch l.r.Offline.Fate(e.Stanza) {
	case offline.Keep:
		l.keep = e.Stanza
	case offline.Refuse:
		return l.r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
	}
	return nil
}

// ended takes the end in a stage. That a handler failed decides nothing either.
func (l *leaving) ended(b *transport.Batch, err error) transport.Wait {
	switch {
	case err == nil:
		return nil
	case offline.Undecided(err):
		l.err = err
		return nil
	}
	return l.r.refuse(b, &l.e, stanza.AsError(err))
}

// refused tells the sender that a message can't be stored, ever.
func (l *leaving) refused(_ context.Context, err *stanza.Error) {
	l.r.Hosts.Own(func(ctx context.Context) {
		transport.Run(ctx, func(b *transport.Batch) transport.Wait { return l.r.refuse(b, &l.e, err) })
	})(context.Background())
}

// done uses up the receipt, unless a session has it.
func (l *leaving) done() {
	if !l.handed {
		l.receipt.Done()
	}
}
