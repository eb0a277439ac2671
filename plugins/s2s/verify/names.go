package verify

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidXMPPAddr       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5} // RFC 6120 13.7.1.4
	oidDNSSRV         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7} // RFC 4985 2
)

// service is the one of SRV-IDs. XEP-0368 has none of its own.
const service = "_xmpp-server."

// Tags of GeneralName and OtherName (RFC 5280 4.2.1.6).
const (
	tagOtherName = 0
	tagValue     = 0
)

// otherNames are the identities in a certificate that crypto/x509 does not read.
type otherNames struct {
	xmpp []string // id-on-xmppAddr
	srv  []string // id-on-dnsSRV
}

var errNames = errors.New("its subjectAltName can't be read")

// parseOtherNames reads the value of a subjectAltName extension: a SEQUENCE OF GeneralName.
func parseOtherNames(der []byte) (names otherNames, err error) {
	var list asn1.RawValue
	rest, err := asn1.Unmarshal(der, &list)
	if err != nil || len(rest) != 0 || list.Class != asn1.ClassUniversal || list.Tag != asn1.TagSequence || !list.IsCompound {
		return otherNames{}, errNames
	}
	for rest = list.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return otherNames{}, errNames
		}
		if name.Class != asn1.ClassContextSpecific || name.Tag != tagOtherName || !name.IsCompound {
			continue
		}
		if err = names.add(name.Bytes); err != nil {
			return otherNames{}, err
		}
	}
	return names, nil
}

// add reads the inside of an OtherName: type-id, and value with an explicit tag.
func (n *otherNames) add(der []byte) error {
	var id asn1.ObjectIdentifier
	rest, err := asn1.Unmarshal(der, &id)
	if err != nil {
		return errNames
	}
	var outer, value asn1.RawValue
	if rest, err = asn1.Unmarshal(rest, &outer); err != nil || len(rest) != 0 ||
		outer.Class != asn1.ClassContextSpecific || outer.Tag != tagValue || !outer.IsCompound {
		return errNames
	}
	if !id.Equal(oidXMPPAddr) && !id.Equal(oidDNSSRV) {
		return nil
	}
	if rest, err = asn1.Unmarshal(outer.Bytes, &value); err != nil || len(rest) != 0 || value.Class != asn1.ClassUniversal || value.IsCompound {
		return errNames
	}
	text := string(value.Bytes)
	switch {
	case id.Equal(oidXMPPAddr) && value.Tag == asn1.TagUTF8String && utf8.ValidString(text):
		n.xmpp = append(n.xmpp, text)
	case id.Equal(oidDNSSRV) && value.Tag == asn1.TagIA5String && isASCII(text):
		n.srv = append(n.srv, text)
	default:
		return errNames
	}
	return nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// presented are the identities of a certificate (RFC 6125 1.8).
type presented struct {
	otherNames
	cert *x509.Certificate
}

// identities reads those of a certificate.
func identities(cert *x509.Certificate) (p presented, err error) {
	p.cert = cert
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			if p.otherNames, err = parseOtherNames(e.Value); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// match is by what a certificate is a domain's.
type match uint8

const (
	none  match = iota
	plain       // by a name that crypto/x509 holds to name constraints
	other       // by one that it does not
)

// domainName is a reference identity (RFC 6125 6.2).
type domainName struct {
	name  string     // as in jid.JID.Domain
	ascii string     // with A-labels; "" if it is an address
	addr  netip.Addr // unless it is a name
}

// reference reads a domain, which is as in jid.JID.Domain.
func reference(name string) (d domainName, err error) {
	d.name = name
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		d.addr = a.Unmap()
		return d, nil
	}
	if d.ascii, err = jid.DomainToASCII(name); err != nil {
		return d, fmt.Errorf("%q is no domain: %w", clip(name), err)
	}
	return d, nil
}

// is says whether a certificate is that of a domain (RFC 6125 6.4, RFC 6120 13.7.2.1). The common name is not
// looked at.
func (p *presented) is(d domainName) match {
	if d.addr.IsValid() {
		for _, ip := range p.cert.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && a.Unmap() == d.addr {
				return plain
			}
		}
	} else {
		for _, name := range p.cert.DNSNames {
			if matches(name, d.ascii) {
				return plain
			}
		}
		for _, name := range p.srv {
			if len(name) > len(service) && strings.EqualFold(name[:len(service)], service) && matches(name[len(service):], d.ascii) {
				return other
			}
		}
	}
	for _, name := range p.xmpp {
		if j, err := jid.Parse(name); err == nil && j == j.DomainJID() && j.Domain() == d.name {
			return other
		}
	}
	return none
}

// matches compares a name in a certificate with one that has A-labels and is in lower case. A wildcard stands
// for exactly one label, the whole of the left-most one (RFC 6120 13.7.1.2.1, RFC 6125 6.4.3).
func matches(pattern, name string) bool {
	pattern = strings.ToLower(pattern)
	if parent, wild := strings.CutPrefix(pattern, "*."); wild {
		_, above, ok := strings.Cut(name, ".")
		return ok && parent != "" && parent == above
	}
	return pattern != "" && pattern == name
}

// String lists the identities, for people.
func (p *presented) String() string {
	var names []string
	names = append(names, p.cert.DNSNames...)
	for _, ip := range p.cert.IPAddresses {
		names = append(names, ip.String())
	}
	names = append(names, p.srv...)
	for _, x := range p.xmpp {
		names = append(names, "xmpp:"+x)
	}
	if len(names) == 0 {
		return "no name"
	}
	const most = 5
	var out []string
	for _, n := range names[:min(len(names), most)] {
		out = append(out, clip(n))
	}
	text := strings.Join(out, ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// clip makes what a peer says fit for a line of a log.
func clip(s string) string {
	const most = 160
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
