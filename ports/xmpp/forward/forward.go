// Package forward writes stanzas inside of others (XEP-0297): carbon copies,
// results of archives. What is forwarded is not changed: its bytes are copied
// into the content of the stanza around it, and no tree is built.
//
// <forwarded/> is a child of the element of whatever protocol forwards (section
// 3.2 rule 5), here called the wrapper.
package forward

import (
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of <forwarded/>.
const NS = "urn:xmpp:forward:0"

// Wrap returns a stanza with the header h and one child: wrapper, in it
// <forwarded/>, and in that s as it is, in the namespace jabber:client (3.2 rule
// 3). received is when s was received, for a delay stamp (3.2 rule 2); there is
// none if it is zero. The wrapper is an element without content, in a namespace of
// its own; its namespace and attributes are escaped, its name is not.
func Wrap(h stanza.Header, wrapper *stanza.Element, s *stanza.Stanza, received time.Time) *stanza.Stanza {
	return wrap(h, wrapper, s.Size(), received, func(b []byte) []byte { return s.Append(b, jid.JID{}, xmpp.NSClient) })
}

// WrapXML is Wrap for a stanza that was stored as stanza.Stanza.Append writes it,
// with jabber:client declared.
func WrapXML(h stanza.Header, wrapper *stanza.Element, xml string, received time.Time) *stanza.Stanza {
	return wrap(h, wrapper, len(xml), received, func(b []byte) []byte { return append(b, xml...) })
}

func wrap(h stanza.Header, wrapper *stanza.Element, size int, received time.Time, message func([]byte) []byte) *stanza.Stanza {
	const rest = 256 // about what stands around the content of s
	b := make([]byte, 0, rest+size)
	b = wrapper.Append(b, "")
	b = b[:len(b)-len("/>")]
	b = append(b, "><forwarded xmlns='"+NS+"'>"...)
	if !received.IsZero() {
		b = append(b, "<delay xmlns='urn:xmpp:delay' stamp='"...)
		b = received.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z") // XEP-0082 3.2
		b = append(b, "'/>"...)
	}
	b = message(b)
	b = append(b, "</forwarded></"...)
	b = append(b, wrapper.Local...)
	b = append(b, '>')
	return stanza.Raw(h, "", string(b), []stanza.Child{{Space: wrapper.Space, Local: wrapper.Local, End: uint32(len(b))}})
}
