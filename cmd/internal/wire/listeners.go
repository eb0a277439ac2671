package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/certs"
	"github.com/hexmpp/hexmpp/adapters/metrics"
	"github.com/hexmpp/hexmpp/adapters/tcp"
	"github.com/hexmpp/hexmpp/adapters/websocket"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

// Listeners are the sockets that clients connect to, and their certificates.
var Listeners = fx.Module("listeners", fx.Provide(newCerts, newListeners))

func newCerts(c *config.Config, log *zap.Logger) (*certs.Store, error) {
	// The folder in the data folder is made, so that an administrator finds where
	// certificates belong; one that the configuration names must be there.
	if ownCerts(c) {
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
	config  *config.Config
	kernel  *kernel
	certs   *certs.Store
	metrics *metrics.Metrics
	log     *zap.Logger

	server *tcp.Server   // nil until Start
	adopts chan struct{} // closed when server takes connections that come by HTTP
}

func newListeners(c *config.Config, k *kernel, certificates *certs.Store, m *metrics.Metrics, log *zap.Logger) *listeners {
	return &listeners{config: c, kernel: k, certs: certificates, metrics: m, log: log.Named("tcp"), adopts: make(chan struct{})}
}

// Keys of the configuration.
const (
	keyC2S    = "listen.c2s"
	keyC2STLS = "listen.c2s-tls"
)

// Addrs returns the bound addresses; after Start.
func (l *listeners) Addrs() (c2s, c2sTLS []string) { return l.addrs(keyC2S), l.addrs(keyC2STLS) }

func (l *listeners) addrs(key string) (list []string) {
	if l.server == nil {
		return nil
	}
	for _, a := range l.server.Addrs(key) {
		list = append(list, a.String())
	}
	return list
}

// Start binds the addresses and serves clients from then on.
func (l *listeners) Start(ctx context.Context) error {
	o := tcp.Options{
		GetCertificate: l.certs.GetCertificate,
		// All of it: some clients ask their user in the middle of a handshake
		// whether to trust the certificate.
		HandshakeTimeout: l.config.Limits.UnauthenticatedTime,
		MaxConnections:   l.config.Limits.Connections,
		MaxPerAddress:    l.config.Limits.ConnectionsPerAddress,
		ConnectRate:      l.config.Limits.ConnectionsPerSecond,
	}
	if !l.config.Limits.Rates {
		o.MaxPerAddress, o.ConnectRate = 0, 0
	}
	for _, address := range l.config.Listen.C2S {
		o.Listeners = append(o.Listeners, tcp.Listener{Key: keyC2S, Addr: address})
	}
	for _, address := range l.config.Listen.C2STLS {
		o.Listeners = append(o.Listeners, tcp.Listener{Key: keyC2STLS, Addr: address, DirectTLS: true})
	}
	o.Adopts = l.config.HTTP.WebSocket && len(l.config.Listen.HTTP)+len(l.config.Listen.HTTPS) > 0
	if len(o.Listeners) == 0 && !o.Adopts {
		return nil // config.Warnings has told
	}
	server, err := tcp.New(o, tcp.Deps{NewStream: l.kernel.NewStream, Log: l.log, Observe: l.metrics.Connections()})
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return err
	}
	l.server = server
	close(l.adopts)
	return nil
}

// startsWithin is how long a request by HTTP, which is listened to first, waits for
// the start of what takes its connection.
const startsWithin = 5 * time.Second

// Reserve is room for a connection that comes by HTTP; from any goroutine, also
// before Start.
func (l *listeners) Reserve(peer netip.AddrPort) (websocket.Place, error) {
	late := time.NewTimer(startsWithin)
	defer late.Stop()
	select {
	case <-l.adopts:
	case <-late.C:
		return nil, errors.New("the server starts")
	}
	p, err := l.server.Reserve(peer)
	if err != nil {
		return nil, err
	}
	return p, nil
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
