package muc

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// leaves takes unavailable presence (7.14). That of who is not in the room is ignored (17.3).
func (t *turn) leaves() error {
	if t.r == nil {
		return nil
	}
	s := t.r.session(t.in.From)
	if s == nil {
		return nil
	}
	var said []*stanza.Element
	if status := t.in.Find("", "status"); status != nil {
		said = append(said, status)
	}
	f := t.r.factsOf(s.of)
	f.role = NoRole
	if err := t.removeSession(s, gone(s.of, said...), f); err != nil {
		return err
	}
	return t.emptied()
}

// removeSession has one session of an occupant leave: others are told if it was the last one,
// or the one that they have seen.
func (t *turn) removeSession(s *session, away *stanza.Stanza, f facts) error {
	o := s.of
	if len(o.sessions) == 1 {
		return t.removeOccupant(o, away, f)
	}
	was := o.shown() == s
	st := t.dressed(o, away, f.element(s.jid, append([]string{statusSelf}, f.self...)...))
	if err := t.sendTo(s.jid, st); err != nil {
		return err
	}
	o.without(s)
	delete(t.r.sessions, s.jid)
	t.dropSession(s)
	if was {
		return t.announceShown(o)
	}
	return nil
}

// removeOccupant has an occupant leave, with all sessions.
func (t *turn) removeOccupant(o *occupant, away *stanza.Stanza, f facts) error {
	if err := t.announce(o.shown(), away, f); err != nil {
		return err
	}
	for _, s := range o.sessions {
		delete(t.r.sessions, s.jid)
		t.dropSession(s)
	}
	o.sessions = nil
	t.r.remove(o)
	return t.hasLeft(o.account)
}

// hasLeft notes when a member has gone, so that he is sent what he has missed when he comes again.
func (t *turn) hasLeft(account jid.JID) error {
	a := t.r.affiliates[account]
	if a == nil || a.Is < Member || t.r.present(account) {
		return nil
	}
	a.Seen = t.Archive.NewID()
	return t.saveAffiliate(a)
}

// emptied ends a room that is not persistent when nobody is in it any more (7.14); a locked one,
// too.
func (t *turn) emptied() error {
	if t.r == nil || len(t.r.sessions) > 0 || t.r.Config.Persistent && !t.r.Locked {
		return nil
	}
	t.forgetRoom()
	return nil
}
