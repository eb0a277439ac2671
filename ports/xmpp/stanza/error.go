package stanza

import (
	"errors"
	"reflect"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp"
)

// ErrorType is the type attribute of a stanza error (RFC 6120 8.3.2).
type ErrorType string

const (
	Auth     ErrorType = "auth"
	Cancel   ErrorType = "cancel"
	Continue ErrorType = "continue"
	Modify   ErrorType = "modify"
	WaitType ErrorType = "wait"
)

// Condition is a defined condition of RFC 6120 8.3.3.
type Condition string

const (
	BadRequest            Condition = "bad-request"
	Conflict              Condition = "conflict"
	FeatureNotImplemented Condition = "feature-not-implemented"
	Forbidden             Condition = "forbidden"
	Gone                  Condition = "gone"
	InternalServerError   Condition = "internal-server-error"
	ItemNotFound          Condition = "item-not-found"
	JIDMalformed          Condition = "jid-malformed"
	NotAcceptable         Condition = "not-acceptable"
	NotAllowed            Condition = "not-allowed"
	NotAuthorized         Condition = "not-authorized"
	PolicyViolation       Condition = "policy-violation"
	RecipientUnavailable  Condition = "recipient-unavailable"
	Redirect              Condition = "redirect"
	RegistrationRequired  Condition = "registration-required"
	RemoteServerNotFound  Condition = "remote-server-not-found"
	RemoteServerTimeout   Condition = "remote-server-timeout"
	ResourceConstraint    Condition = "resource-constraint"
	ServiceUnavailable    Condition = "service-unavailable"
	SubscriptionRequired  Condition = "subscription-required"
	UndefinedCondition    Condition = "undefined-condition"
	UnexpectedRequest     Condition = "unexpected-request"
)

// DefaultType returns the error type that RFC 6120 8.3.3 associates with c.
// Where the section leaves a choice it is cancel for undefined-condition and
// feature-not-implemented, wait for unexpected-request, modify for
// policy-violation. A condition that is not defined counts as undefined-condition.
func (c Condition) DefaultType() ErrorType {
	t, _ := c.lookup()
	return t
}

// lookup returns the type for c, and whether c is defined.
func (c Condition) lookup() (t ErrorType, defined bool) {
	switch c {
	case BadRequest, JIDMalformed, NotAcceptable, PolicyViolation, Redirect:
		return Modify, true
	case Forbidden, NotAuthorized, RegistrationRequired, SubscriptionRequired:
		return Auth, true
	case RecipientUnavailable, RemoteServerTimeout, ResourceConstraint, UnexpectedRequest:
		return WaitType, true
	case Conflict, FeatureNotImplemented, Gone, InternalServerError, ItemNotFound, NotAllowed,
		RemoteServerNotFound, ServiceUnavailable, UndefinedCondition:
		return Cancel, true
	}
	return Cancel, false
}

// defined reports whether t is a type of RFC 6120 8.3.2.
func (t ErrorType) defined() bool {
	switch t {
	case Auth, Cancel, Continue, Modify, WaitType:
		return true
	}
	return false
}

// Error is a stanza error. It is a Go error: handlers return it, and the
// kernel makes the answer of it. errors.Is matches another Error whose set
// fields are equal; an empty field there matches anything.
type Error struct {
	Type      ErrorType // "" means the condition's default type
	Condition Condition
	By        string   // the entity that made the error, if it is to be told
	Text      string   // for people, in Lang
	Lang      string   // language of Text, "" means en
	App       *Element // application-specific condition (RFC 6120 8.3.4), or nil
	Data      string   // content of <gone/> and <redirect/>: a URI
	// Echo is an element of the stanza that comes back beside <error/>, or nil: by <x/> a
	// client finds the answers to entering a room (XEP-0045 7.2). errors.Is does not look at it.
	Echo *Element
}

// Err makes an error with the condition's default type.
func Err(c Condition, text string) *Error {
	return &Error{Type: c.DefaultType(), Condition: c, Text: text}
}

