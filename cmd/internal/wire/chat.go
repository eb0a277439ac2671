package wire

import (
	"fmt"
	"net"

	"go.uber.org/fx"

	"github.com/hexmpp/hexmpp/adapters/httpd"
	"github.com/hexmpp/hexmpp/adapters/webchat"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

// serveChat mounts the chat for browsers, if it is wanted, below whatever else
// is served.
func serveChat(c *config.Config, s *httpd.Server, x extensions, lc fx.Lifecycle) error {
	if !c.Web.Chat {
		return nil
	}
	for i := range x.Registrations {
		for _, route := range x.Registrations[i].HTTP {
			if route.Path == "/" {
				return fmt.Errorf("web.chat: the plugin %s serves / already: switch one of them off", x.Registrations[i].Name)
			}
		}
	}
	chat, err := webchat.New(webchat.Options{Domains: c.Domains, WebSocket: webSocketPath, Converse: c.Web.Converse})
	if err != nil {
		return fmt.Errorf("web.converse: %w", err)
	}
	lc.Append(fx.StopHook(chat.Close))
	s.Handle("/", chat)
	return nil
}

// chatLine is what the first start prints about the chat, "" if there is none.
func (p *parts) chatLine() string {
	if addrs := p.HTTP.Addrs(); p.Config.Web.Chat && len(addrs) > 0 {
		if _, port, err := net.SplitHostPort(addrs[0]); err == nil {
			return fmt.Sprintf("    chat      http://localhost:%s/ (in a browser)\n", port)
		}
	}
	return ""
}
