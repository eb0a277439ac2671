// Package jid implements XMPP addresses (RFC 7622). A JID is canonical from
// the moment it exists: Parse prepares and checks every part, so that two JIDs
// name the same entity exactly when == says so.
package jid

import "errors"

// ErrMalformed is wrapped by every error of this package. Towards a peer it
// becomes the stanza error jid-malformed (RFC 6120 8.3.3.8).
var ErrMalformed = errors.New("malformed JID")

// JID is an address localpart@domainpart/resourcepart in canonical form. It
// is a comparable value and can be a map key; the zero value is "no address".
type JID struct {
	s     string // the canonical form
	at    uint16 // length of the localpart; 0 if there is none
	slash uint16 // length of the bare JID
}

// Parse prepares and checks an address by RFC 7622 section 3.
func Parse(s string) (JID, error) { panic("helper A") }

// New is Parse for parts: local and resource may be empty.
func New(local, domain, resource string) (JID, error) { panic("helper A") }

// MustParse is Parse for constants in code and tests; it panics on an error
// and must never see a byte that came from outside.
func MustParse(s string) JID { panic("helper A") }

// WithResource returns the bare JID of j with the resourcepart r.
func (j JID) WithResource(r string) (JID, error) { panic("helper A") }

// Local returns the localpart, "" if there is none.
func (j JID) Local() string { return j.s[:j.at] }

// Domain returns the domainpart: lower-case U-labels, no trailing dot.
func (j JID) Domain() string {
	if j.at == 0 {
		return j.s[:j.slash]
	}
	return j.s[j.at+1 : j.slash]
}

// Resource returns the resourcepart, "" if there is none.
func (j JID) Resource() string {
	if int(j.slash) == len(j.s) {
		return ""
	}
	return j.s[j.slash+1:]
}

// Bare returns the address without its resourcepart.
func (j JID) Bare() JID { return JID{j.s[:j.slash], j.at, j.slash} }

// DomainJID returns the address of the domain alone.
func (j JID) DomainJID() JID { d := j.Domain(); return JID{d, 0, uint16(len(d))} }

// IsZero reports whether j is no address at all.
func (j JID) IsZero() bool { return j.s == "" }

// IsBare reports whether j has no resourcepart.
func (j JID) IsBare() bool { return int(j.slash) == len(j.s) }

// String returns the canonical form.
func (j JID) String() string { return j.s }
