package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// CA is a certificate authority that lives as long as a test. Clients trust
// it by Pool, or by the file that File names.
type CA struct {
	File string // its certificate as PEM
	Pool *x509.CertPool

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority and writes its certificate to dir.
func NewCA(dir string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("harness: key of the test CA: %w", err)
	}
	tmpl := certificate("hexmpp test CA")
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("harness: certificate of the test CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("harness: certificate of the test CA: %w", err)
	}
	ca := &CA{File: filepath.Join(dir, "ca.pem"), Pool: x509.NewCertPool(), cert: cert, key: key}
	ca.Pool.AddCert(cert)
	return ca, writePEM(ca.File, "CERTIFICATE", der)
}

// Issue writes a certificate for one domain as NAME.crt and NAME.key to dir,
// in place of the one that is there, and returns its serial number. Each change is made to
// the certificate before it is signed.
func (ca *CA) Issue(dir, domain string, changes ...func(*x509.Certificate)) (*big.Int, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("harness: key for %s: %w", domain, err)
	}
	tmpl := certificate(domain)
	tmpl.DNSNames = []string{domain}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, change := range changes {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("harness: certificate for %s: %w", domain, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("harness: key for %s: %w", domain, err)
	}
	if err := writePEM(filepath.Join(dir, domain+".key"), "PRIVATE KEY", secret); err != nil {
		return nil, err
	}
	return tmpl.SerialNumber, writePEM(filepath.Join(dir, domain+".crt"), "CERTIFICATE", der)
}

// TLS is a client's configuration that trusts the authority and asks for the domain.
func (ca *CA) TLS(domain string) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool, ServerName: domain}
}

func certificate(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100)) // crypto/rand never fails
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

// writePEM replaces a file as a whole, so that nobody reads half of it.
func writePEM(path, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("harness: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("harness: %w", err)
	}
	return nil
}
