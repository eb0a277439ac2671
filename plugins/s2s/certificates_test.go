package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// oneCertificate is a kernel's, which can be renewed.
type oneCertificate struct {
	mu    sync.Mutex
	cert  *tls.Certificate
	err   error
	asked int
}

func (o *oneCertificate) Certificate(context.Context, string) (*tls.Certificate, error) {
	o.asked++
	return o.cert, o.err
}

// do is plugin.Do: one at a time.
func (o *oneCertificate) do(_ context.Context, _ string, fn func(h *extension.Host) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return fn(&extension.Host{Certificates: o})
}

// TestCertificates: a renewed one is shown a minute later; streams that begin together ask once; where the kernel can't
// be asked the last one is shown.
func TestCertificates(t *testing.T) {
	first, second := &tls.Certificate{}, &tls.Certificate{}
	o := &oneCertificate{err: errors.New("down")}
	c := newCertificates(o.do)
	now := time.Now()
	c.now = func() time.Time { return now }
	get := func(want *tls.Certificate, asked int) {
		t.Helper()
		got, err := c.get(t.Context(), "a.example")
		if got != want || (err == nil) != (want != nil) {
			t.Errorf("got %p, %v, want %p", got, err, want)
		}
		if o.asked != asked {
			t.Errorf("asked %d times, want %d", o.asked, asked)
		}
	}
	get(nil, 1)
	o.cert, o.err = first, nil
	get(first, 2)
	o.cert = second
	now = now.Add(extension.CertificateTime - 1)
	get(first, 2)
	now = now.Add(1)
	get(second, 3)
	now = now.Add(extension.CertificateTime)
	o.err = errors.New("down")
	get(second, 4)
	o.err = nil
	get(second, 5)
	if _, err := c.get(t.Context(), "b.example"); err != nil || o.asked != 6 {
		t.Errorf("another domain: %v, asked %d times", err, o.asked)
	}

	now = now.Add(extension.CertificateTime)
	o.mu.Lock() // all wait for their turn
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got, err := c.get(t.Context(), "a.example"); got != second || err != nil {
				t.Errorf("got %p, %v", got, err)
			}
		})
	}
	o.mu.Unlock()
	all.Wait()
	get(second, 7)
}
