package contact

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Bounds, so that the answer to disco#info stays small.
const (
	maxAddresses = 32   // in a list
	maxAddress   = 1024 // bytes of one
)

// Validate says what is wrong with the options: nil, or all faults joined, each
// with the list and the address.
func (o Options) Validate() error {
	var faults []error
	for _, f := range o.fields() {
		if len(f.addresses) > maxAddresses {
			faults = append(faults, fmt.Errorf("contact: %s: %d addresses, the limit is %d", f.name, len(f.addresses), maxAddresses))
		}
		for i, a := range f.addresses {
			err := checkAddress(a)
			if slices.Contains(f.addresses[:i], a) {
				err = errors.New("is there twice")
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("contact: %s: %.200q: %w", f.name, a, err))
			}
		}
	}
	return errors.Join(faults...)
}

// checkAddress tells whether an address is an absolute URI (section 3). Of the
// usual schemes it also wants what makes them useful; others pass.
func checkAddress(address string) error {
	if len(address) > maxAddress {
		return fmt.Errorf("is longer than %d bytes", maxAddress)
	}
	if i := strings.IndexFunc(address, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == unicode.ReplacementChar
	}); i >= 0 {
		return errors.New("has a space or a control character, which a URI has not")
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("is no URI: %w", err)
	}
	rest := u.Opaque
	switch u.Scheme {
	case "":
		return errors.New(`has no scheme: write "mailto:", "xmpp:" or "https:" before it`)
	case "http", "https":
		if u.Hostname() == "" {
			return errors.New("has no host")
		}
		return nil
	case "mailto":
		return checkMailto(rest)
	case "xmpp":
		return checkXMPP(u)
	}
	if rest == "" && u.Host == "" && u.Path == "" {
		return errors.New("has nothing behind the scheme")
	}
	return nil
}

// checkMailto wants addresses of mail (RFC 6068 section 2), at least one.
func checkMailto(list string) error {
	for one := range strings.SplitSeq(list, ",") {
		one, err := url.PathUnescape(one)
		if err != nil {
			return fmt.Errorf("is no address of mail: %w", err)
		}
		if a, err := mail.ParseAddress(one); err != nil || a.Name != "" || a.Address != one {
			return errors.New("is no address of mail")
		}
	}
	return nil
}

// checkXMPP wants a JID (RFC 5122 section 2.2), with or without an account to
// write from in front (xmpp://account/jid).
func checkXMPP(u *url.URL) error {
	path := u.Opaque
	if path == "" {
		path = strings.TrimPrefix(u.EscapedPath(), "/")
	}
	address, err := url.PathUnescape(path)
	if err == nil {
		_, err = jid.Parse(address)
	}
	if err != nil {
		return fmt.Errorf("is no address of XMPP: %w", err)
	}
	return nil
}
