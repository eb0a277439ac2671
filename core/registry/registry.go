// Package registry knows who claimed what: namespaces of iq payloads, domains,
// stream features, disco features. It is filled once, at start, and answers
// service discovery (XEP-0030) from exactly that: what is not registered is
// not advertised, and what is advertised has a handler.
package registry

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Registry does not change after New and can be used by any goroutine.
type Registry struct {
	domains    []string
	iq         map[key][]Claim
	elements   map[extension.Name]Element
	components map[string]*Component // by domain
	far        *host.Guest           // who claims far domains; nil: nobody
	guests     []*host.Guest
	paths      map[string]string // of HTTP, and whose they are
	server     info
	account    info
	caps       caps.C // of the server
}

type key struct{ space, local, typ string }

// Claim is an iq handler and whose it is.
type Claim struct {
	Guest   *host.Guest
	Handler *extension.IQHandler
	// Index is its place in the list of its registration, or of the component of this
	// index; -1 for none: the handler is the registry's own.
	Index, Component int
}

// Elsewhere says whether the handler is to be asked by an event.
func (c *Claim) Elsewhere() bool { return c.Index >= 0 && c.Guest.Elsewhere() }

// Component is a component on one of its domains.
type Component struct {
	Guest *host.Guest
	Spec  *extension.Component
	Index int // in the list of its registration
	JID   jid.JID
	// hosted is the domain that lists it in its disco#items; "" for a component
	// whose domain does not depend on one: all of them do.
	hosted string
	iq     map[key]Claim
	info   info
}

// New registers extensions for the hosted domains. An error names both sides
// of a conflict.
func New(hosts *host.Hosts, domains []string, regs []extension.Registration) (*Registry, error) {
	r := &Registry{domains: domains, iq: map[key][]Claim{}, elements: map[extension.Name]Element{}, components: map[string]*Component{}, paths: map[string]string{}}
	regs = append([]extension.Registration{r.disco()}, regs...)
	for i := range regs {
		if err := r.register(hosts, &regs[i]); err != nil {
			return nil, err
		}
	}
	r.server = newInfo(identity("server", "im", "hexmpp"), regs, func(x *extension.Registration) extension.Disco { return x.Server })
	r.account = newInfo(identity("account", "registered", ""), regs, func(x *extension.Registration) extension.Disco { return x.Account })
	var err error
	r.caps, err = newCaps(r.server)
	return r, err
}

func (r *Registry) register(hosts *host.Hosts, reg *extension.Registration) error {
	if reg.Name == "" {
		return fmt.Errorf("registry: an extension without a name")
	}
	for _, g := range r.guests {
		if g.Reg.Name == reg.Name {
			return fmt.Errorf("registry: two extensions are called %q", reg.Name)
		}
	}
	if err := checkStages(reg); err != nil {
		return err
	}
	if err := checkRemote(reg); err != nil {
		return err
	}
	if err := r.checkHTTP(reg); err != nil {
		return err
	}
	if err := r.checkFar(reg); err != nil {
		return err
	}
	own, err := r.componentDomains(reg)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range own {
		names = append(names, c.JID.Domain())
	}
	// In-process extensions are part of the server that the administrator
	// chose: what their registration asks for is granted.
	g := hosts.NewGuest(reg, reg.Permissions, names)
	r.guests = append(r.guests, g)
	if reg.Far != nil {
		r.far = g
	}
	for i := range reg.IQ {
		if err := r.claim(g, i); err != nil {
			return err
		}
	}
	if err := r.addElements(g); err != nil {
		return err
	}
	for _, c := range own {
		c.Guest = g
		if err := r.addComponent(c); err != nil {
			return err
		}
	}
	return nil
}

// claim notes an iq handler; two handlers may share a payload only if they
// answer for different addressees.
func (r *Registry) claim(g *host.Guest, index int) error {
	h := &g.Reg.IQ[index]
	if h.Handle == nil && !g.Elsewhere() || h.To == 0 || h.Local == "" {
		return fmt.Errorf("registry: %s: an iq handler needs a payload name, addressees and a function: <%s xmlns='%s'/>", g.Reg.Name, h.Local, h.Space)
	}
	if h.Inline && h.Ordered {
		return fmt.Errorf("registry: %s: an iq handler that is Ordered may have to wait, and can't be Inline: <%s xmlns='%s'/>", g.Reg.Name, h.Local, h.Space)
	}
	for _, typ := range types(h) {
		k := key{h.Space, h.Local, typ}
		for _, other := range r.iq[k] {
			if other.Handler.To&h.To != 0 {
				return fmt.Errorf("registry: %s and %s both claim iq %s <%s xmlns='%s'/>",
					other.Guest.Reg.Name, g.Reg.Name, typ, h.Local, h.Space)
			}
		}
		r.iq[k] = append(r.iq[k], Claim{Guest: g, Handler: h, Index: index, Component: -1})
	}
	return nil
}

