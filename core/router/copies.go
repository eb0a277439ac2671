package router

import (
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Copied says whether a session with a mark would get a copy of a message from
// origin that is in Submit or Deliver: extension.Match.Copies. Most accounts with
// carbons have one client, and need none made.
//
// Of several sessions it leaves to the delivery who of them gets the message
// itself: that may change until then.
func Copied(s extension.Stage, st *stanza.Stanza, origin jid.JID, sessions []cluster.Entry, mark string) bool {
	for i := range sessions {
		switch one := &sessions[i]; {
		case !one.Marked(mark), one.JID == origin, s == extension.Deliver && one.JID == st.To:
		case s == extension.Submit, len(sessions) > 1, !alone(st, sessions):
			return true
		}
	}
	return false
}

// alone says whether the only session of an account, which is not the one that a
// message is addressed to, gets it all the same (RFC 6121 8.5.2, 8.5.3.2.1).
func alone(st *stanza.Stanza, sessions []cluster.Entry) bool {
	to := available(st, sessions)
	return (st.To.IsBare() || st.Type == stanza.Chat) && to.has(&sessions[0])
}
