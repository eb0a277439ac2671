package xmlstream

import (
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// The attributes of a stanza's start tag that become strings of its Header.
const (
	theID = iota
	theType
	theLang
	theTo
	theFrom
	headerValues
)

// stanzaHeader makes a Header of the start tag of the stanza b. malformed names
// an address that is none. The Header shares no memory with the content or with
// further attributes: an answer has its id and addresses, and must not hold
// more of the stanza than Stanza.Size counts.
func (r *Reader) stanzaHeader(b []byte) (h stanza.Header, malformed string, err *stream.Error) {
	root := &r.work.root
	v := [headerValues][]byte{
		theID:   root.id.bytes(b),
		theType: root.typ.bytes(b),
		theLang: root.lang.bytes(b),
		theTo:   root.to.bytes(b),
		theFrom: root.from.bytes(b),
	}
	if err := checkLang(v[theLang], r.limits.lang()); err != nil {
		return h, "", err
	}
	// What is in memory already is not copied.
	known := knownType(v[theType])
	if known != "" {
		v[theType] = nil
	}
	inherits := root.lang.from == 0 || string(v[theLang]) == r.lang // RFC 6120 8.1.5
	if inherits {
		v[theLang] = nil
	}
	again := r.isLast(v[theTo])
	if again {
		v[theTo] = nil
	}

	own := copies(&v)
	h = stanza.Header{Kind: root.kind, ID: own[theID], Type: own[theType], Lang: own[theLang]}
	if known != "" {
		h.Type = known
	}
	if inherits {
		h.Lang = r.lang
	}
	if root.from.from != 0 {
		var e error
		if h.From, e = jid.Parse(own[theFrom]); e != nil {
			h.From, malformed = jid.JID{}, "from"
		}
	}
	if again {
		h.To = r.last.jid
	} else if root.to.from != 0 {
		var e error
		if h.To, e = r.parseTo(own[theTo]); e != nil {
			h.To, malformed = jid.JID{}, "to"
		}
	}
	return h, malformed, nil
}

// sharedValues bounds the values of a start tag that are parts of one string, in
// bytes: so much may be held by who keeps one of them.
const sharedValues = 256

// copies returns the values as strings, parts of one string unless they are long.
func copies(v *[headerValues][]byte) (own [headerValues]string) {
	n := 0
	for i := range v {
		n += len(v[i])
	}
	if n > sharedValues {
		for i := range v {
			own[i] = string(v[i])
		}
		return own
	}
	var buf [sharedValues]byte
	all := buf[:0]
	for i := range v {
		all = append(all, v[i]...)
	}
	text := string(all)
	for i := range v {
		if n := len(v[i]); n > 0 {
			own[i], text = text[:n], text[n:]
		}
	}
	return own
}

// knownType returns the type that RFC 6120 and 6121 know by this name, or "".
func knownType(name []byte) string {
	switch string(name) {
	case stanza.Chat:
		return stanza.Chat
	case stanza.Normal:
		return stanza.Normal
	case stanza.GroupChat:
		return stanza.GroupChat
	case stanza.Headline:
		return stanza.Headline
	case stanza.Unavailable:
		return stanza.Unavailable
	case stanza.Subscribe:
		return stanza.Subscribe
	case stanza.Subscribed:
		return stanza.Subscribed
	case stanza.Unsubscribe:
		return stanza.Unsubscribe
	case stanza.Unsubscribed:
		return stanza.Unsubscribed
	case stanza.Probe:
		return stanza.Probe
	case stanza.Get:
		return stanza.Get
	case stanza.Set:
		return stanza.Set
	case stanza.Result:
		return stanza.Result
	case stanza.TypeError:
		return stanza.TypeError
	}
	return ""
}

// checkLang bounds a language tag, of a stream (RFC 6120 4.7.4) or of a stanza
// (8.1.5). It may not be changed or left out on the way, so that too long a one
// ends the stream.
func checkLang(tag []byte, most int) *stream.Error {
	if len(tag) > most {
		return fail(stream.PolicyViolation, "the language tag is too long")
	}
	return nil
}