func types(h *extension.IQHandler) []string {
	if h.Type == "" {
		return []string{stanza.Get, stanza.Set}
	}
	return []string{h.Type}
}

func (r *Registry) componentDomains(reg *extension.Registration) ([]*Component, error) {
	var own []*Component
	for i := range reg.Components {
		spec := &reg.Components[i]
		hosted := r.domains
		if !strings.Contains(spec.Domain, "$domain") {
			hosted = []string{""}
		}
		for _, d := range hosted {
			j, err := jid.Parse(strings.ReplaceAll(spec.Domain, "$domain", d))
			if err != nil || j.Local() != "" || !j.IsBare() {
				return nil, fmt.Errorf("registry: %s: %q is not a domain", reg.Name, spec.Domain)
			}
			own = append(own, &Component{Spec: spec, Index: i, JID: j, hosted: d, iq: map[key]Claim{}})
		}
	}
	return own, nil
}

func (r *Registry) addComponent(c *Component) error {
	d := c.JID.Domain()
	if r.Hosted(d) {
		return fmt.Errorf("registry: %s claims %s, which is a hosted domain", c.Guest.Reg.Name, d)
	}
	if other := r.components[d]; other != nil {
		return fmt.Errorf("registry: %s and %s both claim the domain %s", other.Guest.Reg.Name, c.Guest.Reg.Name, d)
	}
	for i := range c.Spec.IQ {
		h := &c.Spec.IQ[i]
		if h.Handle == nil && !c.Guest.Elsewhere() || h.Local == "" {
			return fmt.Errorf("registry: %s: an iq handler of %s needs a payload name and a function: <%s xmlns='%s'/>", c.Guest.Reg.Name, d, h.Local, h.Space)
		}
		for _, typ := range types(h) {
			if _, there := c.iq[key{h.Space, h.Local, typ}]; there {
				return fmt.Errorf("registry: %s has two handlers of %s for iq %s <%s xmlns='%s'/>", c.Guest.Reg.Name, d, typ, h.Local, h.Space)
			}
			c.iq[key{h.Space, h.Local, typ}] = Claim{Guest: c.Guest, Handler: h, Index: i, Component: c.Index}
		}
	}
	c.info = newInfo(nil, []extension.Registration{{Account: c.Spec.Disco}}, func(x *extension.Registration) extension.Disco { return x.Account })
	r.components[d] = c
	return nil
}

// Guests returns the extensions in the order of their registration.
func (r *Registry) Guests() []*host.Guest { return r.guests }

// Hosted says whether a domain is one of ours.
func (r *Registry) Hosted(domain string) bool { return slices.Contains(r.domains, domain) }

// Default returns the first hosted domain.
func (r *Registry) Default() string { return r.domains[0] }

// Component returns who answers for a domain, nil if nobody does.
func (r *Registry) Component(domain string) *Component { return r.components[domain] }

// IQ returns who answers a request with this payload to this kind of addressee.
func (r *Registry) IQ(c stanza.Child, typ string, to extension.To) (Claim, bool) {
	for _, claim := range r.iq[key{c.Space, c.Local, typ}] {
		if claim.Handler.To&to != 0 {
			return claim, true
		}
	}
	return Claim{}, false
}

// IQ returns who answers a request to the component's domain.
func (c *Component) IQ(child stanza.Child, typ string) (Claim, bool) {
	claim, ok := c.iq[key{child.Space, child.Local, typ}]
	return claim, ok
}

// StreamFeatures returns what extensions add to <stream:features/>, before or
// after login; before, where logins are allowed.
func (r *Registry) StreamFeatures(domain string, before bool) []*stanza.Element {
	var out []*stanza.Element
	for _, g := range r.guests {
		for _, f := range g.Reg.StreamFeatures {
			if f.Before != before {
				continue
			}
			if e := f.Element(domain); e != nil {
				out = append(out, e)
			}
		}
	}
	return out
}
