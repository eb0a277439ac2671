// Package stream holds the words of XML streams (RFC 6120 section 4): the
// stream header and stream errors.
package stream

import "github.com/hexmpp/hexmpp/ports/xmpp/stanza"

// Header is what a stream header says, of either side (RFC 6120 4.7). Strings
// are unescaped and unchecked as they came: To is not a JID yet.
type Header struct {
	To, From, ID, Lang string
	Version            string // as sent, "" if absent
	ContentSpace       string // the content namespace (RFC 6120 4.8.2)
}

// ParseVersion reads "1.0" by RFC 6120 4.7.5: leading zeros are ignored, the
// numbers are compared as numbers. An absent version is 0.9: ok is true.
func ParseVersion(s string) (major, minor int, ok bool) { panic("helper A") }

// AppendOpen appends the XML declaration and the start tag <stream:stream ...>
// with xmlns and xmlns:stream declared; absent fields are left out.
func (h Header) AppendOpen(dst []byte) []byte { panic("helper A") }

// AppendWebSocketOpen appends <open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/> (RFC 7395 3.3.2).
func (h Header) AppendWebSocketOpen(dst []byte) []byte { panic("helper A") }

// Condition is a defined stream error condition of RFC 6120 4.9.3.
type Condition string

const (
	BadFormat              Condition = "bad-format"
	BadNamespacePrefix     Condition = "bad-namespace-prefix"
	Conflict               Condition = "conflict"
	ConnectionTimeout      Condition = "connection-timeout"
	HostGone               Condition = "host-gone"
	HostUnknown            Condition = "host-unknown"
	ImproperAddressing     Condition = "improper-addressing"
	InternalServerError    Condition = "internal-server-error"
	InvalidFrom            Condition = "invalid-from"
	InvalidNamespace       Condition = "invalid-namespace"
	InvalidXML             Condition = "invalid-xml"
	NotAuthorized          Condition = "not-authorized"
	NotWellFormed          Condition = "not-well-formed"
	PolicyViolation        Condition = "policy-violation"
	RemoteConnectionFailed Condition = "remote-connection-failed"
	Reset                  Condition = "reset"
	ResourceConstraint     Condition = "resource-constraint"
	RestrictedXML          Condition = "restricted-xml"
	SeeOtherHost           Condition = "see-other-host"
	SystemShutdown         Condition = "system-shutdown"
	UndefinedCondition     Condition = "undefined-condition"
	UnsupportedEncoding    Condition = "unsupported-encoding"
	UnsupportedFeature     Condition = "unsupported-feature"
	UnsupportedStanzaType  Condition = "unsupported-stanza-type"
	UnsupportedVersion     Condition = "unsupported-version"
)

// Error is a stream error; it ends the stream (RFC 6120 4.9.1.1). errors.Is
// matches as with stanza.Error.
type Error struct {
	Condition Condition
	Text      string
	Lang      string // language of Text, "" means en
	Data      string // content of <see-other-host/>
	App       *stanza.Element
}

// Err makes an Error.
func Err(c Condition, text string) *Error { panic("helper A") }

func (e *Error) Error() string { panic("helper A") }

// Is implements errors.Is.
func (e *Error) Is(target error) bool { panic("helper A") }

// Append appends <stream:error>...</stream:error>. ws declares the stream
// namespace on the element, as RFC 7395 wants it; on TCP the prefix is
// declared by the header.
func (e *Error) Append(dst []byte, ws bool) []byte { panic("helper A") }

// AsError maps any error to the one that goes to the peer: an Error in the
// chain as it is, all else to internal-server-error without a text.
func AsError(err error) *Error { panic("helper A") }
