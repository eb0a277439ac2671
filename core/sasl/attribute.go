package sasl

import (
	"errors"
	"strings"
)

// fault is why a SCRAM message is refused.
type fault struct {
	condition Condition
	text      string
}

// What a message breaks the syntax of, or sends against the mechanism that it
// chose itself, is a malformed request. A message that is well-formed and must
// fail all the same is not authorized. The texts are the server-error-value of
// RFC 5802 7 where it has one.
var (
	faultSyntax     = &fault{MalformedRequest, "SCRAM: syntax error"}
	faultName       = &fault{MalformedRequest, "SCRAM: invalid-username-encoding"}
	faultEncoding   = &fault{MalformedRequest, "SCRAM: invalid-encoding"}
	faultNoBinding  = &fault{MalformedRequest, "SCRAM: channel-binding-not-supported by this mechanism"}
	faultNeedsBind  = &fault{MalformedRequest, "SCRAM: this mechanism needs a channel binding"}
	faultExtension  = &fault{NotAuthorized, "SCRAM: extensions-not-supported"}
	faultDowngrade  = &fault{NotAuthorized, "SCRAM: server-does-support-channel-binding"}
	faultType       = &fault{NotAuthorized, "SCRAM: unsupported-channel-binding-type"}
	faultMismatch   = &fault{NotAuthorized, "SCRAM: channel-bindings-dont-match"}
	faultNonce      = &fault{NotAuthorized, "SCRAM: other-error"}
	faultProof      = &fault{NotAuthorized, ""} // as any wrong password
	faultServerSide = &fault{TemporaryAuthFailure, ""}
)

// cutAttribute takes the attribute off the front of a list: one letter, "=" and
// a value of at least one octet, up to a comma or the end (RFC 5802 7,
// attr-val). more says that a comma followed, and so something must be in rest.
func cutAttribute(s string) (name byte, value, rest string, more, ok bool) {
	attr, rest, more := strings.Cut(s, ",")
	if len(attr) < 3 || attr[1] != '=' || !letter(attr[0]) {
		return 0, "", "", false, false
	}
	return attr[0], attr[2:], rest, more, true
}

// checkExtension judges an attribute in the place of an extension. Unknown ones
// are ignored (RFC 5802 5.1), m is a mandatory one and must fail, and the
// attributes that RFC 5802 defines have another place.
func checkExtension(name byte) *fault {
	switch name {
	case 'm':
		return faultExtension
	case 'a', 'c', 'e', 'i', 'n', 'p', 'r', 's', 'v':
		return faultSyntax
	}
	return nil
}

var errName = errors.New("not a saslname")

// decodeName decodes a saslname (RFC 5802 7): not empty, and "=" only as a part
// of "=2C" for a comma or "=3D" for itself.
func decodeName(s string) (string, error) {
	if s == "" {
		return "", errName
	}
	at := strings.IndexByte(s, '=')
	if at < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for ; at >= 0; at = strings.IndexByte(s, '=') {
		b = append(b, s[:at]...)
		switch s = s[at:]; {
		case strings.HasPrefix(s, "=2C"):
			b = append(b, ',')
		case strings.HasPrefix(s, "=3D"):
			b = append(b, '=')
		default:
			return "", errName
		}
		s = s[len("=2C"):]
	}
	return string(append(b, s...)), nil
}

// printable reports whether s is a nonce: printable ASCII without comma.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == ',' {
			return false
		}
	}
	return s != ""
}

// bindingName reports whether s is a cb-name (RFC 5802 7).
func bindingName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !letter(c) && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return s != ""
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
