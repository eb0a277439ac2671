package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// Connect connects to the servers of a domain, one after the other, until try returns nil for a
// connection; direct says that TLS comes first (XEP-0368). try closes what it does not take. The error
// wraps ErrNotFound where it is certain that the domain has no server, and says what became of each.
func (r *Resolver) Connect(ctx context.Context, domain string, try func(ctx context.Context, conn net.Conn, direct bool) error) error {
	targets, err := r.Targets(ctx, domain)
	if err != nil {
		return err
	}
	var failed []error
	missing := true // all of them
	left := maxTries
	for len(targets) > 0 && left > 0 && ctx.Err() == nil {
		n := 1
		for n < len(targets) && targets[n].Priority == targets[0].Priority {
			n++
		}
		there, err := r.group(ctx, targets[:n], &left, try)
		if err == nil {
			return nil
		}
		failed = append(failed, err)
		missing = missing && !there
		targets = targets[n:]
	}
	if left == 0 {
		failed = append(failed, fmt.Errorf("no more than %d addresses are tried", maxTries))
	}
	if len(failed) == 0 {
		failed = []error{ctx.Err()}
	}
	err = errors.Join(failed...)
	if missing && ctx.Err() == nil {
		return fmt.Errorf("%w: no connection to %s: %w", ErrNotFound, domain, err)
	}
	return fmt.Errorf("resolve: no connection to %s: %w", domain, err)
}

// group tries servers of one priority, left addresses at most, which it counts down. there is false where it is certain
// that none of them has an address.
func (r *Resolver) group(ctx context.Context, targets []Target, left *int, try func(ctx context.Context, conn net.Conn, direct bool) error) (there bool, err error) {
	asking, stop := context.WithCancel(ctx)
	answers := make(chan answer, 2*len(targets))
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	c := &chase{answers: answers, unanswered: map[query]bool{}, known: map[way]bool{}, left: left}
	for i, t := range targets {
		for _, six := range []bool{true, false} {
			q := query{i, six}
			c.unanswered[q] = true
			all.Go(func() { answers <- r.ask(asking, q, t) })
		}
	}
	for conn, at := c.next(ctx); conn != nil; conn, at = c.next(ctx) {
		trace(ctx, "connected to %s, which is %s", conn.RemoteAddr(), at.Target)
		err := try(ctx, conn, at.DirectTLS)
		if err == nil {
			return true, nil
		}
		c.failed = append(c.failed, fmt.Errorf("%s at %s: %w", at.Target, at.addr, err))
	}
	missing := map[int]int{} // of two families
	for _, q := range c.missing {
		missing[q.target]++
	}
	for i, t := range targets {
		if missing[i] == 2 {
			trace(ctx, "%s: no address", t.Host)
			c.failed = append(c.failed, fmt.Errorf("%s has no address", t.Host))
		}
		there = there || missing[i] < 2 || t.unsure
	}
	if err := ctx.Err(); err != nil {
		c.failed = append(c.failed, err)
	}
	return there, errors.Join(c.failed...)
}
