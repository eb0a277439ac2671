package extensiontest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Certificate makes a certificate for domains that it has signed itself, with its key. Whatever clock looks at it, it
// has not expired.
func Certificate(t testing.TB, domains ...string) *tls.Certificate {
	t.Helper()
	c, err := selfSigned(domains)
	if err != nil {
		t.Fatalf("extensiontest: certificate of %q: %v", domains, err)
	}
	return c
}

func selfSigned(domains []string) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, d := range domains {
		name, err := jid.DomainToASCII(d)
		if err != nil {
			return nil, err
		}
		c.DNSNames = append(c.DNSNames, name)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// SetCertificate puts a certificate in place of the domain's, as a renewal does.
func (h *Harness) SetCertificate(domain string, c *tls.Certificate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.certificates[domain] = c
}

// certificate returns the domain's. The first time it is made.
func (h *Harness) certificate(domain string) (*tls.Certificate, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.certificates[domain] == nil {
		c, err := selfSigned([]string{domain})
		if err != nil {
			return nil, err
		}
		h.certificates[domain] = c
	}
	return h.certificates[domain], nil
}

// certificates implements extension.Certificates.
type certificates struct{ t *tx }

func (x certificates) Certificate(_ context.Context, domain string) (*tls.Certificate, error) {
	x.t.waits("Certificates.Certificate")
	if err := x.t.h.permit(extension.ReadCertificates); err != nil {
		return nil, err
	}
	if !slices.Contains(x.t.h.served, domain) {
		return nil, fmt.Errorf("%w: %q", extension.ErrNotServed, domain)
	}
	return x.t.h.certificate(domain)
}
