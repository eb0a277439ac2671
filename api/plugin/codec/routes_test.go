package codec

import (
	"errors"
	"strings"
	"testing"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

func TestRoutesOfAManifest(t *testing.T) {
	m := &pluginv1.Manifest{Name: "web", Permissions: []string{"serve-http"}}
	for _, good := range []string{"/", "/http-bind", "/files/", "/a/b.c", "/metricsandmore"} {
		m.HttpRoutes = []*pluginv1.HttpRoute{{Path: good}}
		if _, err := Registration(m); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a", "/a b", "GET /a", "/{x}", "/a/../b", "//", "/a//", "/./", "/ä", "/a%2f", "/a?b", "/metrics", "/health/live", "/xmpp-websocket", "/" + strings.Repeat("x", 255)} {
		m.HttpRoutes = []*pluginv1.HttpRoute{{Path: bad}}
		if _, err := Registration(m); err == nil || !strings.Contains(err.Error(), "http_routes[0].path") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	m.HttpRoutes = []*pluginv1.HttpRoute{{Path: "/a"}, {Path: "/a"}}
	if _, err := Registration(m); err == nil {
		t.Error("a path is there twice")
	}
	m.HttpRoutes = []*pluginv1.HttpRoute{{Path: "/a", TlsOnly: true}}
	if _, err := Registration(m); !errors.Is(err, ErrNotYet) {
		t.Errorf("tls_only: %v", err)
	}
	m.HttpRoutes, m.Permissions = m.HttpRoutes[:1], nil
	m.HttpRoutes[0].TlsOnly = false
	if _, err := Registration(m); err == nil || !strings.Contains(err.Error(), "serve-http") {
		t.Errorf("without the permission: %v", err)
	}
}
