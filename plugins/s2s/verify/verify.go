// Package verify says whether a certificate chain proves that a peer is a domain: the rules of RFC 6120 13.7.2
// with those of RFC 6125 (RFC 9525 now) and RFC 5280, as crypto/x509 has them, for streams of both directions.
//
// Decided, where the specifications leave it open, or the world does:
//
//   - the extended key usage may be serverAuth or clientAuth, whoever opened the stream: public authorities
//     do not issue clientAuth any more, and XEP-0178 needs certificates of servers in both roles. No extended key usage, and
//     anyExtendedKeyUsage, are fine;
//   - the common name counts for nothing (RFC 9525 2, and crypto/x509), not even where there is no other name;
//   - a domain that is an IP address needs that address in the certificate;
//   - an SRV-ID or xmppAddr is held to the name constraints on DNS names above it, so that an authority that may
//     vouch for some domains alone can't vouch for others by these;
//   - a certificate of an authority is none of a server (RFC 6120 13.7.1.1); an empty subject is one, since
//     public authorities issue those;
//   - a domain that is pinned is proved by a key that is listed, and by nothing else;
//   - with DANE (RFC 7673) a domain that has records that can be used is proved by those, and by nothing else. All four
//     usages of RFC 6698 count, though RFC 7712 5.1 speaks of those for the servers' own certificates alone: a domain that
//     has both kinds of records must not be refused for not looking at one;
//   - with POSH (RFC 7711) the web server of a domain is asked where its certificate proves nothing.
//
// Revocation is not checked: neither OCSP nor lists of it.
package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/dane"
	"github.com/hexmpp/hexmpp/plugins/s2s/posh"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Bounds of what a peer may present.
const (
	maxChain = 10        // certificates
	maxBytes = 100 << 10 // of all of them, DER
	maxNames = 2000      // in the first one, of one kind
)

// maxFile is how large a file of authorities may be, in bytes.
const maxFile = 4 << 20

// Options are what a Verifier goes by.
type Options struct {
	// Roots are the authorities that are trusted; nil: those of the system.
	Roots *x509.CertPool
	// CAFiles are paths to PEM files with further ones.
	CAFiles []string
	// Pins are the keys of domains: SHA-256 of the SubjectPublicKeyInfo, in hexadecimal (with colons or
	// without) or base64. Of several, with spaces between, any will do.
	Pins map[string]string
	// DANE and POSH say whether the DNS and web servers are asked for proof.
	DANE, POSH bool
	// Now is the time that certificates have to be valid at; nil: time.Now.
	Now func() time.Time
}

// Verifier verifies chains. Its methods may be called by any goroutine.
type Verifier struct {
	roots *x509.CertPool
	pins  map[string][][sha256.Size]byte
	dane  DANE // nil: not asked
	posh  POSH // nil: not asked
	now   func() time.Time
}

// DANE is what is asked of the DNS: dane.Client.
type DANE interface {
	Lookup(ctx context.Context, domain string) (dane.Answer, error)
}

// POSH is what is asked of web servers: posh.Client.
type POSH interface {
	Verify(ctx context.Context, cert *x509.Certificate, domain string) error
}

// New makes a Verifier. It reads the files. The error says which option can't be.
func New(o Options) (*Verifier, error) {
	v := &Verifier{roots: o.Roots, pins: map[string][][sha256.Size]byte{}, now: o.Now}
	if v.now == nil {
		v.now = time.Now
	}
	if v.roots == nil {
		system, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("verify: the authorities of the system: %w", err)
		}
		v.roots = system
	}
	if len(o.CAFiles) > 0 {
		v.roots = v.roots.Clone()
	}
	for _, path := range o.CAFiles {
		if err := addFile(v.roots, path); err != nil {
			return nil, fmt.Errorf("verify: ca-files: %w", err)
		}
	}
	for name, text := range o.Pins {
		list := strings.Fields(text)
		j, err := jid.Parse(name)
		if err != nil || j != j.DomainJID() {
			return nil, fmt.Errorf("verify: pins: %q is no domain", name)
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("verify: pins: %s has none", name)
		}
		for _, text := range list {
			pin, err := parsePin(text)
			if err != nil {
				return nil, fmt.Errorf("verify: pins: %s: %w", name, err)
			}
			v.pins[j.Domain()] = append(v.pins[j.Domain()], pin)
		}
	}
	if o.DANE {
		if _, err := dane.Nameservers(); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		v.dane = dane.New(dane.Nameservers)
	}
	if o.POSH {
		v.posh = posh.New(v.roots, nil)
	}
	return v, nil
}

