package codec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// readRoutes reads the HTTP routes of a manifest. Their handlers are the Remote's.
func readRoutes(list []*pluginv1.HttpRoute) ([]extension.Route, error) {
	var out []extension.Route
	for i, m := range list {
		r := extension.Route{Path: m.GetPath(), Repeatable: m.GetRepeatable()}
		if err := checkPath(r.Path); err != nil {
			return nil, at("http_routes", i, in("path", err))
		}
		switch {
		case m.GetTlsOnly():
			return nil, at("http_routes", i, in("tls_only", ErrNotYet))
		case slices.ContainsFunc(out, func(other extension.Route) bool { return other.Path == r.Path }):
			return nil, at("http_routes", i, wrong("path", "%q is there twice", r.Path))
		}
		out = append(out, r)
	}
	return out, nil
}

const maxPath = 255

// reservedPaths are the server's own.
var reservedPaths = []string{"/metrics", "/health", "/xmpp-websocket", "/.well-known/host-meta", "/.well-known/host-meta.json"}

// checkPath says why a path can't be a plugin's: it is a pattern of http.ServeMux that stands for itself.
func checkPath(p string) error {
	clean := strings.TrimSuffix(p, "/")
	switch {
	case p == "":
		return errMissing
	case len(p) > maxPath || !strings.HasPrefix(p, "/"):
		return fmt.Errorf("%.40q: a path begins with a slash, and has %d bytes at most", p, maxPath)
	case strings.IndexFunc(p, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("{}%?#\\", r) }) >= 0:
		return fmt.Errorf("%.40q: a path is plain ASCII", p)
	case p != "/" && path.Clean(p) != clean || strings.Contains(p, "//"):
		return fmt.Errorf("%.40q: there are dots or slashes too many", p)
	}
	for _, r := range reservedPaths {
		if clean == r || strings.HasPrefix(clean, r+"/") {
			return fmt.Errorf("%q is the server's own", p)
		}
	}
	return nil
}
