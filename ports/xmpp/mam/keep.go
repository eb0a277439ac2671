package mam

import "github.com/hexmpp/hexmpp/ports/xmpp/stanza"

const nsHints = "urn:xmpp:hints" // XEP-0334

// Keeps says whether a message is to be kept by what is in it, whatever its type:
//
//   - never one that its sender does not want to be (XEP-0334 4.1, 4.2);
//   - always one that its sender does want to be (4.4);
//   - of others, but for headlines, those that have something to read, or that mean
//     something for what was written (6.1.1): see meaning. Chat states don't.
func Keeps(st *stanza.Stanza) bool {
	keep := false
	children := st.Children()
	for i := range children {
		c := &children[i]
		switch {
		case c.Space != nsHints:
			keep = keep || st.Type != stanza.Headline && meaning(st, *c)
		case c.Local == "no-store", c.Local == "no-permanent-store":
			return false
		case c.Local == "store":
			keep = true
		}
	}
	return keep
}

// meaning says whether an element alone makes a message one of a conversation. Clients
// put the hint store where there is none that is known here.
func meaning(st *stanza.Stanza, c stanza.Child) bool {
	switch c.Space {
	case "":
		return c.Local == "body" || c.Local == "subject"
	case "urn:xmpp:receipts": // XEP-0184; a request means something for what it goes with
		return c.Local == "received"
	case "urn:xmpp:chat-markers:0": // XEP-0333
		return c.Local != "markable"
	case "urn:xmpp:eme:0", // XEP-0380: something that is encrypted, which this tells of
		"eu.siacs.conversations.axolotl", "urn:xmpp:omemo:1", "urn:xmpp:omemo:2", // XEP-0384
		"urn:xmpp:openpgp:0",                                       // XEP-0373
		"urn:xmpp:reactions:0",                                     // XEP-0444
		"urn:xmpp:message-retract:0", "urn:xmpp:message-retract:1", // XEP-0424
		"urn:xmpp:fasten:0",       // XEP-0422
		"urn:xmpp:sfs:0",          // XEP-0447
		"jabber:x:oob",            // XEP-0066
		"urn:xmpp:call-invites:0", // XEP-0482
		"jabber:x:conference":     // XEP-0249
		return true
	case "urn:xmpp:jingle-message:0": // XEP-0353: what became of a call
		return c.Local != "ringing"
	case "http://jabber.org/protocol/muc#user": // XEP-0045 7.8.2, 7.13
		x := st.Element(c)
		return x.Child("", "invite") != nil || x.Child("", "decline") != nil
	}
	return false
}