// addFile reads a PEM file of authorities.
func addFile(pool *x509.CertPool, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("%s holds a %q; certificates are expected", path, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return nil
}

// parsePin reads a SHA-256 in one of its spellings.
func parsePin(text string) (pin [sha256.Size]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil {
		b, err = base64.StdEncoding.DecodeString(text)
	}
	if err != nil || len(b) != len(pin) {
		return pin, fmt.Errorf("%q is no SHA-256: 64 hexadecimal digits, or 44 characters of base64, of the key's SubjectPublicKeyInfo", text)
	}
	return [sha256.Size]byte(b), nil
}

// What proves a domain, in the words of RFC 7712.
const (
	ByAuthority = "PKIX"
	ByPin       = "a pinned key"
	ByDNS       = "DANE"
	ByWeb       = "POSH"
)

// Verify says whether a chain, the peer's own certificate first, proves that the peer is a domain, which is as
// in jid.JID.Domain, and by which of the above. That the peer has the key is for TLS. The error is for administrators, and for
// one line. With DANE or POSH it waits for the network, half a minute at most.
func (v *Verifier) Verify(ctx context.Context, chain []*x509.Certificate, name string) (proof string, err error) {
	if err := bounded(chain); err != nil {
		return "", err
	}
	if pins, pinned := v.pins[name]; pinned {
		have := sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
		if slices.Contains(pins, have) {
			return ByPin, nil
		}
		return "", fmt.Errorf("the key of its certificate is not one that is pinned for %s: its SHA-256 is %x", name, have)
	}
	domain, err := reference(name)
	if err != nil {
		return "", err
	}
	names := []domainName{domain}
	if v.dane != nil {
		answer, err := v.dane.Lookup(ctx, name)
		if err != nil {
			return "", fmt.Errorf("whether the DNS says what its certificate is can't be found out: %s", clip(err.Error()))
		}
		for _, s := range answer.Servers {
			if server, err := reference(s); err == nil {
				names = append(names, server)
			}
		}
		if len(answer.Records) > 0 {
			if err := v.associated(chain, names, answer.Records); err != nil {
				return "", err
			}
			return ByDNS, nil
		}
	}
	_, err = v.pkix(chain, names, v.roots)
	switch {
	case err == nil:
		return ByAuthority, nil
	case v.posh == nil:
		return "", err
	}
	if expired := valid(chain[0], "its certificate", v.now()); expired != nil { // RFC 7711 6
		return "", expired
	}
	if no := v.posh.Verify(ctx, chain[0], name); no != nil {
		return "", fmt.Errorf("%w (%s)", err, clip(no.Error()))
	}
	return ByWeb, nil
}

// associated is the prooftype DANE (RFC 7673 4.2): one of the records must be of the chain.
func (v *Verifier) associated(chain []*x509.Certificate, names []domainName, records []dane.Record) error {
	var why error
	for _, r := range records {
		var err error
		switch r.Usage {
		case dane.DANEEE:
			if r.Matches(chain[0]) {
				return nil // whatever else is in the certificate (RFC 7671 5.1)
			}
			continue
		case dane.PKIXEE:
			if !r.Matches(chain[0]) {
				continue
			}
			_, err = v.pkix(chain, names, v.roots)
		case dane.PKIXTA:
			var paths [][]*x509.Certificate
			if paths, err = v.pkix(chain, names, v.roots); err == nil && !slices.ContainsFunc(paths, func(p []*x509.Certificate) bool { return slices.ContainsFunc(p[1:], r.Matches) }) {
				continue
			}
		case dane.DANETA: // RFC 7671 5.2: the authority is presented
			anchors := x509.NewCertPool()
			none := true
			for _, c := range chain[1:] {
				if r.Matches(c) {
					anchors.AddCert(c)
					none = false
				}
			}
			if none {
				continue
			}
			_, err = v.pkix(chain, names, anchors)
		}
		if err == nil {
			return nil
		}
		why = err
	}
	if why == nil {
		why = errors.New("its certificate is another one")
	}
	return fmt.Errorf("the DNS has %d records of which certificate it is (TLSA), such as %s, and none fits: %w", len(records), records[0], why)
}

// bounded says whether a chain is one that is looked at.
func bounded(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("it has no certificate")
	}
	if len(chain) > maxChain {
		return fmt.Errorf("it presented %d certificates; %d are the most", len(chain), maxChain)
	}
	size := 0
	for _, c := range chain {
		size += len(c.Raw)
	}
	if size > maxBytes {
		return fmt.Errorf("its certificates have %d bytes; %d are the most", size, maxBytes)
	}
	return nil
}

