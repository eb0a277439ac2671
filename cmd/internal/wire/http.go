package wire

import (
	"fmt"
	"net/http"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/httpd"
	"github.com/hexmpp/hexmpp/adapters/metrics"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

// HTTP is the HTTP listener and what it serves.
var HTTP = fx.Module("http", fx.Provide(newHTTP))

func newHTTP(c *config.Config, m *metrics.Metrics, k *kernel, log *zap.Logger) *httpd.Server {
	m.Watch(k.Gauges)
	s := httpd.New(httpd.Options{Addresses: c.Listen.HTTP}, log.Named("http"))
	s.Handle("GET /metrics", httpd.From(c.Metrics.From, m.Handler()))
	s.Handle("GET /health", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "ok")
	}))
	return s
}
