package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// Kernel is what the engine asks of the server.
type Kernel interface {
	// Do is plugin.Do.
	Do(ctx context.Context, key string, fn func(h *extension.Host) error) error
	// Certificate returns the chain and key of a domain of ours.
	Certificate(ctx context.Context, domain string) (*tls.Certificate, error)
	// Ours says whether the server answers for a domain: a hosted one, or an extension's.
	Ours(domain string) bool
}

// Dialer finds the servers of far domains.
type Dialer interface {
	// Connect connects to the servers of a domain, one after the other, until try returns nil for a
	// connection; direct says that TLS comes first (XEP-0368). try closes what it does not take. The error wraps
	// ErrNotFound where the domain has no server.
	Connect(ctx context.Context, domain string, try func(ctx context.Context, conn net.Conn, direct bool) error) error
}

// ErrNotFound is wrapped where a domain does not exist, or has no server.
var ErrNotFound = errors.New("s2s: the domain has no XMPP server")

// Deps are what the engine is made with.
type Deps struct {
	Kernel Kernel
	Dialer Dialer
	// Verify says whether a certificate chain proves that a peer is a domain, and by what. It may wait for the network, for
	// a bounded time.
	Verify func(ctx context.Context, chain []*x509.Certificate, domain string) (proof string, err error)
	// Key is the dialback key of XEP-0185, with a secret.
	Key func(secret []byte, receiving, originating, streamID string) string
}