// pkix is the prooftype of RFC 6120 13.7.2 (RFC 7712 calls it PKIX): the certificate is for one of the names, of which the first
// is the domain. It returns the paths to trust anchors.
func (v *Verifier) pkix(chain []*x509.Certificate, names []domainName, roots *x509.CertPool) ([][]*x509.Certificate, error) {
	leaf := withOtherNames(chain[0])
	ids, err := identities(leaf)
	if err != nil {
		return nil, err
	}
	if max(len(leaf.DNSNames), len(leaf.IPAddresses), len(ids.srv), len(ids.xmpp)) > maxNames {
		return nil, fmt.Errorf("its certificate has more than %d names", maxNames)
	}
	at := slices.IndexFunc(names, func(n domainName) bool { return ids.is(n) != none })
	if at < 0 {
		return nil, fmt.Errorf("its certificate is for %s, not for %s", &ids, names[0].name)
	}
	if leaf.BasicConstraintsValid && leaf.IsCA {
		return nil, errors.New("its certificate is that of an authority, not of a server (basicConstraints has CA:TRUE)")
	}
	now := v.now()
	if err := valid(leaf, "its certificate", now); err != nil {
		return nil, err
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, explain(err, chain, now)
	}
	if ids.is(names[at]) == other {
		paths = slices.DeleteFunc(paths, func(path []*x509.Certificate) bool { return !permitted(path, names[at]) })
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("an authority of its certificate may not vouch for %s (name constraints)", names[at].name)
	}
	return paths, nil
}

// withOtherNames returns a certificate whose subjectAltName is understood: crypto/x509 refuses one that is critical
// and has nothing that it reads.
func withOtherNames(cert *x509.Certificate) *x509.Certificate {
	c := *cert
	c.UnhandledCriticalExtensions = nil
	for _, id := range cert.UnhandledCriticalExtensions {
		if !id.Equal(oidSubjectAltName) {
			c.UnhandledCriticalExtensions = append(c.UnhandledCriticalExtensions, id)
		}
	}
	return &c
}

// valid says whether a certificate is of this time.
func valid(c *x509.Certificate, which string, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("%s expired on %s", which, day(c.NotAfter))
	case now.Before(c.NotBefore):
		return fmt.Errorf("%s is not valid before %s; here it is %s", which, day(c.NotBefore), day(now))
	}
	return nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// explain says what an error of crypto/x509 means.
func explain(err error, chain []*x509.Certificate, now time.Time) error {
	for _, c := range chain[1:] {
		if err := valid(c, "the certificate of its authority "+clip(c.Subject.String()), now); err != nil {
			return err
		}
	}
	leaf := chain[0]
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown) && bytes.Equal(leaf.RawIssuer, leaf.RawSubject) && len(chain) == 1:
		return errors.New("its certificate is signed by itself, and not pinned")
	case errors.As(err, &unknown):
		return fmt.Errorf("its certificate is signed by %s, for which no authority vouches that is trusted here; it presented %d certificates (%s)",
			clip(leaf.Issuer.String()), len(chain), clip(err.Error()))
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return errors.New("its certificate, or an authority's, is for other uses: the extended key usage is neither serverAuth nor clientAuth")
	}
	return fmt.Errorf("its certificate is not valid: %s", clip(err.Error()))
}

// permitted says whether the authorities of a path may vouch for a domain, by their name constraints on DNS names
// (RFC 5280 4.2.1.10).
func permitted(path []*x509.Certificate, d domainName) bool {
	if d.ascii == "" {
		d.ascii = d.name // an address is below no name
	}
	for _, c := range path[1:] {
		if c.PermittedDNSDomains != nil && !slices.ContainsFunc(c.PermittedDNSDomains, d.below) {
			return false
		}
		if slices.ContainsFunc(c.ExcludedDNSDomains, d.below) {
			return false
		}
	}
	return true
}

// below says whether a domain is one, or below one, of a constraint.
func (d domainName) below(constraint string) bool {
	c := strings.ToLower(constraint)
	if c == "" {
		return true
	}
	if strings.HasPrefix(c, ".") {
		return strings.HasSuffix(d.ascii, c)
	}
	return d.ascii == c || strings.HasSuffix(d.ascii, "."+c)
}
