package wire

import (
	"net/http"
	"net/netip"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/httpd"
	"github.com/hexmpp/hexmpp/adapters/metrics"
	"github.com/hexmpp/hexmpp/adapters/tcp"
	"github.com/hexmpp/hexmpp/adapters/websocket"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// HTTP is the HTTP listener and what it serves.
var HTTP = fx.Module("http", fx.Provide(newHTTP))

func newHTTP(lc fx.Lifecycle, c *config.Config, m *metrics.Metrics, k *kernel, store storage.Store, sp storage.Spool, procs *processes, x extensions, clients *listeners, log *zap.Logger) (*httpd.Server, error) {
	m.Watch(k.Gauges)
	if procs.host != nil {
		m.WatchPlugins(procs.host.Observe)
	}
	s := httpd.New(httpd.Options{
		Addresses: c.Listen.HTTP, Secure: c.Listen.HTTPS, Proxies: c.HTTP.Proxies,
		TLS: tcp.NewFront(clients.certs.GetCertificate, "http/1.1").Server,
	}, log.Named("http"))
	s.Handle("GET /metrics", httpd.From(c.Metrics.From, m.Handler()))
	s.Handle("GET /health", &health{store: store, spool: sp, procs: procs, log: log.Named("http")})
	s.Handle("GET /health/live", http.HandlerFunc(live))
	for i := range x.Registrations {
		for _, route := range x.Registrations[i].HTTP {
			s.Handle(route.Path, httpd.Unproxied(route.Handler))
		}
	}
	if c.HTTP.WebSocket {
		web := &websocket.Handler{
			Reserve: clients.Reserve, NewStream: k.NewStream, Origins: c.HTTP.Origins, Log: log.Named("websocket"),
			Client: func(r *http.Request) (netip.AddrPort, bool, bool) {
				client := httpd.ClientOf(r)
				return client.Addr, client.Private, client.Proxied
			},
		}
		s.Handle(webSocketPath, web)
		meta := &hostMeta{url: c.HTTP.URL}
		s.Handle("GET /.well-known/host-meta", meta)
		s.Handle("GET /.well-known/host-meta.json", meta)
	}
	return s, serveChat(c, s, x, lc)
}
