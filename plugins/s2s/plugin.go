package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/plugins/s2s/dialback"
	"github.com/hexmpp/hexmpp/plugins/s2s/resolve"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Names of the listeners.
const (
	Listener    = "s2s"
	ListenerTLS = "s2s-tls" // TLS comes first (XEP-0368)
)

// service is the plugin: the engine in a process of hexmpp.
type service struct {
	engine  *Engine
	process process
}

// Registration makes the registration of federation. The error names an option that can't be.
func Registration(o Options) (extension.Registration, error) {
	s := &service{process: process{certificates: newCertificates(plugin.Do)}}
	proof, err := o.Verifier()
	if err != nil {
		return extension.Registration{}, err
	}
	s.engine, err = New(o, Deps{Kernel: &s.process, Dialer: dialer{&resolve.Resolver{Overrides: o.Overrides}}, Verify: proof.Verify, Key: dialback.Key})
	if err != nil {
		return extension.Registration{}, err
	}
	return extension.Registration{
		Name:        "s2s",
		Permissions: []extension.Permission{extension.FarDomains, extension.ReadCertificates},
		Listeners: []extension.Listener{
			{Name: Listener, Network: "tcp", Address: ":5269"},
			{Name: ListenerTLS, Network: "tcp", Address: ":5270"},
		},
		Far:   &extension.Far{Take: s.engine.Take},
		Calls: s.calls(),
		Start: s.start,
		Stop:  s.engine.Stop,
	}, nil
}

func (s *service) start(ctx context.Context, h *extension.Host) error {
	s.process.served, s.process.own = h.Served, h.Domains[0]
	background := plugin.Background(ctx)
	if err := s.engine.Start(background, h); err != nil {
		return err
	}
	for _, name := range []string{Listener, ListenerTLS} {
		list, err := h.Listeners.Get(name)
		if err != nil {
			return fmt.Errorf("s2s: listener %s: %w", name, err)
		}
		for _, l := range list {
			s.engine.tasks.Go(func() {
				if err := s.engine.Serve(l, name == ListenerTLS); err != nil {
					s.engine.log.Error("connections of other servers are not accepted any more", "listener", name, "error", err)
				}
			})
		}
	}
	return nil
}

// process is the Kernel of the process.
type process struct {
	served       []string // in order; set by start, before any stream
	own          string   // the default domain; likewise
	certificates *certificates
}

// Ours implements Kernel.
func (p *process) Ours(domain string) bool {
	_, there := slices.BinarySearch(p.served, domain)
	return there
}

// Do implements Kernel.
func (p *process) Do(ctx context.Context, key string, fn func(h *extension.Host) error) error {
	return plugin.Do(ctx, key, fn)
}

// Certificate implements Kernel. One that was asked for less than a minute ago is not asked for again.
func (p *process) Certificate(ctx context.Context, domain string) (*tls.Certificate, error) {
	return p.certificates.get(ctx, domain)
}

// dialer is a Dialer.
type dialer struct{ *resolve.Resolver }

// Connect implements Dialer.
func (d dialer) Connect(ctx context.Context, domain string, try func(ctx context.Context, conn net.Conn, direct bool) error) error {
	err := d.Resolver.Connect(ctx, domain, try)
	if errors.Is(err, resolve.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
