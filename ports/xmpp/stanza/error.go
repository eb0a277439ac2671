package stanza

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
func (c Condition) DefaultType() ErrorType { panic("helper A") }

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
}

// Err makes an error with the condition's default type.
func Err(c Condition, text string) *Error { panic("helper A") }

func (e *Error) Error() string { panic("helper A") }

// Is implements errors.Is as described at Error.
func (e *Error) Is(target error) bool { panic("helper A") }

// Element returns <error/> in the content namespace.
func (e *Error) Element() *Element { panic("helper A") }

// AsError maps any error to the one that goes to a peer: an Error in its chain
// as it is, all else to internal-server-error without a text.
func AsError(err error) *Error { panic("helper A") }

// ParseError reads the <error/> child of a stanza of type error; a missing or
// ill-formed one becomes undefined-condition.
func ParseError(s *Stanza) *Error { panic("helper A") }

// ErrorReply returns the answer to s, nil when none may be sent: to an error,
// and to an iq of type result (RFC 6120 8.3.1, 8.2.3). The content of s is not
// echoed.
func (s *Stanza) ErrorReply(e *Error) *Stanza { panic("helper A") }
