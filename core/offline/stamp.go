package offline

import (
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NSDelay is the namespace of delay stamps (XEP-0203).
const NSDelay = "urn:xmpp:delay"

// Stamped adds when a message was first received, in the name of the server
// of its recipient, unless that has said so before. A zero time adds nothing.
// Stamps of others may be there, of a client that was offline or of a room; they
// are not ours, since core/forgery lets nobody make one in our name.
func Stamped(st *stanza.Stanza, at time.Time) *stanza.Stanza {
	domain := st.To.Domain()
	if at.IsZero() {
		return st
	}
	for _, c := range st.Children() {
		if c.Space == NSDelay && c.Local == "delay" {
			if from, _ := st.ChildAttr(c, "from"); from == domain {
				return st
			}
		}
	}
	return st.Patch(nil, stanza.El(NSDelay, "delay",
		stanza.At("from", domain), stanza.At("stamp", at.UTC().Format("2006-01-02T15:04:05.000Z"))))
}
