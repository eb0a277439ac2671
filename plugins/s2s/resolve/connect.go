package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// headStart is how long an address is tried alone (RFC 8305 5).
const headStart = 250 * time.Millisecond

// connectTime is how long one address may take.
const connectTime = 10 * time.Second

// Connect connects to the servers of a domain, one after the other, until try returns nil for a
// connection; direct says that TLS comes first (XEP-0368). try closes what it does not take. The error
// wraps ErrNotFound where the domain has no server, and says what became of each.
func (r *Resolver) Connect(ctx context.Context, domain string, try func(ctx context.Context, conn net.Conn, direct bool) error) error {
	targets, err := r.Targets(ctx, domain)
	if err != nil {
		return err
	}
	var failed []error
	missing := true // all of them
	for len(targets) > 0 {
		n := 1
		for n < len(targets) && targets[n].Priority == targets[0].Priority {
			n++
		}
		err := r.group(ctx, targets[:n], try)
		if err == nil {
			return nil
		}
		failed = append(failed, err)
		missing = missing && errors.Is(err, ErrNotFound)
		if ctx.Err() != nil {
			break
		}
		targets = targets[n:]
	}
	err = fmt.Errorf("resolve: no connection to %s: %w", domain, errors.Join(failed...))
	if !missing {
		return &soft{err}
	}
	return err
}

// place is an address of a server.
type place struct {
	Target
	addr netip.AddrPort
}

// group tries servers of one priority: their addresses in the order of the servers.
func (r *Resolver) group(ctx context.Context, targets []Target, try func(ctx context.Context, conn net.Conn, direct bool) error) error {
	answers := make([]found, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() { answers[i] = r.addresses(ctx, t) })
	}
	all.Wait()
	var places []place
	var failed []error
	missing := 0
	for i := range answers {
		places = append(places, answers[i].places...)
		if err := answers[i].err; err != nil {
			failed = append(failed, err)
			if errors.Is(err, ErrNotFound) && !targets[i].unsure {
				missing++
			}
		}
	}
	for len(places) > 0 && ctx.Err() == nil {
		conn, at, rest, errs := race(ctx, places)
		failed = append(failed, errs...)
		if places = rest; conn == nil {
			break
		}
		trace(ctx, "connected to %s, which is %s", conn.RemoteAddr(), at.Target)
		if err := try(ctx, conn, at.DirectTLS); err != nil {
			failed = append(failed, fmt.Errorf("%s at %s: %w", at.Target, at.addr, err))
			continue
		}
		return nil
	}
	err := errors.Join(append(failed, ctx.Err())...)
	if missing < len(targets) && errors.Is(err, ErrNotFound) {
		return &soft{err} // others are there, and failed
	}
	return err
}

// soft is an error that is no ErrNotFound, though a part of it is.
type soft struct{ err error }

func (s *soft) Error() string { return s.err.Error() }

// Is hides ErrNotFound, and nothing else.
func (s *soft) Is(target error) bool { return target != ErrNotFound && errors.Is(s.err, target) }

// As is errors.As.
func (s *soft) As(target any) bool { return errors.As(s.err, target) }

// found are the addresses of a server.
type found struct {
	places []place
	err    error
}

// addresses returns those of a server: IPv6 and IPv4 in turn, the first of the kind that the system
// prefers (RFC 8305 4).
func (r *Resolver) addresses(ctx context.Context, t Target) (f found) {
	addrs, err := r.dns().LookupNetIP(ctx, "ip", lookupName(t.Host))
	var none *net.DNSError
	switch {
	case errors.As(err, &none) && none.IsNotFound:
		trace(ctx, "%s: no address", t.Host)
		f.err = fmt.Errorf("%w: %s has no address: %w", ErrNotFound, t.Host, err)
	case err != nil:
		trace(ctx, "%s: %v", t.Host, err)
		f.err = fmt.Errorf("%s: %w", t.Host, err)
	}
	for _, a := range interleaved(addrs) {
		f.places = append(f.places, place{t, netip.AddrPortFrom(a, t.Port)})
	}
	return f
}

// lookupName has no search domain of the system's appended.
func lookupName(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	return host + "."
}

// interleaved returns addresses of both families in turn, beginning with that of the first one.
func interleaved(addrs []netip.Addr) []netip.Addr {
	var same, other, out []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if a.Is4() == addrs[0].Unmap().Is4() {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	for len(same)+len(other) > 0 && len(out) < maxAddresses {
		if len(same) > 0 {
			out, same = append(out, same[0]), same[1:]
		}
		if len(other) > 0 {
			out, other = append(out, other[0]), other[1:]
		}
	}
	return out
}

// attempt is what came of an address.
type attempt struct {
	n    int
	conn net.Conn
	err  error
}

// race connects to the first address that answers: each is tried when the one before has failed, or has
// not answered for a moment. rest are those that were not tried, or were still being tried; errs is what
// became of the others.
func race(ctx context.Context, places []place) (conn net.Conn, at place, rest []place, errs []error) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan attempt, len(places))
	begun := 0
	begin := func() {
		n := begun
		begun++
		go func() {
			d := net.Dialer{Timeout: connectTime}
			c, err := d.DialContext(ctx, "tcp", places[n].addr.String())
			results <- attempt{n, c, err}
		}()
	}
	ended := map[int]bool{}
	defer func() {
		cancel()
		for len(ended) < begun { // those that have lost: they end at once
			a := <-results
			if ended[a.n] = true; a.conn != nil {
				a.conn.Close()
			}
		}
	}()
	begin()
	for {
		var next <-chan time.Time
		if begun < len(places) {
			timer := time.NewTimer(headStart)
			defer timer.Stop()
			next = timer.C
		}
		select {
		case a := <-results:
			ended[a.n] = true
			if a.err == nil {
				for n := range places {
					if !ended[n] {
						rest = append(rest, places[n])
					}
				}
				return a.conn, places[a.n], rest, errs
			}
			trace(ctx, "%s: %v", places[a.n].addr, a.err)
			errs = append(errs, fmt.Errorf("%s: %w", places[a.n].Target, a.err))
			if len(ended) == len(places) {
				return nil, at, nil, errs
			}
			if len(ended) == begun {
				begin()
			}
		case <-next:
			begin()
		}
	}
}
