package registry

import (
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// checkFar checks a claim to far domains.
func (r *Registry) checkFar(reg *extension.Registration) error {
	switch {
	case reg.Far == nil:
		return nil
	case r.far != nil:
		return fmt.Errorf("registry: %s and %s both claim far domains", r.far.Reg.Name, reg.Name)
	case !slices.Contains(reg.Permissions, extension.FarDomains):
		return fmt.Errorf("registry: %s claims far domains but does not ask for the permission %q", reg.Name, extension.FarDomains)
	case reg.Remote == nil:
		return fmt.Errorf("registry: %s claims far domains: that takes a process of its own, or what plugin.Inside makes of a registration", reg.Name)
	}
	return nil
}

// Far returns who takes what goes to a domain that is neither hosted nor claimed. nil:
// nobody claims far domains, or this is none (host.Hosts.Far).
func (r *Registry) Far(domain string) *host.Guest {
	if r.far == nil || !r.far.Far(domain) {
		return nil
	}
	return r.far
}
