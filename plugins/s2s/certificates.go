package s2s

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// certificates keeps those of the server's domains for extension.CertificateTime, so that not every stream asks
// for them. Any goroutine may use it.
type certificates struct {
	do  func(ctx context.Context, key string, fn func(h *extension.Host) error) error // plugin.Do
	now func() time.Time

	mu   sync.Mutex // guards kept
	kept map[string]kept
}

// kept is a certificate, and when it was asked for.
type kept struct {
	cert *tls.Certificate
	at   time.Time
}

// certificateKey begins the ordering keys of what is asked about certificates.
const certificateKey = "certificate "

func newCertificates(do func(ctx context.Context, key string, fn func(h *extension.Host) error) error) *certificates {
	return &certificates{do: do, now: time.Now, kept: map[string]kept{}}
}

// get returns the one of a domain. Streams that begin at once wait for one question. Where the kernel can't be
// asked, because another process has taken over from this one or it is in trouble, it is the one that was good before.
func (c *certificates) get(ctx context.Context, domain string) (*tls.Certificate, error) {
	last, fresh := c.have(domain)
	if fresh {
		return last, nil
	}
	var cert *tls.Certificate
	err := c.do(ctx, certificateKey+domain, func(h *extension.Host) (err error) {
		if cert, fresh = c.have(domain); fresh { // who had the turn before has asked
			return nil
		}
		if cert, err = h.Certificates.Certificate(ctx, domain); err == nil {
			c.keep(domain, cert)
		}
		return err
	})
	switch {
	case err == nil:
		return cert, nil
	case last != nil:
		return last, nil
	}
	return nil, err
}

// have returns what is kept, which may be nil, and whether it needs no question.
func (c *certificates) have(domain string) (cert *tls.Certificate, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kept[domain]
	return k.cert, k.cert != nil && c.now().Sub(k.at) < extension.CertificateTime
}

func (c *certificates) keep(domain string, cert *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[domain] = kept{cert, c.now()}
}
