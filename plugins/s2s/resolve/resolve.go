// Package resolve finds the servers of a domain (RFC 6120 3.2, XEP-0368), and connects to them
// (RFC 8305, XEP-0495).
//
// Decided, where the specifications leave it open:
//
//   - where the question for SRV records has no answer (a time-out, SERVFAIL) the address of the domain is tried,
//     as RFC 6120 3.2.1 says, unless the answer for the other kind of them (XEP-0368) is that there is no server;
//     that it fails, too, is no sign that the domain has none;
//   - a domain with SRV records that name targets, none of which can be reached, has no fallback (3.2.1, 8);
//   - priorities are kept: only when all servers of one have failed those of the next are tried (XEP-0495 4.1);
//   - IPv6 comes first, whatever addresses this machine has: where they can't be reached the system says so at
//     once.
package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// ErrNotFound is wrapped where a domain does not exist, or has no XMPP server: an error that stays.
// Others may be over soon.
var ErrNotFound = errors.New("resolve: the domain has no XMPP server")

// port is that of servers without SRV records (RFC 6120 14.7).
const port = 5269

// Bounds of what a domain may name.
const (
	maxTargets   = 20 // of both kinds together
	maxAddresses = 8  // of a target, in one family
	maxTries     = 30 // connections that Connect begins
)

// srvTime is how long the question for SRV records may take.
const srvTime = 10 * time.Second

// Target is a server of a domain.
type Target struct {
	Host      string // name without a final dot, or IP address
	Port      uint16
	DirectTLS bool // TLS comes first (XEP-0368)
	Priority  uint16
	Weight    uint16

	unsure bool // there may be other SRV records: not all questions were answered
}

func (t Target) String() string {
	kind := "STARTTLS"
	if t.DirectTLS {
		kind = "direct TLS"
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port))) + " (" + kind + ")"
}

// Resolver finds servers. Its methods may be called by any goroutine.
type Resolver struct {
	// DNS answers questions; nil: the nameservers of the system. It should have PreferGo: other look-ups don't end when
	// they are not waited for any more.
	DNS *net.Resolver
	// Overrides say where domains are, in place of DNS: DOMAIN to HOST:PORT.
	Overrides map[string]string
}

var system = &net.Resolver{PreferGo: true}

func (r *Resolver) dns() *net.Resolver {
	if r.DNS == nil {
		return system
	}
	return r.DNS
}

type traceKey struct{}

// WithTrace returns a context by which an administrator is told of each step. told is called by one
// goroutine at a time.
func WithTrace(ctx context.Context, told func(step string)) context.Context {
	var mu sync.Mutex
	return context.WithValue(ctx, traceKey{}, func(step string) {
		mu.Lock()
		defer mu.Unlock()
		told(step)
	})
}

func trace(ctx context.Context, format string, args ...any) {
	if told, ok := ctx.Value(traceKey{}).(func(string)); ok {
		told(fmt.Sprintf(format, args...))
	}
}

// Targets returns the servers of a domain, which is as in jid.JID.Domain, in the order in which they are to be tried.
func (r *Resolver) Targets(ctx context.Context, domain string) ([]Target, error) {
	if at, ok := r.Overrides[domain]; ok {
		t, err := override(at)
		if err != nil {
			return nil, fmt.Errorf("resolve: the override of %s: %w", domain, err)
		}
		trace(ctx, "the configuration says that %s is at %s", domain, t)
		return []Target{t}, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(domain, "[]")); err == nil {
		trace(ctx, "%s is an address", domain)
		return []Target{{Host: a.String(), Port: port}}, nil
	}
	name, err := jid.DomainToASCII(domain)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is no name of the DNS: %w", ErrNotFound, domain, err)
	}
	list, absent, failed := r.services(ctx, name)
	switch {
	case len(list) > 0:
		return ordered(list), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("resolve: %s: %w", domain, errors.Join(ctx.Err(), failed))
	case absent && failed != nil: // what is left to know is whether there are others
		return nil, fmt.Errorf("resolve: %s has no server for one kind of TLS, and for the other: %w", domain, failed)
	case absent:
		return nil, fmt.Errorf("%w: the SRV records of %s say so", ErrNotFound, domain)
	}
	trace(ctx, "the address of %s is taken, port %d", name, port)
	return []Target{{Host: name, Port: port, unsure: failed != nil}}, nil
}

// override reads HOST:PORT.
func override(at string) (Target, error) {
	host, number, err := net.SplitHostPort(at)
	if err != nil {
		return Target{}, err
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || host == "" {
		return Target{}, fmt.Errorf("%q is not HOST:PORT", at)
	}
	return Target{Host: host, Port: uint16(n)}, nil
}

// services asks for SRV records. absent says that there are some, and that all of them say that there is no
// server (RFC 2782: the target is the root). failed is why one of the questions has no answer.
func (r *Resolver) services(ctx context.Context, name string) (list []Target, absent bool, failed error) {
	ctx, cancel := context.WithTimeout(ctx, srvTime)
	defer cancel()
	type answer struct {
		records []*net.SRV
		err     error
	}
	kinds := [...]string{"_xmpp-server._tcp.", "_xmpps-server._tcp."}
	var answers [len(kinds)]answer
	var all sync.WaitGroup
	for i, kind := range kinds {
		all.Go(func() {
			_, records, err := r.dns().LookupSRV(ctx, "", "", kind+name+".")
			answers[i] = answer{records, err}
		})
	}
	all.Wait()
	for i, a := range answers {
		var none *net.DNSError
		switch {
		case len(a.records) > 0: // others than those that can't be used, of which the error is
		case errors.As(a.err, &none) && none.IsNotFound:
			trace(ctx, "%s%s: no record", kinds[i], name)
		case a.err != nil:
			failed = errors.Join(failed, a.err)
			trace(ctx, "%s%s: %v", kinds[i], name, a.err)
		}
		for _, rec := range a.records {
			host := strings.TrimSuffix(rec.Target, ".")
			trace(ctx, "%s%s: priority %d, weight %d, %s port %d", kinds[i], name, rec.Priority, rec.Weight, rec.Target, rec.Port)
			if host == "" || rec.Port == 0 {
				absent = true
				continue
			}
			list = append(list, Target{Host: host, Port: rec.Port, DirectTLS: i == 1, Priority: rec.Priority, Weight: rec.Weight})
		}
	}
	for i := range list {
		list[i].unsure = failed != nil
	}
	return list, absent, failed
}

// ordered orders servers by priority, and those of one by chance, in proportion to their weights
// (RFC 2782; XEP-0368 3: of both kinds together).
func ordered(list []Target) []Target {
	slices.SortStableFunc(list, func(a, b Target) int {
		// Those without weight come first: then they have a small chance (RFC 2782).
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(min(a.Weight, 1), min(b.Weight, 1)))
	})
	out := make([]Target, 0, len(list))
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Priority == list[0].Priority {
			n++
		}
		sum := 0
		for _, t := range list[:n] {
			sum += int(t.Weight)
		}
		place, pick := rand.IntN(sum+1), 0
		for so := int(list[0].Weight); so < place; so += int(list[pick].Weight) {
			pick++
		}
		out = append(out, list[pick])
		list = slices.Delete(list, pick, pick+1)
	}
	return out[:min(len(out), maxTargets)]
}
