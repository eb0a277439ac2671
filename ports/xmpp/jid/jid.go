// Package jid implements XMPP addresses (RFC 7622). A JID is canonical from
// the moment it exists: Parse prepares and checks every part, so that two JIDs
// name the same entity exactly when == says so.
//
// Implemented are the syntax and the order of splitting (section 3.1 and 3.2),
// the domainpart as an internationalised name or an IP address (3.2), the
// localpart as UsernameCaseMapped without the further excluded characters
// (3.3, 3.3.1) and the resourcepart as OpaqueString (3.4). Left out are JID
// escaping (XEP-0106), which is for gateways and clients, and the URI form
// (RFC 5122).
package jid

import (
	"errors"
	"fmt"
	"strings"
)

// ErrMalformed is wrapped by every error of this package. Towards a peer it
// becomes the stanza error jid-malformed (RFC 6120 8.3.3.8).
var ErrMalformed = errors.New("malformed JID")

// maxPart is the bound on each part in bytes, after preparation (RFC 7622 3.1).
const maxPart = 1023

// JID is an address localpart@domainpart/resourcepart in canonical form. It
// is a comparable value and can be a map key; the zero value is "no address".
type JID struct {
	s     string // the canonical form
	at    uint16 // length of the localpart; 0 if there is none
	slash uint16 // length of the bare JID
}

// Parse prepares and checks an address by RFC 7622 section 3. Parsing the
// String of a JID gives the same JID again. If s is canonical already, the JID
// shares its memory: clone a string first that is a small piece of a big one.
func Parse(s string) (JID, error) {
	// RFC 7622 3.2: the first '/' ends the bare JID, then the first '@' in it
	// ends the localpart. Both are looked for before any mapping (3.1).
	bare, resource, hasResource := strings.Cut(s, "/")
	local, domain, hasLocal := strings.Cut(bare, "@")
	if !hasLocal {
		local, domain = "", bare
	}
	if hasLocal && local == "" {
		return JID{}, partError("localpart", local, errEmpty)
	}
	if hasResource && resource == "" {
		return JID{}, partError("resourcepart", resource, errEmpty)
	}
	if canonicalASCIILocal(local) && canonicalASCIIDomain(domain) && canonicalASCIIResource(resource) {
		return JID{s, uint16(len(local)), uint16(len(bare))}, nil
	}
	return New(local, domain, resource)
}

// New is Parse for parts: local and resource may be empty.
func New(local, domain, resource string) (JID, error) {
	if local != "" {
		l, err := prepareLocal(local)
		if err != nil {
			return JID{}, partError("localpart", local, err)
		}
		local = l
	}
	d, err := prepareDomain(domain)
	if err != nil {
		return JID{}, partError("domainpart", domain, err)
	}
	if resource != "" {
		r, err := prepareResource(resource)
		if err != nil {
			return JID{}, partError("resourcepart", resource, err)
		}
		resource = r
	}
	return join(local, d, resource), nil
}

// MustParse is Parse for constants in code and tests; it panics on an error
// and must never see a byte that came from outside.
func MustParse(s string) JID {
	j, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return j
}

// WithResource returns the bare JID of j with the resourcepart r; an empty r
// gives the bare JID. The zero JID has no bare JID and gives an error.
func (j JID) WithResource(r string) (JID, error) {
	if j.IsZero() {
		return JID{}, partError("domainpart", "", errEmpty)
	}
	if r == "" {
		return j.Bare(), nil
	}
	p, err := prepareResource(r)
	if err != nil {
		return JID{}, partError("resourcepart", r, err)
	}
	return JID{j.s[:j.slash] + "/" + p, j.at, j.slash}, nil
}

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

// Matches says whether j is among the addresses that pattern stands for
// (XEP-0191 section 6): a full JID for itself, user@domain for all of its
// resources, domain/resource for that resource, domain for everything there.
// The zero JID matches nothing and stands for nothing.
func (j JID) Matches(pattern JID) bool {
	if j.IsZero() || pattern.IsZero() {
		return false
	}
	if pattern.IsBare() {
		j = j.Bare()
		if pattern.at == 0 {
			return j.Domain() == pattern.Domain()
		}
	}
	return j.s == pattern.s
}

// Clone returns j in memory of its own. A parsed JID may share the string that
// it was parsed from: who keeps a JID for long keeps a clone.
func (j JID) Clone() JID { j.s = strings.Clone(j.s); return j }

// String returns the canonical form.
func (j JID) String() string { return j.s }

// join puts canonical parts together.
func join(local, domain, resource string) JID {
	n := len(domain)
	if local != "" {
		n += len(local) + 1
	}
	slash := uint16(n)
	if resource != "" {
		n += 1 + len(resource)
	}
	b := make([]byte, 0, n)
	if local != "" {
		b = append(append(b, local...), '@')
	}
	b = append(b, domain...)
	if resource != "" {
		b = append(append(b, '/'), resource...)
	}
	return JID{string(b), uint16(len(local)), slash}
}

// partError names the part that is wrong; long ones are cut short in the text.
func partError(name, part string, err error) error {
	const most = 64
	if len(part) > most {
		part = part[:most] + "..."
	}
	return fmt.Errorf("jid: %s %q: %w: %w", name, part, ErrMalformed, err)
}
