// Package stream holds the words of XML streams (RFC 6120 section 4): the
// stream header with its attributes (4.7), also in the form for WebSocket
// (RFC 7395 3.3 and 3.4), and stream errors (4.9). Stream features are elements
// of their own namespaces and are made where they are negotiated; what is read
// from a peer is read by xmlstream.
package stream

import (
	"strconv"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// nsFraming qualifies <open/> and <close/> (RFC 7395 3.3.2).
const nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"

// Header is what a stream header says, of either side (RFC 6120 4.7). Strings
// are unescaped and unchecked as they came: To is not a JID yet.
type Header struct {
	To, From, ID, Lang string
	Version            string // as sent, "" if absent
	ContentSpace       string // the content namespace (RFC 6120 4.8.2), "" means jabber:client
}

// ParseVersion reads "1.0" by RFC 6120 4.7.5: leading zeros are ignored, the
// numbers are compared as numbers. An absent version is 0.9: ok is true. Anything
// that is not two numbers of at most nine digits with a dot between is not ok.
func ParseVersion(s string) (major, minor int, ok bool) {
	if s == "" {
		return 0, 9, true
	}
	a, b, found := strings.Cut(s, ".")
	if !found {
		return 0, 0, false
	}
	if major, ok = number(a); !ok {
		return 0, 0, false
	}
	if minor, ok = number(b); !ok {
		return 0, 0, false
	}
	return major, minor, true
}

// number reads decimal digits; leading zeros don't count as digits.
func number(s string) (n int, ok bool) {
	const most = 9
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	s = strings.TrimLeft(s, "0")
	if s == "" {
		return 0, true
	}
	if len(s) > most {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// AppendOpen appends the XML declaration and the start tag <stream:stream ...>
// with xmlns and xmlns:stream declared; absent fields are left out.
func (h Header) AppendOpen(dst []byte) []byte {
	dst = append(dst, "<?xml version='1.0'?><stream:stream"...)
	dst = h.appendFields(dst)
	space := h.ContentSpace
	if space == "" {
		space = xmpp.NSClient
	}
	dst = appendField(dst, "xmlns", space)
	dst = appendField(dst, "xmlns:stream", xmpp.NSStream)
	return append(dst, '>')
}

// AppendWebSocketOpen appends <open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/> (RFC 7395 3.3.2).
// ContentSpace is not part of it: each frame declares its own.
func (h Header) AppendWebSocketOpen(dst []byte) []byte {
	dst = append(dst, "<open xmlns='"+nsFraming+"'"...)
	dst = h.appendFields(dst)
	return append(dst, "/>"...)
}

// appendFields appends the attributes of RFC 6120 4.7.
func (h Header) appendFields(dst []byte) []byte {
	dst = appendField(dst, "from", h.From)
	dst = appendField(dst, "to", h.To)
	dst = appendField(dst, "id", h.ID)
	dst = appendField(dst, "version", h.Version)
	return appendField(dst, "xml:lang", h.Lang)
}

// appendField appends one attribute, nothing if value is empty.
func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, "='"...)
	dst = stanza.AppendAttr(dst, value)
	return append(dst, '\'')
}
