package local

import (
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// maxPassword bounds a password in bytes, before and after preparation: as
// long as any part of a JID, and short enough to cost nothing.
const maxPassword = 1023

// prepare applies OpaqueString (RFC 8265 4.2). Its errors wrap
// auth.ErrPassword and hold nothing of the password.
func prepare(password string) (string, error) {
	if password == "" {
		return "", fmt.Errorf("%w: it is empty", auth.ErrPassword)
	}
	if len(password) > maxPassword {
		return "", fmt.Errorf("%w: it is longer than %d bytes", auth.ErrPassword, maxPassword)
	}
	if !utf8.ValidString(password) { // precis lets it pass
		return "", fmt.Errorf("%w: it is no UTF-8", auth.ErrPassword)
	}
	p, err := precis.OpaqueString.String(password)
	if err != nil {
		return "", fmt.Errorf("%w: it has a character that OpaqueString forbids", auth.ErrPassword)
	}
	if len(p) > maxPassword {
		return "", fmt.Errorf("%w: it is longer than %d bytes in its prepared form", auth.ErrPassword, maxPassword)
	}
	return p, nil
}
