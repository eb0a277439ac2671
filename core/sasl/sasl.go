// Package sasl implements the server's side of the SASL mechanisms that
// authenticate a client by its password.
//
// Implemented are PLAIN (RFC 4616) and SCRAM with SHA-1 (RFC 5802), SHA-256
// (RFC 7677) and SHA-512, each also with channel binding (-PLUS) and with the
// hash over what was offered (XEP-0474 6.1), and what RFC 6120 says of any
// mechanism: the conditions of failure (6.5) and how data is carried in XML
// (6.3.5, 6.4.2, 13.9.1).
//
// The package is pure: it has no storage, no socket, no clock and no goroutine.
// An Exchange says what it needs next (Result.Status), and its owner, the
// client stream, brings it: the client's next message, the SCRAM keys of an
// account, or the verdict on a password.
//
// Left to the caller are: preparing names as JIDs (RFC 7622) and passwords
// (RFC 8265), whether the authorization identity may be assumed (RFC 6120
// 6.3.8), the number of retries (6.4.5) and throttling. Left out are EXTERNAL,
// ANONYMOUS and tokens, and the default binding tls-unique of RFC 5802 6.1 (not
// defined for TLS 1.3; clients learn the types by XEP-0440).
package sasl

import (
	"errors"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// Names of mechanisms; the SCRAM ones are made by scramName.
const (
	Plain       = "PLAIN"
	scramPrefix = "SCRAM-"
	plusSuffix  = "-PLUS"
)

// MaxMessage bounds a client's message in bytes, base64 removed. It has room
// for the longest names that RFC 7622 allows.
const MaxMessage = 8 << 10

// ErrMechanism: the mechanism is unknown or was not offered on this stream.
// To the client it is InvalidMechanism, if the caller knows no better reason.
var ErrMechanism = errors.New("sasl: mechanism is not offered")

// Condition is the reason of a failure as RFC 6120 6.5 names it: the name of
// the child element of <failure/>.
type Condition string

// The conditions of RFC 6120 6.5. An Exchange itself fails with Aborted,
// MalformedRequest, NotAuthorized and TemporaryAuthFailure; the rest is the
// caller's.
const (
	Aborted              Condition = "aborted"
	AccountDisabled      Condition = "account-disabled"
	CredentialsExpired   Condition = "credentials-expired"
	EncryptionRequired   Condition = "encryption-required"
	IncorrectEncoding    Condition = "incorrect-encoding"
	InvalidAuthzid       Condition = "invalid-authzid"
	InvalidMechanism     Condition = "invalid-mechanism"
	MalformedRequest     Condition = "malformed-request"
	MechanismTooWeak     Condition = "mechanism-too-weak"
	NotAuthorized        Condition = "not-authorized"
	TemporaryAuthFailure Condition = "temporary-auth-failure"
)

// Binding is one channel binding that the connection can give.
type Binding struct {
	Type string // registered name: "tls-exporter", "tls-server-end-point"
	// Data gives the binding's octets. It is called at most once an exchange,
	// and only if the client asked for this type.
	Data func() ([]byte, error)
}

// Params is what an exchange knows of its stream.
type Params struct {
	// Bindings are exactly those that the stream's features list (XEP-0440); if
	// there are none, the features have no such list.
	Bindings []Binding
	// Offered lists the mechanisms that this stream was offered, all of them and
	// no others. Only these can be started, and a client that claims to have
	// seen no -PLUS mechanism is checked against it (RFC 5802 6).
	Offered []string
	// Nonce makes the server's part of the nonce: printable ASCII without
	// comma, at least 18 random bytes' worth. Nil means crypto/rand.
	Nonce func() string
}

// Offer returns the mechanisms to offer, the strongest first (RFC 6120 6.3.3):
// -PLUS ones if there are bindings, then the others, then PLAIN if plain is
// set, which RFC 6120 13.8.3 forbids on a stream without TLS.
func Offer(plain bool, bindings []Binding) []string {
	names := make([]string, 0, 2*len(auth.Hashes)+1)
	if len(bindings) > 0 {
		for _, h := range auth.Hashes {
			names = append(names, scramName(h)+plusSuffix)
		}
	}
	for _, h := range auth.Hashes {
		names = append(names, scramName(h))
	}
	if plain {
		names = append(names, Plain)
	}
	return names
}

// New starts an exchange. Names are compared exactly: RFC 4422 3.1 has upper
// case only. The error is ErrMechanism.
func New(mechanism string, p Params) (*Exchange, error) {
	if !slices.Contains(p.Offered, mechanism) {
		return nil, ErrMechanism
	}
	if mechanism == Plain {
		return &Exchange{params: p}, nil
	}
	name, plus := strings.CutSuffix(mechanism, plusSuffix)
	for i := range hashes {
		if scramName(hashes[i].name) != name {
			continue
		}
		if plus && len(p.Bindings) == 0 {
			return nil, ErrMechanism
		}
		return &Exchange{params: p, hash: &hashes[i], plus: plus, extensions: hashes[i].downgradeAttribute(p)}, nil
	}
	return nil, ErrMechanism
}

func scramName(h auth.Hash) string { return scramPrefix + string(h) }
