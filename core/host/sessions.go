package host

import (
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// MarkName is the name of an extension's mark on a session: marks of two
// extensions are two marks.
func (g *Guest) MarkName(name string) string {
	return g.Reg.Name + markSeparator + name
}

const markSeparator = "/"

// sessions implements extension.Sessions.
type sessions struct{ t *tx }

func (x sessions) Of(account jid.JID) []extension.Session {
	entries := x.t.g.hosts.Sessions.Sessions(account.Bare())
	out := make([]extension.Session, len(entries))
	for i := range entries {
		e := &entries[i]
		out[i] = extension.Session{JID: e.JID, Available: e.Available, Priority: e.Priority, Marks: x.t.g.marks(e), Features: e.Receiver.Features()}
	}
	return out
}

// marks returns the guest's own marks on a session.
func (g *Guest) marks(e *cluster.Entry) (own []string) {
	for _, m := range g.Reg.Marks {
		if e.Marked(g.MarkName(m.Name)) {
			own = append(own, m.Name)
		}
	}
	return own
}

func (x sessions) End(acc jid.JID, condition, text string) error {
	if err := x.t.g.permit(extension.ManageAccounts); err != nil {
		return err
	}
	x.each(acc, func(b *transport.Batch, r cluster.Receiver) transport.Wait {
		r.End(b, stream.Err(stream.Condition(condition), text))
		return nil
	})
	return nil
}

func (x sessions) Mark(session jid.JID, name string, on bool) error {
	g := x.t.g
	i := slices.IndexFunc(g.Reg.Marks, func(m extension.Mark) bool { return m.Name == name })
	if i < 0 {
		return fmt.Errorf("host: %s has no mark %q in its registration", g.Reg.Name, name)
	}
	x.one(session, func(b *transport.Batch, r cluster.Receiver) {
		r.Mark(b, cluster.Mark{Name: g.MarkName(name), Connection: g.Reg.Marks[i].Connection}, on)
	})
	return nil
}

func (x sessions) Room(session jid.JID) int {
	e, ok := x.t.g.hosts.Sessions.Session(session)
	if !ok {
		return 0
	}
	return e.Receiver.Room()
}

func (x sessions) Release(session jid.JID) {
	x.one(session, func(b *transport.Batch, r cluster.Receiver) { r.Release(b) })
}

func (x sessions) Withdraw(account jid.JID, patterns, except []jid.JID) error {
	return x.show(account, cluster.Show{To: jid.PatternsOf(patterns), Except: jid.PatternsOf(except)})
}

func (x sessions) Announce(account jid.JID, patterns []jid.JID) error {
	return x.show(account, cluster.Show{To: jid.PatternsOf(patterns), Available: true})
}

func (x sessions) show(acc jid.JID, v cluster.Show) error {
	if err := x.t.g.permit(extension.TellPresence); err != nil {
		return err
	}
	x.each(acc, func(b *transport.Batch, r cluster.Receiver) transport.Wait { return r.Show(b, v) })
	return nil
}

// each has something done to each session of an account.
func (x sessions) each(acc jid.JID, do func(*transport.Batch, cluster.Receiver) transport.Wait) {
	x.t.later(func(b *transport.Batch) transport.Wait {
		entries := x.t.g.hosts.Sessions.Sessions(account(acc))
		steps := make([]transport.Step, len(entries))
		for i := range entries {
			steps[i] = func(b *transport.Batch) transport.Wait { return do(b, entries[i].Receiver) }
		}
		return transport.Steps(b, steps...)
	})
}

// one has something done to a session: not to a later one of the same name.
func (x sessions) one(session jid.JID, do func(*transport.Batch, cluster.Receiver)) {
	fence := x.fence(session)
	x.t.later(func(b *transport.Batch) transport.Wait {
		if e, ok := x.t.g.hosts.Sessions.Session(session); ok && e.Fence == fence {
			do(b, e.Receiver)
		}
		return nil
	})
}

// fence returns which session of a name is meant: the one that asks, or else the
// one that has it now.
func (x sessions) fence(session jid.JID) uint64 {
	if v := &x.t.view; v.session == session && v.fence != 0 {
		return v.fence
	}
	e, _ := x.t.g.hosts.Sessions.Session(session)
	return e.Fence
}
