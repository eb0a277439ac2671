package csi

import (
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const (
	nsStates    = "http://jabber.org/protocol/chatstates"   // XEP-0085
	nsEvent     = "http://jabber.org/protocol/pubsub#event" // XEP-0060
	nsCarbons   = "urn:xmpp:carbons:2"                      // XEP-0280
	nsForward   = "urn:xmpp:forward:0"                      // XEP-0297
	nsHints     = "urn:xmpp:hints"                          // XEP-0334
	nsIDs       = "urn:xmpp:sid:0"                          // XEP-0359
	nsOccupant  = "urn:xmpp:occupant-id:0"                  // XEP-0421
	nsAddresses = "http://jabber.org/protocol/address"      // XEP-0033
	nsHeaders   = "http://jabber.org/protocol/shim"         // XEP-0131
	nsDelay     = "urn:xmpp:delay"                          // XEP-0203
)

// maxParsed bounds what is looked into, in bytes: what is larger passes.
const maxParsed = 8 << 10

// message says whether a message can wait, and under which key.
func (o Options) message(e *extension.Envelope) (key string, waits bool) {
	st := e.Stanza
	if st.Type == stanza.TypeError {
		return "", false
	}
	if c, ok := only(st, nsEvent, "event"); ok {
		return o.event(e, c)
	}
	if !o.ChatStates || st.Type == stanza.Headline {
		return "", false
	}
	if c, ok := only(st, nsCarbons, ""); ok && st.From == e.Account {
		return copied(st, c)
	}
	if !state(names(st)) {
		return "", false
	}
	return stateKey(st.To.Bare().String(), st.From.String()), true
}

// name of a child element; space is "" for the content namespace.
type name struct{ space, local string }

func names(st *stanza.Stanza) (list []name) {
	for _, c := range st.Children() {
		list = append(list, name{c.Space, c.Local})
	}
	return list
}

// only returns the one child of this name (any, if local is "") if there is nothing
// else in the stanza that counts.
func only(st *stanza.Stanza, space, local string) (c stanza.Child, ok bool) {
	c, ok = st.Child(space, local)
	return c, ok && !slices.ContainsFunc(st.Children(), func(o stanza.Child) bool {
		return o.Start != c.Start && !accompanies(name{o.Space, o.Local})
	})
}

// accompanies says whether an element only goes with others: it makes of nothing
// a message.
func accompanies(n name) bool {
	switch n.space {
	case "":
		return n.local == "thread"
	case nsHints, nsIDs, nsOccupant, nsAddresses, nsHeaders, nsDelay:
		return true
	}
	return false
}

// state says whether these are the children of a message that has nothing but a
// chat state.
func state(children []name) (is bool) {
	for _, n := range children {
		switch {
		case n.space == nsStates:
			is = true
		case !accompanies(n):
			return false
		}
	}
	return is
}

// stateKey has the last state of each sender count, in each conversation.
func stateKey(to, from string) string { return "state" + separator + to + separator + from }

// copied looks into a carbon copy, which is from the account: chat states of other
// sessions, and to them, wait as well.
func copied(st *stanza.Stanza, c stanza.Child) (key string, waits bool) {
	if c.Size() > maxParsed {
		return "", false
	}
	forwarded := st.Element(c).Child(nsForward, "forwarded")
	if forwarded == nil {
		return "", false
	}
	message := forwarded.Child(xmpp.NSClient, "message")
	if message == nil {
		return "", false
	}
	var children []name
	for _, child := range message.Elements() {
		n := name{child.Space, child.Local}
		if n.space == xmpp.NSClient {
			n.space = ""
		}
		children = append(children, n)
	}
	if message.Attr("type") == stanza.TypeError || !state(children) {
		return "", false
	}
	return stateKey("copy"+separator+message.Attr("to"), message.Attr("from")), true
}

// event says whether an event (XEP-0060 7.1.2, XEP-0163 4.3) can wait. Events
// of contacts can: the last one of each item counts. Those of the own account keep
// the user's clients in step, those of other services may be about anything.
func (o Options) event(e *extension.Envelope, c stanza.Child) (key string, waits bool) {
	from := e.Stanza.From
	if !o.PEP || from.Local() == "" || !from.IsBare() || from == e.Account || c.Size() > maxParsed {
		return "", false
	}
	event := e.Stanza.Element(c).Elements()
	if len(event) != 1 || event[0].Local != "items" {
		return "", true // order is kept; none of them stands for another
	}
	items := event[0].Elements()
	if len(items) != 1 || items[0].Attr("id") == "" {
		return "", true
	}
	return "event" + separator + from.String() + separator + event[0].Attr("node") + separator + items[0].Attr("id"), true
}