// Error is for logs: the condition, the type, the entity and the text.
func (e *Error) Error() string {
	s := "stanza error " + string(e.condition()) + " (" + string(e.errorType()) + ")"
	if e.By != "" {
		s += " by " + e.By
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// condition is what e is to the peer: RFC 6120 8.3.2 knows no others.
func (e *Error) condition() Condition {
	if _, ok := e.Condition.lookup(); ok {
		return e.Condition
	}
	return UndefinedCondition
}

func (e *Error) errorType() ErrorType {
	if e.Type.defined() {
		return e.Type
	}
	return e.Condition.DefaultType()
}

// Is implements errors.Is as described at Error.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t != nil &&
		(t.Type == "" || t.Type == e.errorType()) &&
		(t.Condition == "" || t.Condition == e.condition()) &&
		(t.By == "" || t.By == e.By) &&
		(t.Text == "" || t.Text == e.Text) &&
		(t.Lang == "" || t.Lang == e.Lang) &&
		(t.Data == "" || t.Data == e.Data) &&
		(t.App == nil || reflect.DeepEqual(t.App, e.App))
}

// Element returns <error/> in the content namespace (RFC 6120 8.3.2).
func (e *Error) Element() *Element {
	x := El("", "error")
	if e.By != "" {
		x.Attrs = append(x.Attrs, At("by", e.By))
	}
	x.Attrs = append(x.Attrs, At("type", string(e.errorType())))
	condition := El(xmpp.NSStanzas, string(e.condition()))
	if e.Condition == Gone || e.Condition == Redirect {
		condition.WithText(e.Data)
	}
	x.Add(condition)
	if e.Text != "" {
		lang := e.Lang
		if lang == "" {
			lang = "en"
		}
		x.Add(El(xmpp.NSStanzas, "text", Attr{xmpp.NSXML, "lang", lang}).WithText(e.Text))
	}
	return x.Add(e.App)
}

// AsError maps any error to the one that goes to a peer: an Error in its chain
// as it is, all else to internal-server-error without a text, nil to nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return e
	}
	return Err(InternalServerError, "")
}

// ParseError reads the <error/> child of a stanza of type error; a missing or
// ill-formed one becomes undefined-condition.
// A type that RFC 6120 8.3.2 does not know becomes the condition's default.
func ParseError(s *Stanza) *Error {
	x := s.Find("", "error")
	if x == nil {
		return Err(UndefinedCondition, "")
	}
	e := &Error{By: x.Attr("by")}
	for _, c := range x.Elements() {
		condition := Condition(c.Local)
		_, defined := condition.lookup()
		switch {
		case c.Space == xmpp.NSStanzas && c.Local == "text":
			if e.Text == "" {
				e.Text, e.Lang = c.Text(), c.lang()
			}
		case c.Space == xmpp.NSStanzas && defined:
			if e.Condition == "" {
				e.Condition = condition
				if condition == Gone || condition == Redirect {
					e.Data = strings.TrimSpace(c.Text())
				}
			}
		case !contentSpace(c.Space) && c.Space != xmpp.NSStanzas && e.App == nil:
			e.App = c
		}
	}
	if e.Condition == "" {
		e.Condition = UndefinedCondition
	}
	if e.Type = ErrorType(x.Attr("type")); !e.Type.defined() {
		e.Type = e.Condition.DefaultType()
	}
	return e
}

// lang returns the xml:lang attribute of e itself.
func (e *Element) lang() string {
	for _, a := range e.Attrs {
		if a.Space == xmpp.NSXML && a.Local == "lang" {
			return a.Value
		}
	}
	return ""
}

// ErrorReply returns the answer to s, nil when none may be sent: to an error,
// and to an iq of type result (RFC 6120 8.3.1, 8.2.3). Of the content of s
// nothing comes back but Echo. A nil e has no answer either.
func (s *Stanza) ErrorReply(e *Error) *Stanza {
	if e == nil || s.Type == TypeError || s.Kind == IQ && s.Type == Result {
		return nil
	}
	return New(s.Header.Reply(TypeError), e.Echo, e.Element())
}
