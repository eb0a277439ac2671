package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of what is on its way to far domains: waits, or is with the extension that claims
// them. A domain whose server is away has an eighth of what is left of the whole at most: so however
// many there are of that kind, there is something left for others.
const (
	maxFarEvents   = 65_536
	maxFarBytes    = 64 << 20
	maxDomain      = 8_192 // events of one domain, and
	maxDomainBytes = 8 << 20
	farShare       = 8
)

// far is what is on its way to far domains.
type far struct {
	mu      sync.Mutex // held while an event is dispatched: IDs of a domain grow in its order
	domains map[string]*farDomain
	events  int
	bytes   int
}

type farDomain struct{ events, bytes int }

// Far says whether a domain is a far one: neither hosted, nor a component's, nor a subdomain of a
// hosted one.
func (h *Hosts) Far(domain string) bool {
	return domain != "" && !h.ours(domain) &&
		!slices.ContainsFunc(h.Domains, func(d string) bool { return strings.HasSuffix(domain, "."+d) })
}

// ours says whether somebody here answers for a domain.
func (h *Hosts) ours(domain string) bool {
	return slices.Contains(h.Domains, domain) || h.components[domain]
}

// Far is Hosts.Far.
func (g *Guest) Far(domain string) bool { return g.hosts.Far(domain) }

// take counts one more event, if there is room for it. f.mu is held.
func (f *far) take(domain string, size int) error {
	d := f.domains[domain]
	if d == nil {
		d = &farDomain{}
	}
	events, bytes := maxFarEvents-f.events, maxFarBytes-f.bytes
	switch {
	case events <= 0 || size > bytes:
		return fmt.Errorf("%w: %d stanzas for far domains", extension.ErrFull, f.events)
	case d.events > 0 && (d.events >= min(maxDomain, events/farShare) || d.bytes+size > min(maxDomainBytes, bytes/farShare)):
		return fmt.Errorf("%w: %d stanzas for %s", extension.ErrFull, d.events, domain)
	}
	if f.domains == nil {
		f.domains = map[string]*farDomain{}
	}
	f.domains[domain] = d
	f.count(domain, d, 1, size)
	return nil
}

// count counts events up or down. f.mu is held.
func (f *far) count(domain string, d *farDomain, events, bytes int) {
	f.events += events
	f.bytes += bytes
	d.events += events
	if d.bytes += bytes; d.events == 0 {
		delete(f.domains, domain)
	}
}

// DispatchFar is Dispatch of an event of the kind ToFar, whose Far has all but an ID. ErrFull: too much waits
// for its domain, or for all.
func (g *Guest) DispatchFar(e *Event, o extension.Origin) error {
	f, domain, size := &g.hosts.far, e.Far.Domain, farSize(e.Far)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.take(domain, size); err != nil {
		g.hosts.Remote.Dispatched(g.Reg.Name, e.Kind.String(), err)
		return err
	}
	over := e.Over
	e.Over = func(b *transport.Batch) {
		f.leave(domain, size)
		if over != nil {
			over(b)
		}
	}
	e.Far.ID = g.hosts.ids.Next()
	err := g.Dispatch(e, o)
	if err != nil {
		e.Over = over
		f.count(domain, f.domains[domain], -1, -size)
	}
	return err
}

// leave counts an event that is at its end.
func (f *far) leave(domain string, size int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count(domain, f.domains[domain], -1, -size)
}

// farSize is about what an event holds in memory.
func farSize(e *extension.FarEvent) int {
	n := 1024 + e.Stanza.Size()
	for _, to := range e.Recipients {
		n += 64 + len(to.String())
	}
	return n
}

// FarError is what the sender of a stanza to a far domain is told of an error.
func FarError(err error) *stanza.Error {
	var told *stanza.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, extension.ErrFull):
		return &stanza.Error{Type: stanza.WaitType, Condition: stanza.ResourceConstraint, Text: "too much waits for that server; send it again later"}
	case errors.Is(err, extension.ErrDown):
		return &stanza.Error{Type: stanza.WaitType, Condition: stanza.RemoteServerTimeout, Text: "other servers are not reached at the moment; send it again later"}
	}
	return stanza.Err(stanza.InternalServerError, "")
}

// fromFar says whether the guest that claims far domains may send a stanza.
func (g *Guest) fromFar(s *stanza.Stanza) error {
	switch {
	case s.From.IsZero() || !g.hosts.Far(s.From.Domain()):
		return fmt.Errorf("%w: %s claims far domains, and may not send from %q: send from a far domain", extension.ErrPermission, g.Reg.Name, s.From)
	case !g.hosts.ours(s.To.Domain()):
		return fmt.Errorf("%w: %s may not send to %q: what is from a far domain is for those that are here", extension.ErrPermission, g.Reg.Name, s.To)
	}
	return nil
}

// maxRecipients is how many copies an event has.
const maxRecipients = 500

// farCopies are copies of a cast for far domains: for those of one domain that get the
// same they are one event.
type farCopies struct {
	of   map[farCopy]int // place in all
	all  []farCopy
	whom [][]jid.JID
}

type farCopy struct {
	domain string
	stanza *stanza.Stanza
	from   jid.JID // instead of the stanza's, unless zero
}

func (f *farCopies) add(c *Copy) {
	what := farCopy{c.To.Domain(), c.Stanza, c.From}
	i, there := f.of[what]
	if !there || len(f.whom[i]) >= maxRecipients {
		if f.of == nil {
			f.of = map[farCopy]int{}
		}
		i = len(f.all)
		f.of[what] = i
		f.all, f.whom = append(f.all, what), append(f.whom, nil)
	}
	f.whom[i] = append(f.whom[i], c.To)
}

// made is the stanza as it goes out, without a to.
func (c *farCopy) made() *stanza.Stanza {
	if c.from.IsZero() {
		return c.stanza
	}
	h := c.stanza.Header
	h.From = c.from
	return c.stanza.With(h)
}
