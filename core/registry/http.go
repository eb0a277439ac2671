package registry

import (
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// checkHTTP checks claims to paths of the HTTP listeners.
func (r *Registry) checkHTTP(reg *extension.Registration) error {
	for i, route := range reg.HTTP {
		switch who, claimed := r.paths[route.Path]; {
		case claimed:
			return fmt.Errorf("registry: %s and %s both claim the HTTP path %s", who, reg.Name, route.Path)
		case !slices.Contains(reg.Permissions, extension.ServeHTTP):
			return fmt.Errorf("registry: %s claims the HTTP path %s but does not ask for the permission %q", reg.Name, route.Path, extension.ServeHTTP)
		case route.Handler == nil:
			return fmt.Errorf("registry: %s claims the HTTP path %s and has no handler", reg.Name, route.Path)
		case slices.ContainsFunc(reg.HTTP[:i], func(o extension.Route) bool { return o.Path == route.Path }):
			return fmt.Errorf("registry: %s claims the HTTP path %s twice", reg.Name, route.Path)
		}
	}
	for _, route := range reg.HTTP {
		r.paths[route.Path] = reg.Name
	}
	return nil
}
