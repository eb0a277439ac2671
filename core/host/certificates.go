package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
)

var errNoCertificates = errors.New("host: this server has no certificates")

// certificates implements extension.Certificates.
type certificates struct{ g *Guest }

func (x certificates) Certificate(_ context.Context, domain string) (*tls.Certificate, error) {
	if err := x.g.permit(extension.ReadCertificates); err != nil {
		return nil, err
	}
	h := x.g.hosts
	if _, there := slices.BinarySearch(h.served, domain); !there {
		return nil, fmt.Errorf("%w: %q", extension.ErrNotServed, domain)
	}
	if h.Deps.Certificates == nil {
		return nil, errNoCertificates
	}
	return h.Deps.Certificates(domain)
}
