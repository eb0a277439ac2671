package certs

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
	"net"
	"os"
	"path/filepath"
	"time"
)

// selfSignedFor is how long a self-signed certificate is good.
const selfSignedFor = 10 * 365 * 24 * time.Hour

// selfSigned gives domain (an A-label) its self-signed certificate: the one in
// use, the one on disk, or a new one. s.mu is held.
func (s *Store) selfSigned(domain string) (*pair, error) {
	if p := s.own[domain]; p != nil && s.now().Before(p.cert.Leaf.NotAfter) {
		return p, nil
	}
	p := &pair{selfSigned: true}
	if s.opts.SelfSignedDir != "" {
		p.file = filepath.Join(s.opts.SelfSignedDir, domain+".crt")
		p.key = filepath.Join(s.opts.SelfSignedDir, domain+".key")
		// Whatever is wrong with the files, new ones are the answer.
		if old, err := loadPair(p); err == nil && s.now().Before(old.cert.Leaf.NotAfter) &&
			old.cert.Leaf.VerifyHostname(domain) == nil {
			old.selfSigned = true
			s.own[domain] = old
			return old, nil
		}
	}
	certPEM, keyPEM, err := makeSelfSigned(domain, s.now())
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate for %s: %w", domain, err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate for %s: %w", domain, err)
	}
	p.cert = &cert
	if p.file != "" {
		if err := os.MkdirAll(s.opts.SelfSignedDir, 0o700); err != nil {
			return nil, fmt.Errorf("self-signed certificate for %s: %w", domain, err)
		}
		for name, data := range map[string][]byte{p.key: keyPEM, p.file: certPEM} {
			if err := writeFile(name, data); err != nil {
				return nil, fmt.Errorf("keep self-signed certificate for %s: %w", domain, err)
			}
		}
	}
	s.own[domain] = p
	return p, nil
}

// writeFile writes a file that nobody else may read, whole or not at all.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when it was renamed
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func makeSelfSigned(domain string, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		DNSNames:     []string{domain},
		NotBefore:    now.Add(-time.Hour), // for clients whose clock is behind
		NotAfter:     now.Add(selfSignedFor),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(domain); ip != nil { // a domain of a network without names
		tmpl.IPAddresses = []net.IP{ip}
	}
	if len(domain) <= 64 { // the longest CommonName that there may be
		tmpl.Subject = pkix.Name{CommonName: domain}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
