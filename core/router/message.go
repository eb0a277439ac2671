package router

import (
	"context"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/core/pipeline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// message handles a message to an account: the Deliver stage, then the table
// of RFC 6121 8.5.4, then the Undelivered stage.
func (r *Router) message(b *transport.Batch, e *extension.Envelope) transport.Wait {
	if !r.wanted(extension.Deliver, e) {
		return r.deliver(b, e)
	}
	return r.stage(b, extension.Deliver, e, r.deliver)
}

// deliver gives a message to the sessions that RFC 6121 8.5 names.
func (r *Router) deliver(b *transport.Batch, e *extension.Envelope) transport.Wait {
	return r.give(b, e, nil, nil)
}

// give is deliver with a copy for those sessions of the account that have its
// mark and don't get the original.
func (r *Router) give(b *transport.Batch, e *extension.Envelope, c *pipeline.Copy, x *Way) transport.Wait {
	var sessions []cluster.Entry
	if x == nil || !x.nobody {
		sessions = r.Sessions.Sessions(e.Stanza.To.Bare())
	}
	receipt := r.accept(e, len(sessions) == 0, x)
	switch taken, held := r.taken(b, e, sessions, c, receipt, false); {
	case taken:
		return nil
	case held:
		return r.giveBehind(e, c, receipt, x)
	}
	return r.giveUp(b, e, receipt, x)
}

// giveUp goes on with a message that no session took.
func (r *Router) giveUp(b *transport.Batch, e *extension.Envelope, receipt cluster.Receipt, x *Way) transport.Wait {
	return behind(b, r.undelivered(b, e, receipt, x), func() {
		if !x.kept() {
			receipt.Done()
		}
	})
}

// giveBehind gives a message to the sessions that are there when what a session of the account has left
// has gone its way: they may have older ones of its sender, so that it may not be stored in front of these.
func (r *Router) giveBehind(e *extension.Envelope, c *pipeline.Copy, receipt cluster.Receipt, x *Way) transport.Wait {
	original := *e // e is borrowed
	if x != nil {
		waits := *x
		waits.waits = true // what is behind the message goes on when all of this is over
		x = &waits
	}
	return r.Hosts.Own(func(ctx context.Context) {
		owner, began := original.Stanza.To.Bare(), r.Offline.Now()
		for held := true; held; {
			r.Offline.Await(ctx, owner)
			late := ctx.Err() != nil || r.Offline.Now().Sub(began) >= offline.Patience // then order yields
			transport.Run(ctx, func(b *transport.Batch) transport.Wait {
				var taken bool
				if taken, held = r.taken(b, &original, r.Sessions.Sessions(owner), c, receipt, late); taken || held {
					return nil // held: another one has ended meanwhile
				}
				return r.giveUp(b, &original, receipt, x)
			})
		}
	})
}

// accept puts a client's message into the spool if its sender is to be told that it is
// safe (package safe): every one that is stored when a session leaves it. nobody says that
// no session is going to be given it.
func (r *Router) accept(e *extension.Envelope, nobody bool, x *Way) cluster.Receipt {
	if r.Safe == nil || !x.ours() || !r.Offline.Keeps(e.Stanza) {
		return cluster.Receipt{}
	}
	return r.Safe.Accept(x.Session, x.number(), e.Stanza, r.Offline.Now(), nobody)
}

// behind runs f when w has run, at once if there is none.
func behind(b *transport.Batch, w transport.Wait, f func()) transport.Wait {
	if w == nil {
		f()
		return nil
	}
	return func(ctx context.Context) {
		defer f()
		w(ctx)
	}
}

// taken gives a message to some of the sessions of its account, and says whether one
// took it; then the receipt is with it. left says that nothing comes before it, such as what
// a session leaves that just ends; otherwise held says that it has to wait for that.
func (r *Router) taken(b *transport.Batch, e *extension.Envelope, sessions []cluster.Entry, c *pipeline.Copy, receipt cluster.Receipt, left bool) (taken, held bool) {
	st := e.Stanza
	var f *cluster.Fork
	if receipt.Spool != nil || c != nil || st.To.IsBare() {
		f = forked(st, sessions, receipt)
	}
	to := choice{full: st.To}
	taken = !st.To.IsBare() && r.originals(b, f, st, sessions, to) // 8.5.3.1
	if !taken && !left && !st.To.IsBare() && st.Type == stanza.Chat && slices.ContainsFunc(sessions, func(s cluster.Entry) bool { return s.JID == st.To }) && r.Offline.Held(st.To.Bare()) {
		return false, true // it has just ended
	}
	if !taken && (st.To.IsBare() || st.Type == stanza.Chat) { // 8.5.2, 8.5.3.2.1
		if f == nil {
			f = forked(st, sessions, receipt)
		}
		to, taken, held = r.best(b, f, st, sessions, left)
	}
	if held {
		return false, true
	}
	switch {
	case c != nil && taken:
		r.copies(b, c, sessions, e.Origin.Session, f, to)
	case c != nil: // what becomes of the original does not depend on copies
		r.copies(b, c, sessions, e.Origin.Session, &cluster.Fork{}, to)
	}
	if f != nil && f.Lost() { // who took it has ended since, and given it up
		return false, taken && !left
	}
	return taken, false
}

// forked returns what follows a message that several sessions may get, or that
// has a receipt; nil if neither is so. It counts one copy too many, until all have
// theirs.
func forked(st *stanza.Stanza, sessions []cluster.Entry, receipt cluster.Receipt) *cluster.Fork {
	if len(sessions) <= 1 && receipt.Spool == nil {
		return nil
	}
	f := &cluster.Fork{Message: st, Receipt: receipt}
	f.Add()
	return f
}

// choice says which sessions of an account get a message: the one with the full
// JID, or, without it, the available ones of at least this priority.
type choice struct {
	full  jid.JID
	least int8
	none  bool
}

func (c *choice) has(s *cluster.Entry) bool {
	switch {
	case c.none:
		return false
	case !c.full.IsZero():
		return s.JID == c.full
	}
	return s.Available && s.Priority >= c.least
}

// available chooses those who get a message to the bare JID (RFC 6121
// 8.5.2.1.1).
func available(st *stanza.Stanza, sessions []cluster.Entry) choice {
	switch st.Type {
	case stanza.GroupChat, stanza.TypeError:
		return choice{none: true}
	case stanza.Headline:
		return choice{}
	}
	return choice{least: highest(sessions)}
}

// best gives a message to the sessions that are to get one to the bare JID. Those
// that don't take it, since they have just ended, are as if they had not been there:
// then others are the most available ones. But what those left has to go its way
// first: held says so, and that nobody has the message.
func (r *Router) best(b *transport.Batch, f *cluster.Fork, st *stanza.Stanza, sessions []cluster.Entry, left bool) (to choice, taken, held bool) {
	for {
		to = available(st, sessions)
		chosen := func(s cluster.Entry) bool { return to.has(&s) }
		if r.originals(b, f, st, sessions, to) {
			return to, true, false
		}
		if !slices.ContainsFunc(sessions, chosen) {
			return to, false, false
		}
		if !left && r.Offline.Held(st.To.Bare()) {
			return to, false, true
		}
		sessions = slices.DeleteFunc(slices.Clone(sessions), chosen)
	}
}

// originals gives a message to the chosen sessions.
func (r *Router) originals(b *transport.Batch, f *cluster.Fork, st *stanza.Stanza, sessions []cluster.Entry, to choice) (taken bool) {
	for i := range sessions {
		if to.has(&sessions[i]) && offer(b, &sessions[i], cluster.Delivery{Stanza: st, Fork: f}) {
			taken = true
		}
	}
	return taken
}

// copies gives a copy to the other sessions that have its mark, but for the one
// that the message came from.
func (r *Router) copies(b *transport.Batch, c *pipeline.Copy, sessions []cluster.Entry, origin jid.JID, f *cluster.Fork, original choice) {
	for i := range sessions {
		s := &sessions[i]
		if s.Marked(c.Mark) && s.JID != origin && !original.has(s) {
			offer(b, s, cluster.Delivery{Stanza: c.Stanza, To: s.JID, Fork: f})
		}
	}
}

// offer gives a session one of the copies that f counts.
func offer(b *transport.Batch, s *cluster.Entry, d cluster.Delivery) (taken bool) {
	if d.Fork != nil {
		d.Fork.Add()
	}
	if taken = s.Receiver.Deliver(b, d); !taken && d.Fork != nil {
		d.Fork.Lost()
	}
	return taken
}

// highest returns the highest priority of the available sessions that take
// messages to the bare JID. The "most available" resources of RFC 6121
// 8.5.2.1.1 are all those that have it.
func highest(sessions []cluster.Entry) int8 {
	best := int8(0)
	for _, s := range sessions {
		if s.Available {
			best = max(best, s.Priority)
		}
	}
	return best
}

// undelivered handles a message that no session took. Its receipt, if it has one,
// says when it was received; it is in the spool before it is stored, so that a kill
// in between has it stored once.
func (r *Router) undelivered(b *transport.Batch, e *extension.Envelope, receipt cluster.Receipt, x *Way) transport.Wait {
	at := receipt.At
	if at.IsZero() {
		at = r.Offline.Now()
	}
	next := func(b *transport.Batch, e *extension.Envelope) transport.Wait { return r.keep(b, e, receipt, at, x) }
	if !r.wanted(extension.Undelivered, e) {
		return next(b, e)
	}
	return r.stage(b, extension.Undelivered, e, next)
}

// keep stores a message (XEP-0160), returns it to its sender, or drops it. What
// is stored is committed before the sender's next stanza to that account goes on, unless
// that is stored, too.
func (r *Router) keep(b *transport.Batch, e *extension.Envelope, receipt cluster.Receipt, at time.Time, x *Way) transport.Wait {
	switch r.Offline.Fate(e.Stanza) {
	case offline.Drop:
		return nil
	case offline.Refuse:
		return r.refuse(b, e, stanza.Err(stanza.ServiceUnavailable, ""))
	}
	original := *e // e is borrowed
	if x.ours() && !x.waits && (x.nobody || !r.Offline.Held(e.Stanza.To.Bare())) {
		if w, ok := r.store(b, &original, receipt, at, x); ok {
			return w
		}
	}
	return r.Hosts.Own(func(ctx context.Context) {
		receipt.Written(ctx)
		if err := r.Offline.Add(ctx, original.Stanza, at); err != nil {
			transport.Run(ctx, func(b *transport.Batch) transport.Wait {
				return r.refuse(b, &original, stanza.AsError(err))
			})
		}
	})
}
