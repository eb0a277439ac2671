package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/certs"
	"github.com/hexmpp/hexmpp/adapters/tcp"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

// Listeners are the sockets that clients connect to, and their certificates.
var Listeners = fx.Module("listeners", fx.Provide(newCerts, newListeners))

func newCerts(c *config.Config, log *zap.Logger) (*certs.Store, error) {
	// The folder in the data folder is made, so that an administrator finds where
	// certificates belong; one that the configuration names must be there.
	if c.TLS.Certificates == filepath.Join(c.Data, "certificates") {
		if err := os.MkdirAll(c.TLS.Certificates, 0o700); err != nil {
			return nil, fmt.Errorf("tls.certificates: %w", err)
		}
	}
	return certs.New(certs.Options{
		Dir: c.TLS.Certificates, Domains: c.Domains, SelfSignedDir: filepath.Join(c.Data, "certificates", "self-signed"),
	}, log.Named("certs"))
}

// cutOff is how long connections may take to close once the kernel has given
// up on them.
const cutOff = 2 * time.Second

// listeners binds the configured addresses and serves clients on them.
type listeners struct {
	config *config.Config
	kernel *kernel
	certs  *certs.Store
	log    *zap.Logger

	server      *tcp.Server // nil until Start
	c2s, c2sTLS []string
}

func newListeners(c *config.Config, k *kernel, certificates *certs.Store, log *zap.Logger) *listeners {
	return &listeners{config: c, kernel: k, certs: certificates, log: log.Named("tcp")}
}

// Addrs returns the bound addresses; after Start.
func (l *listeners) Addrs() (c2s, c2sTLS []string) { return l.c2s, l.c2sTLS }

// Start binds the addresses and serves clients from then on.
func (l *listeners) Start(ctx context.Context) error {
	o := tcp.Options{
		GetCertificate: l.certs.GetCertificate,
		MaxConnections: l.config.Limits.Connections,
		MaxPerAddress:  l.config.Limits.ConnectionsPerAddress,
	}
	if !l.config.Limits.Rates {
		o.MaxPerAddress = 0
	}
	err := errors.Join(
		l.bind(ctx, &o, "listen.c2s", l.config.Listen.C2S, false, &l.c2s),
		l.bind(ctx, &o, "listen.c2s-tls", l.config.Listen.C2STLS, true, &l.c2sTLS),
	)
	if err == nil && len(o.Listeners) == 0 {
		return nil // config.Warnings has told
	}
	var server *tcp.Server
	if err == nil {
		server, err = tcp.New(o, tcp.Deps{NewStream: l.kernel.NewStream, Log: l.log})
	}
	if err == nil {
		err = server.Start(ctx)
	}
	if err != nil {
		for _, bound := range o.Listeners {
			_ = bound.Listener.Close() // a second time for those that the server closed
		}
		return err
	}
	l.server = server
	return nil
}

// bind binds the addresses of one key. An address of a family that this machine
// does not have is left out if another one of the key can be bound.
func (l *listeners) bind(ctx context.Context, o *tcp.Options, key string, addresses []string, directTLS bool, bound *[]string) error {
	var missing []error
	for _, address := range addresses {
		var lc net.ListenConfig
		listener, err := lc.Listen(ctx, "tcp", address)
		switch {
		case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
			missing = append(missing, fmt.Errorf("%s: this machine does not have the address %s: %w", key, address, err))
			continue
		case errors.Is(err, syscall.EADDRINUSE):
			return fmt.Errorf("%s: %s is in use by another program: stop that one, or set %s to another port in the configuration (%w)", key, address, key, err)
		case errors.Is(err, syscall.EACCES):
			return fmt.Errorf("%s: this user may not listen on %s: set %s to a port from 1024 on, or grant CAP_NET_BIND_SERVICE (%w)", key, address, key, err)
		case err != nil:
			return fmt.Errorf("%s: %w", key, err)
		}
		o.Listeners = append(o.Listeners, tcp.Listener{Listener: listener, DirectTLS: directTLS})
		*bound = append(*bound, listener.Addr().String())
	}
	if len(*bound) == 0 {
		return errors.Join(missing...)
	}
	for _, err := range missing {
		l.log.Warn("an address is not listened on", zap.Error(err))
	}
	return nil
}

// Stop accepts no more connections, lets the kernel end all streams, for as
// long as the configuration allows, and cuts off those that are left.
func (l *listeners) Stop(ctx context.Context) error {
	if l.server != nil {
		l.server.StopAccepting()
	}
	drain, cancel := context.WithTimeout(ctx, l.config.Limits.ShutdownTime)
	defer cancel()
	err := l.kernel.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		l.log.Warn("clients did not close in time and are cut off", zap.Error(err))
		err = nil
	}
	if l.server == nil {
		return err
	}
	last, cancel := context.WithTimeout(ctx, cutOff)
	defer cancel()
	if stopErr := l.server.Stop(last); !errors.Is(stopErr, context.DeadlineExceeded) {
		err = errors.Join(err, stopErr)
	}
	return err
}
