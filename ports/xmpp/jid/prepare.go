package jid

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

var (
	errEmpty      = errors.New("is empty")
	errTooLong    = errors.New("is longer than 1023 bytes")
	errUTF8       = errors.New("is not UTF-8")
	errExcluded   = errors.New("has a character that RFC 7622 3.3.1 excludes")
	errFirstSpace = errors.New("starts with a space")
	errUnstable   = errors.New("has no stable prepared form")
)

// excludedLocal are the characters of RFC 7622 3.3.1.
const excludedLocal = `"&'/:<>@`

// maxRounds bounds how often preparation is repeated until its result is
// stable. The profiles are meant to be idempotent; where mapping and
// normalisation meet that is not proven, and RFC 8264 section 7 advises this.
const maxRounds = 4

// stable applies prepare until nothing changes.
func stable(s string, prepare func(string) (string, error)) (string, error) {
	for range maxRounds {
		p, err := prepare(s)
		if err != nil {
			return "", err
		}
		if p == s {
			return p, nil
		}
		s = p
	}
	return "", errUnstable
}

// checkLength bounds work before preparation and the result after it. No
// profile makes a string four times shorter, so that a longer input is hopeless.
func checkLength(s string, most int) error {
	switch {
	case s == "":
		return errEmpty
	case len(s) > most:
		return errTooLong
	}
	return nil
}

// prepareLocal returns the canonical localpart (RFC 7622 3.3).
func prepareLocal(s string) (string, error) {
	if s != "" && canonicalASCIILocal(s) {
		return s, nil
	}
	return enforceLocal(s)
}

// enforceLocal is prepareLocal without the short cut.
func enforceLocal(s string) (string, error) {
	if err := checkLength(s, 4*maxPart); err != nil {
		return "", err
	}
	if !utf8.ValidString(s) {
		return "", errUTF8
	}
	p, err := stable(s, precis.UsernameCaseMapped.String)
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(p, excludedLocal) {
		return "", errExcluded
	}
	return p, checkLength(p, maxPart)
}

// prepareResource returns the canonical resourcepart (RFC 7622 3.4). Example 18
// of section 3.5 is not a JID, though OpaqueString alone would let it pass:
// so a first space is refused, also one that mapping made.
func prepareResource(s string) (string, error) {
	if s != "" && canonicalASCIIResource(s) {
		return s, nil
	}
	return enforceResource(s)
}

// enforceResource is prepareResource without the short cut.
func enforceResource(s string) (string, error) {
	if err := checkLength(s, 4*maxPart); err != nil {
		return "", err
	}
	if !utf8.ValidString(s) {
		return "", errUTF8
	}
	p, err := stable(s, precis.OpaqueString.String)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(p, " ") {
		return "", errFirstSpace
	}
	return p, checkLength(p, maxPart)
}

// canonicalASCIILocal reports whether s is ASCII and what prepareLocal would
// return for it, or empty: every visible ASCII character is in the
// IdentifierClass, upper case is mapped to lower case.
func canonicalASCIILocal(s string) bool {
	if len(s) > maxPart {
		return false
	}
	for i := range len(s) {
		if !asciiLocal[s[i]] {
			return false
		}
	}
	return true
}

// canonicalASCIIResource reports whether s is ASCII and what prepareResource
// would return for it, or empty.
func canonicalASCIIResource(s string) bool {
	if len(s) > maxPart || s != "" && s[0] == ' ' {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

var asciiLocal = func() (t [256]bool) {
	for c := byte('!'); c <= '~'; c++ {
		t[c] = (c < 'A' || c > 'Z') && strings.IndexByte(excludedLocal, c) < 0
	}
	return t
}()
