package tcp

import (
	"crypto"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// exporter gives the channel binding tls-exporter (RFC 9266 2): 32 bytes of
// exported keying material, with an empty context, which in TLS 1.2 isn't the
// same as none.
func exporter(c *tls.Conn) func() ([]byte, error) {
	return func() ([]byte, error) {
		cs := c.ConnectionState()
		b, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
		if err != nil {
			return nil, fmt.Errorf("tcp: export channel binding: %w", err)
		}
		return b, nil
	}
}

// endPoint gives the channel binding tls-server-end-point (RFC 5929 4.1): the
// hash of the certificate, with the hash of its signature algorithm, but
// SHA-256 in place of MD5 and SHA-1. It is nil where the signature algorithm
// has no such hash (Ed25519) or isn't known.
func endPoint(cert *x509.Certificate) []byte {
	if cert == nil {
		return nil
	}
	var h crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256, x509.DSAWithSHA256:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		h = crypto.SHA512
	default:
		return nil
	}
	sum := h.New()
	sum.Write(cert.Raw)
	return sum.Sum(nil)
}
