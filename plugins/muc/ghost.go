package muc

import "github.com/hexmpp/hexmpp/ports/xmpp/stanza"

// ghostly says of a condition that who answers with it is gone (18.1.2).
func ghostly(c stanza.Condition) bool {
	switch c {
	case stanza.Gone, stanza.ItemNotFound, stanza.RecipientUnavailable, stanza.Redirect, stanza.RemoteServerNotFound, stanza.RemoteServerTimeout:
		return true
	}
	return false
}

// bounced takes an error that came for something which the room has sent: an occupant who is
// gone leaves, by status 333 (11.1). An error of a private message goes on to who has sent it.
func (t *turn) bounced() error {
	if t.r == nil {
		return nil
	}
	s := t.r.session(t.in.From)
	e := stanza.ParseError(t.in)
	if s == nil {
		return nil
	}
	if t.in.Kind == stanza.Message {
		if err := t.unheard(s); err != nil {
			return err
		}
	}
	if !ghostly(e.Condition) {
		return nil
	}
	f := t.r.factsOf(s.of)
	f.role, f.statuses = NoRole, []string{statusTechnicalError}
	if err := t.removeSession(s, gone(s.of), f); err != nil {
		return err
	}
	return t.emptied()
}
