package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Times of RFC 8305.
const (
	headStart       = 250 * time.Millisecond // that an address is tried alone (section 5)
	resolutionDelay = 50 * time.Millisecond  // that addresses wait for those that would be in front of them (section 3; XEP-0495 4.2)
)

// connectTime is how long one address may take.
const connectTime = 10 * time.Second

// query is for the addresses of one family of a server: the place of that in its group.
type query struct {
	target int
	six    bool
}

// answer is what came of a query.
type answer struct {
	query
	places []place
	err    error
}

// place is an address of a server.
type place struct {
	Target
	query
	rank int // among those of the query
	addr netip.AddrPort
}

// before orders addresses: by their servers, and those of one IPv6 and IPv4 in turn (RFC 8305 4, XEP-0495 4.3).
func before(a, b place) int {
	return cmp.Or(cmp.Compare(a.target, b.target), cmp.Compare(a.rank, b.rank), cmp.Compare(family(a), family(b)))
}

func family(p place) int {
	if p.six {
		return 0
	}
	return 1
}

// ask looks up addresses of one family.
func (r *Resolver) ask(ctx context.Context, q query, t Target) answer {
	a := answer{query: q}
	addrs, err := r.addresses(ctx, t.Host, q.six)
	if a.err = err; err != nil && !errors.Is(err, errNoAddress) {
		trace(ctx, "%s: %v", t.Host, err)
		a.err = fmt.Errorf("%s: %w", t.Host, err)
	}
	for i, addr := range addrs[:min(len(addrs), maxAddresses)] {
		a.places = append(a.places, place{t, q, i, netip.AddrPortFrom(addr.Unmap(), t.Port)})
	}
	return a
}

var errNoAddress = errors.New("no address")

// addresses returns those of a host; the error wraps errNoAddress where it is certain that there is none.
func (r *Resolver) addresses(ctx context.Context, host string, six bool) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Unmap().Is6() == six {
			return []netip.Addr{a}, nil
		}
		return nil, errNoAddress
	}
	network := "ip4"
	if six {
		network = "ip6"
	}
	if a, err := jid.DomainToASCII(host); err == nil {
		host = a // an override may have been written otherwise
	}
	list, err := r.dns().LookupNetIP(ctx, network, host+".") // the dot: no search domain of the system's is appended
	if none := (*net.DNSError)(nil); errors.As(err, &none) && none.IsNotFound || err == nil && len(list) == 0 {
		return nil, errNoAddress
	}
	return list, err
}

// chase connects to addresses, one after the other, with head starts (RFC 8305 5), while others are still being
// looked up. One goroutine owns it.
type chase struct {
	answers    <-chan answer
	unanswered map[query]bool
	missing    []query // for certain there is no address
	waiting    []place // in order
	left       *int    // addresses that may be tried
	failed     []error
	begun      bool // an address was tried: nobody waits for better ones any more
	known      map[way]bool
}

// way is how an address is connected to: two servers may have the same ones.
type way struct {
	addr   netip.AddrPort
	direct bool
}

// attempt is what came of an address.
type attempt struct {
	place
	conn net.Conn
	err  error
}

// next returns the first connection that is there, nil when there is no address left. Those that were being
// tried at that moment come again later.
func (c *chase) next(ctx context.Context) (conn net.Conn, at place) {
	trying, stop := context.WithCancel(ctx)
	var under []place // way
	results := make(chan attempt)
	defer func() {
		stop()
		for range len(under) { // those that have lost: they end at once
			a := <-results
			if a.conn != nil {
				a.conn.Close()
			}
			if conn != nil {
				c.wait(a.place)
			}
		}
	}()
	var better, later <-chan time.Time // for better addresses; until the next one is tried
	for {
		if c.ready() && later == nil {
			p := c.waiting[0]
			c.waiting, c.begun = c.waiting[1:], true
			*c.left--
			under = append(under, p)
			go func() {
				d := net.Dialer{Timeout: connectTime}
				conn, err := d.DialContext(trying, "tcp", p.addr.String())
				results <- attempt{p, conn, err}
			}()
			later = time.After(headStart)
		}
		if len(under) == 0 && len(c.unanswered) == 0 && (len(c.waiting) == 0 || *c.left == 0) {
			return nil, at
		}
		if len(c.waiting) > 0 && !c.begun && better == nil {
			better = time.After(resolutionDelay)
		}
		select {
		case a := <-c.answers:
			c.answered(a)
		case a := <-results:
			under = slices.DeleteFunc(under, func(p place) bool { return p == a.place })
			if a.err == nil {
				return a.conn, a.place
			}
			trace(ctx, "%s: %v", a.addr, a.err)
			c.failed = append(c.failed, fmt.Errorf("%s: %w", a.Target, a.err))
			later = nil
		case <-better:
			c.begun = true
		case <-later:
			later = nil
		case <-ctx.Done():
			return nil, at
		}
	}
}

// ready says whether the first address may be tried: nothing that would be in front of it is still being looked up, or
// that takes too long.
func (c *chase) ready() bool {
	if len(c.waiting) == 0 || *c.left == 0 {
		return false
	}
	first := c.waiting[0]
	for q := range c.unanswered {
		if !c.begun && (q.target < first.target || q.target == first.target && q.six) {
			return false
		}
	}
	return true
}

// answered takes an answer.
func (c *chase) answered(a answer) {
	delete(c.unanswered, a.query)
	switch {
	case errors.Is(a.err, errNoAddress):
		c.missing = append(c.missing, a.query)
	case a.err != nil:
		c.failed = append(c.failed, a.err)
	}
	for _, p := range a.places {
		if w := (way{p.addr, p.DirectTLS}); !c.known[w] {
			c.known[w] = true
			c.wait(p)
		}
	}
}

// wait has addresses tried later.
func (c *chase) wait(list ...place) {
	c.waiting = append(c.waiting, list...)
	slices.SortFunc(c.waiting, before)
}
