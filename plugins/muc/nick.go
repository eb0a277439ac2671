package muc

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// changes takes a presence of who is in the room: another nickname (7.6), or another status (7.7).
func (t *turn) changes(s *session, nick string) error {
	nick, err := t.nickname(nick)
	if err != nil {
		return err
	}
	if nick != s.of.Nick {
		return t.renames(s, nick)
	}
	s.show = t.allowed(s.of)
	if err := t.saveSession(s); err != nil {
		return err
	}
	return t.announceUpdate(s, t.r.factsOf(s.of))
}

// announceUpdate is announce for the presence that the turn is about: its id comes back
// to who has sent it.
func (t *turn) announceUpdate(s *session, f facts) error {
	if err := t.announceOthers(s, s.show, f); err != nil {
		return err
	}
	if err := t.announceSelf(s, s.show, f, s); err != nil {
		return err
	}
	own := t.dressed(s.of, s.show, f.element(s.jid, append([]string{statusSelf}, f.self...)...))
	h := own.Header
	h.To, h.ID = s.jid, t.in.ID
	return t.Stanzas.Send(own.With(h))
}

// renames gives a session another nickname. If it is one of several of its occupant, it alone
// gets it.
func (t *turn) renames(s *session, nick string) error {
	old := s.of
	next, err := t.mayHave(nick, old.account)
	if err != nil {
		return err
	}
	alone := len(old.sessions) == 1
	f := t.r.factsOf(old)
	if next == nil || next == old { // old: another spelling of the same
		if next == old && !alone {
			return t.fail(stanza.Conflict, "Another client of yours has this nickname in another spelling.")
		}
		if next, err = t.newOccupant(t.r, nick, old.account); err != nil {
			return t.fail(stanza.JIDMalformed, "")
		}
		next.role = old.role
	}
	away := f
	away.nick, away.statuses = nick, []string{statusNewNick}
	if alone {
		if err := t.announce(s, gone(old), away); err != nil {
			return err
		}
		t.r.remove(old)
	} else {
		st := t.dressed(old, gone(old), away.element(s.jid, statusSelf))
		if err := t.sendTo(s.jid, st); err != nil {
			return err
		}
		old.without(s)
		if err := t.announceShown(old); err != nil {
			return err
		}
	}
	old.without(s)
	s.of = next
	next.sessions = append(next.sessions, s)
	t.r.put(next)
	s.show = t.allowed(next)
	if err := t.saveSession(s); err != nil {
		return err
	}
	f = t.r.factsOf(next)
	if nick != t.in.To.Resource() {
		f.self = append(f.self, statusNickChanged)
	}
	return t.announceUpdate(s, f)
}

// announceShown tells others of an occupant again, one of whose sessions has gone.
func (t *turn) announceShown(o *occupant) error {
	s := o.shown()
	return t.announceOthers(s, s.show, t.r.factsOf(o))
}

// without takes a session out of its occupant.
func (o *occupant) without(s *session) {
	for i := range o.sessions {
		if o.sessions[i] == s {
			o.sessions = append(o.sessions[:i:i], o.sessions[i+1:]...)
			return
		}
	}
}
