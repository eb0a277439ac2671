package sasl

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// clientFirst takes the client-first-message (RFC 5802 7):
//
//	gs2-header [reserved-mext ","] username "," nonce ["," extensions]
func (x *Exchange) clientFirst(msg string) Result {
	// RFC 5802 7: no value holds NUL. An early look spares one at each value.
	if strings.IndexByte(msg, 0) >= 0 {
		return x.refuse(faultSyntax)
	}
	bare, f := x.gs2Header(msg)
	if f != nil {
		return x.refuse(f)
	}
	name, value, rest, more, ok := cutAttribute(bare)
	switch {
	case ok && name == 'm':
		return x.refuse(faultExtension)
	case !ok || name != 'n' || !more:
		return x.refuse(faultSyntax)
	}
	user, err := decodeName(value)
	if err != nil {
		return x.refuse(faultName)
	}
	name, nonce, rest, more, ok := cutAttribute(rest)
	if !ok || name != 'r' || !printable(nonce) {
		return x.refuse(faultSyntax)
	}
	for more {
		if name, _, rest, more, ok = cutAttribute(rest); !ok {
			return x.refuse(faultSyntax)
		}
		if f := checkExtension(name); f != nil {
			return x.refuse(f)
		}
	}
	x.user, x.first, x.nonce = user, bare, nonce
	x.state = awaitKeys
	return Result{Status: NeedKeys, User: x.user, Authzid: x.authz, Hash: x.hash.name}
}

// gs2Header reads the header (RFC 5802 7, RFC 5801 4) off the front of the
// first message and judges the channel binding by the rules of RFC 5802 6:
//
//	("p=" cb-name / "n" / "y") "," ["a=" saslname] ","
func (x *Exchange) gs2Header(msg string) (bare string, _ *fault) {
	flag, rest, ok := strings.Cut(msg, ",")
	if !ok {
		return "", faultSyntax
	}
	authz, bare, ok := strings.Cut(rest, ",")
	if !ok {
		return "", faultSyntax
	}
	x.header = msg[:len(msg)-len(bare)]
	if authz != "" {
		name, ok := strings.CutPrefix(authz, "a=")
		if !ok {
			return "", faultSyntax
		}
		var err error
		if x.authz, err = decodeName(name); err != nil {
			return "", faultName
		}
	}
	bindingType, bound := strings.CutPrefix(flag, "p=")
	switch {
	case bound && !bindingName(bindingType), !bound && flag != "n" && flag != "y":
		return "", faultSyntax
	case bound && !x.plus:
		return "", faultNoBinding
	case !bound && x.plus:
		return "", faultNeedsBind
	case flag == "y" && slices.ContainsFunc(x.params.Offered, offersBinding):
		return "", faultDowngrade
	case !bound:
		return bare, nil
	}
	at := slices.IndexFunc(x.params.Bindings, func(b Binding) bool { return b.Type == bindingType })
	if at < 0 {
		return "", faultType
	}
	x.binding = &x.params.Bindings[at]
	return bare, nil
}

func offersBinding(mechanism string) bool {
	return strings.HasPrefix(mechanism, scramPrefix) && strings.HasSuffix(mechanism, plusSuffix)
}

// serverFirst makes the server-first-message (RFC 5802 7):
//
//	nonce "," salt "," iteration-count ["," extensions]
func (x *Exchange) serverFirst(k auth.Keys) Result {
	if !x.hash.usable(k) {
		return x.refuse(faultServerSide)
	}
	if x.params.Nonce != nil {
		x.nonce += x.params.Nonce()
	} else {
		x.nonce += randomNonce()
	}
	// AuthMessage is the client's first message, this one and the client's last
	// without the proof, joined by commas. What goes out is a part of it.
	b := make([]byte, 0, len(x.first)+len(x.nonce)+base64.StdEncoding.EncodedLen(len(k.Salt))+len(x.extensions)+32)
	b = append(append(b, x.first...), ',')
	start := len(b)
	b = append(append(b, "r="...), x.nonce...)
	b = base64.StdEncoding.AppendEncode(append(b, ",s="...), k.Salt)
	b = strconv.AppendInt(append(b, ",i="...), int64(k.Iterations), 10)
	b = append(b, x.extensions...)
	challenge := slices.Clone(b[start:])
	x.signed, x.keys, x.first = append(b, ','), k, ""
	x.state = awaitFinal
	return Result{Status: Challenge, Data: challenge}
}

// randomNonce is 18 random bytes, as 24 characters without comma or padding.
func randomNonce() string {
	var b [18]byte
	rand.Read(b[:]) // never fails, by its documentation
	return base64.StdEncoding.EncodeToString(b[:])
}

// clientFinal takes the client-final-message (RFC 5802 7):
//
//	channel-binding "," nonce ["," extensions] "," proof
//
// Nothing before the last check depends on the account, so a wrong proof is
// answered in the same way and time whether the account exists or not.
func (x *Exchange) clientFinal(msg string) Result {
	if strings.IndexByte(msg, 0) >= 0 {
		return x.refuse(faultSyntax)
	}
	name, binding, rest, more, ok := cutAttribute(msg)
	if !ok || name != 'c' || !more {
		return x.refuse(faultSyntax)
	}
	name, nonce, rest, more, ok := cutAttribute(rest)
	if !ok || name != 'r' || !more {
		return x.refuse(faultSyntax)
	}
	var encodedProof string
	for {
		if name, encodedProof, rest, more, ok = cutAttribute(rest); !ok {
			return x.refuse(faultSyntax)
		}
		if name == 'p' && !more {
			break
		}
		if f := checkExtension(name); f != nil {
			return x.refuse(f)
		}
		if !more { // the proof is missing
			return x.refuse(faultSyntax)
		}
	}
	proof, err := DecodeBase64(encodedProof)
	if err != nil {
		return x.refuse(faultEncoding)
	}
	if f := x.checkBinding(binding); f != nil {
		return x.refuse(f)
	}
	if subtle.ConstantTimeCompare([]byte(nonce), []byte(x.nonce)) != 1 {
		return x.refuse(faultNonce)
	}
	withoutProof := msg[:len(msg)-len(",p=")-len(encodedProof)]
	if !x.hash.verify(proof, x.hash.hmac(x.keys.StoredKey, x.signed, withoutProof), x.keys.StoredKey) {
		return x.refuse(faultProof)
	}
	signature := x.hash.hmac(x.keys.ServerKey, x.signed, withoutProof)
	return x.succeed(base64.StdEncoding.AppendEncode([]byte("v="), signature))
}

// checkBinding compares the c= attribute with what it must be: the header as
// the client sent it, and the data of the binding that the header named.
func (x *Exchange) checkBinding(encoded string) *fault {
	got, err := DecodeBase64(encoded)
	if err != nil {
		return faultEncoding
	}
	want := []byte(x.header)
	if x.binding != nil {
		data, err := x.binding.Data()
		if err != nil || len(data) == 0 {
			return faultServerSide
		}
		want = append(want, data...)
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return faultMismatch
	}
	return nil
}

func (x *Exchange) refuse(f *fault) Result {
	r := x.fail(f.condition, f.text)
	r.Binding = f == faultDowngrade || f == faultType || f == faultMismatch
	return r
}
