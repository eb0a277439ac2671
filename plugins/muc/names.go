package muc

import "github.com/hexmpp/hexmpp/ports/xmpp/stanza"

// Namespaces of XEP-0045 16.1 and of what rooms know besides.
const (
	nsMUC        = "http://jabber.org/protocol/muc"
	nsUser       = nsMUC + "#user"
	nsAdmin      = nsMUC + "#admin"
	nsOwner      = nsMUC + "#owner"
	nsConfig     = nsMUC + "#roomconfig"
	nsRequest    = nsMUC + "#request"
	nsInfo       = nsMUC + "#roominfo"
	nsStableID   = nsMUC + "#stable_id"
	nsSelfPing   = nsMUC + "#self-ping-optimization"
	nsPing       = "urn:xmpp:ping"
	nsRegister   = "jabber:iq:register"
	nsVCard      = "vcard-temp"
	nsCommands   = "http://jabber.org/protocol/commands"
	nsRetract    = "urn:xmpp:message-retract:1"
	nsModerate   = "urn:xmpp:message-moderate:1"
	nsDiscoInfo  = "http://jabber.org/protocol/disco#info"
	nsDiscoItems = "http://jabber.org/protocol/disco#items"
	nsOccupantID = "urn:xmpp:occupant-id:0"
	nsHats       = "urn:xmpp:hats:0"
	nsHatForms   = "urn:xmpp:hats:commands"
	nsDelay      = "urn:xmpp:delay"
)

// nodeReserved is the node that tells who asks which nickname is reserved for him (16.4).
const nodeReserved = "x-roomuser-item"

// Status codes of XEP-0045 16.6.2.
const (
	statusFullJIDs       = "100" // everybody sees real addresses
	statusConfig         = "104" // a setting that has no code of its own
	statusSelf           = "110"
	statusLogged         = "170" // the room has an archive
	statusNotLogged      = "171"
	statusNonAnonymous   = "172"
	statusSemiAnonymous  = "173"
	statusForMembers     = "322" // the room is for members now
	statusBanned         = "301"
	statusAffiliation    = "321" // removed since the affiliation is another one now
	statusCreated        = "201"
	statusNickChanged    = "210" // by the room
	statusNewNick        = "303"
	statusKicked         = "307"
	statusTechnicalError = "333"
)

func statusElement(code string) *stanza.Element {
	return stanza.El(nsUser, "status", stanza.At("code", code))
}
