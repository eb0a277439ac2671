package sasl

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// Status says what an exchange wants next.
type Status uint8

const (
	// Failure: the exchange is over; Result.Failure and Text say why.
	Failure Status = iota
	// Challenge: send Result.Data, then call Step with the client's response.
	Challenge
	// NeedKeys: call Keys with the keys of Result.User for Result.Hash.
	NeedKeys
	// NeedVerify: call Verdict after checking Result.Password of Result.User.
	NeedVerify
	// Success: the client proved to be Result.User. Before it is told so, the
	// caller checks that this user may act as Result.Authzid.
	Success
)

// Result is the outcome of one step. The zero Result is a failure.
type Result struct {
	Status Status
	// Data is the challenge, or with Success the additional data; nil: none.
	Data []byte
	// User is the authentication identity as the client wrote it, unescaped and
	// not prepared: by RFC 6120 6.3.7 a localpart. Set with NeedKeys,
	// NeedVerify and Success.
	User string
	// Authzid is the authorization identity in the same form, "" if there was
	// none: by RFC 6120 6.3.8 a bare JID. Set wherever User is.
	Authzid string
	// Password is what the client sent, not prepared. NeedVerify only.
	Password string `json:"-"`
	// Hash is whose keys are wanted. NeedKeys only.
	Hash auth.Hash
	// Failure is the condition to send. Failure only.
	Failure Condition
	// Text explains a failure to the client's developer, in English; it repeats
	// nothing that the client sent, and is "" where a reason would tell too
	// much. For SCRAM it holds the server-error-value of RFC 5802 7.
	Text string
	// Binding: it failed by its channel binding, before any password counted.
	// Failure only.
	Binding bool
}

// String describes the result without secrets, so that it may be logged.
func (r Result) String() string {
	switch r.Status {
	case Failure:
		return fmt.Sprintf("failure %s %q", r.Failure, r.Text)
	case Challenge:
		return "challenge"
	case NeedKeys:
		return fmt.Sprintf("need %s keys of %q", r.Hash, r.User)
	case NeedVerify:
		return fmt.Sprintf("need verdict on the password of %q", r.User)
	default:
		return fmt.Sprintf("success of %q", r.User)
	}
}

// state is what an exchange waits for.
type state uint8

const (
	awaitStart state = iota
	awaitFirst
	awaitKeys
	awaitFinal
	awaitVerdict
	over
)

// Exchange is one run of a mechanism, begun by New. It belongs to one goroutine
// at a time. A call that its state does not allow ends it with a failure; after
// Success or Failure it can't be used again. A second <auth/> simply replaces
// it (RFC 6120 6.4.2).
type Exchange struct {
	params Params
	state  state
	user   string
	authz  string

	// SCRAM only:
	hash    *hashFunc // nil: PLAIN
	plus    bool
	header  string // the client's GS2 header as it was sent
	binding *Binding
	first   string // client-first-message-bare
	nonce   string // the client's part and ours
	signed  []byte // AuthMessage (RFC 5802 3) up to the client's last message
	keys    auth.Keys
	// extensions end the server-first-message, each with its leading comma.
	extensions string
}

// Start begins the exchange with the initial response of <auth/>. If there was
// none (present is false), the client is asked for its first message by an
// empty challenge, as RFC 6120 6.3.10 demands.
func (x *Exchange) Start(initial []byte, present bool) Result {
	if x.state != awaitStart {
		return x.fail(MalformedRequest, "exchange has begun already")
	}
	x.state = awaitFirst
	if !present {
		return Result{Status: Challenge}
	}
	return x.Step(initial)
}

// Step takes a client's response, base64 removed. It does not keep msg.
func (x *Exchange) Step(msg []byte) Result {
	if len(msg) > MaxMessage {
		return x.fail(MalformedRequest, "message is too long")
	}
	if !utf8.Valid(msg) {
		return x.fail(MalformedRequest, "message is not UTF-8")
	}
	switch {
	case x.state == awaitFirst && x.hash == nil:
		return x.plain(string(msg))
	case x.state == awaitFirst:
		return x.clientFirst(string(msg))
	case x.state == awaitFinal:
		return x.clientFinal(string(msg))
	}
	return x.fail(MalformedRequest, "no response is expected now")
}

// Keys answers NeedKeys. The exchange keeps k until its end and does not change
// it. If the source of keys failed, call Verdict with its error instead.
func (x *Exchange) Keys(k auth.Keys) Result {
	if x.state != awaitKeys {
		return x.fail(TemporaryAuthFailure, "")
	}
	return x.serverFirst(k)
}

// Verdict answers NeedVerify: nil for the right password, or the error of
// auth.Verifier. Answering NeedKeys it reports the error of auth.Credentials.
// Errors that the auth port does not name are TemporaryAuthFailure.
func (x *Exchange) Verdict(err error) Result {
	switch {
	case x.state != awaitVerdict && x.state != awaitKeys:
		return x.fail(TemporaryAuthFailure, "")
	case errors.Is(err, auth.ErrDenied), errors.Is(err, auth.ErrPassword), errors.Is(err, auth.ErrNotFound):
		return x.fail(NotAuthorized, "")
	case err != nil || x.state == awaitKeys:
		return x.fail(TemporaryAuthFailure, "")
	}
	return x.succeed(nil)
}

// Abort answers <abort/> (RFC 6120 6.4.4).
func (x *Exchange) Abort() Result { return x.fail(Aborted, "") }

func (x *Exchange) succeed(data []byte) Result {
	r := Result{Status: Success, Data: data, User: x.user, Authzid: x.authz}
	*x = Exchange{state: over}
	return r
}

// fail ends the exchange and drops what it held.
func (x *Exchange) fail(c Condition, text string) Result {
	*x = Exchange{state: over}
	return Result{Status: Failure, Failure: c, Text: text}
}
