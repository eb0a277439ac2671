package codec

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// maxCertificates is how many one request may ask for.
const maxCertificates = 20

var errNoCertificate = errors.New("no certificate came for the domain")

// certificates answers a request.
func certificates(ctx context.Context, h *extension.Host, domains []string) (*pluginv1.Certificates, error) {
	if len(domains) > maxCertificates {
		return nil, fmt.Errorf("%w: %d certificates at once; %d are possible", extension.ErrBound, len(domains), maxCertificates)
	}
	out := &pluginv1.Certificates{}
	for _, d := range domains {
		c, err := h.Certificates.Certificate(ctx, d)
		if err != nil {
			return nil, err
		}
		p, err := certificate(d, c)
		if err != nil {
			return nil, err
		}
		out.Certificates = append(out.Certificates, p)
	}
	return out, nil
}

func certificate(domain string, c *tls.Certificate) (*pluginv1.Certificate, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("the key of the certificate of %s can't be handed over", domain)
	}
	var chain bytes.Buffer
	for _, der := range c.Certificate {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return nil, err
		}
	}
	return &pluginv1.Certificate{
		Domain: domain, ChainPem: chain.Bytes(), KeyPem: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}, nil
}

// Certificate is extension.Certificates.Certificate.
func (r Reads) Certificate(ctx context.Context, domain string) (*tls.Certificate, error) {
	if err := text("certificates.domain", domain); err != nil {
		return nil, err
	}
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_Certificates{Certificates: &pluginv1.GetCertificates{Domains: []string{domain}}}})
	if err != nil {
		return nil, err
	}
	list := p.GetCertificates().GetCertificates()
	if len(list) != 1 || list[0].GetDomain() != domain {
		return nil, errNoCertificate
	}
	c, err := tls.X509KeyPair(list[0].ChainPem, list[0].KeyPem)
	if err != nil {
		return nil, errors.New("the certificate of the domain can't be read") // nothing of the key is said
	}
	return &c, nil
}
