package stream

import (
	"errors"
	"reflect"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

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

// defined reports whether c is a condition of RFC 6120 4.9.3.
func (c Condition) defined() bool {
	switch c {
	case BadFormat, BadNamespacePrefix, Conflict, ConnectionTimeout, HostGone, HostUnknown,
		ImproperAddressing, InternalServerError, InvalidFrom, InvalidNamespace, InvalidXML,
		NotAuthorized, NotWellFormed, PolicyViolation, RemoteConnectionFailed, Reset,
		ResourceConstraint, RestrictedXML, SeeOtherHost, SystemShutdown, UndefinedCondition,
		UnsupportedEncoding, UnsupportedFeature, UnsupportedStanzaType, UnsupportedVersion:
		return true
	}
	return false
}

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
func Err(c Condition, text string) *Error { return &Error{Condition: c, Text: text} }

// Error is for logs: the condition and the text.
func (e *Error) Error() string {
	s := "stream error " + string(e.condition())
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// condition is what e is to the peer: RFC 6120 4.9.2 knows no others.
func (e *Error) condition() Condition {
	if e.Condition.defined() {
		return e.Condition
	}
	return UndefinedCondition
}

// Is implements errors.Is.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t != nil &&
		(t.Condition == "" || t.Condition == e.condition()) &&
		(t.Text == "" || t.Text == e.Text) &&
		(t.Lang == "" || t.Lang == e.Lang) &&
		(t.Data == "" || t.Data == e.Data) &&
		(t.App == nil || reflect.DeepEqual(t.App, e.App))
}

// Append appends <stream:error>...</stream:error> (RFC 6120 4.9.2). ws declares
// the stream namespace on the element, as RFC 7395 wants it; on TCP the prefix
// is declared by the header.
func (e *Error) Append(dst []byte, ws bool) []byte {
	scope := "" // the default namespace around: on TCP the content namespace
	if ws {
		dst = append(dst, "<stream:error xmlns:stream='"+xmpp.NSStream+"'>"...)
		scope = stanza.NoSpace
	} else {
		dst = append(dst, "<stream:error>"...)
	}
	condition := stanza.El(xmpp.NSStreams, string(e.condition()))
	if e.Condition == SeeOtherHost {
		condition.WithText(e.Data)
	}
	dst = condition.Append(dst, scope)
	if e.Text != "" {
		lang := e.Lang
		if lang == "" {
			lang = "en"
		}
		text := stanza.El(xmpp.NSStreams, "text", stanza.Attr{Space: xmpp.NSXML, Local: "lang", Value: lang})
		dst = text.WithText(e.Text).Append(dst, scope)
	}
	if e.App != nil {
		dst = e.App.Append(dst, scope)
	}
	return append(dst, "</stream:error>"...)
}

// AsError maps any error to the one that goes to the peer: an Error in the
// chain as it is, all else to internal-server-error without a text, nil to nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return e
	}
	return Err(InternalServerError, "")
}
