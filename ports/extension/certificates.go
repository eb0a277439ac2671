package extension

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

// Certificates gives an extension the certificates of domains that this server answers for (Host.Served), with
// their private keys. They are for connections of its own; nothing of a key is logged, or stored.
type Certificates interface {
	// Certificate returns the chain of a domain, its own certificate first, and the key: what clients are shown who
	// ask for the domain. Where the administrator has none for it, it is one that the server has signed itself,
	// which proves nothing to others. It may be another one at the next call, since certificates are
	// renewed while the server runs: whoever keeps one asks again after CertificateTime. ErrPermission unless it is
	// granted; ErrNotServed for other domains.
	Certificate(ctx context.Context, domain string) (*tls.Certificate, error)
}

// CertificateTime is how long a certificate may be kept until it is asked for again.
const CertificateTime = time.Minute

// ErrNotServed is wrapped where a domain is not one that this server answers for.
var ErrNotServed = errors.New("extension: this server does not answer for the domain")
