package s2s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// ErrDomain: what was given is no domain.
var ErrDomain = errors.New("s2s: no domain")

func domain(text string) (string, error) {
	j, err := jid.Parse(text)
	if err != nil || j != j.DomainJID() {
		return "", fmt.Errorf("%w: %q", ErrDomain, text)
	}
	return j.Domain(), nil
}

// List says which streams there are, and what waits: a line for each.
func (e *Engine) List() string {
	var lines []string
	e.mu.Lock()
	peers := make([]*peer, 0, len(e.peers))
	for _, p := range e.peers {
		peers = append(peers, p)
	}
	half := e.halfOpen
	for s := range e.sessions {
		if s.half || s.st == nil {
			continue
		}
		way := "in "
		if s.initiator {
			way = "out"
		}
		domains := s.domains()
		lines = append(lines, fmt.Sprintf("%s %-30s %-21s since %s, %s", way, strings.Join(domains, ","), s.st.Remote(), s.since.UTC().Format(time.DateTime), secured(s.st, domains)))
	}
	e.mu.Unlock()
	for _, p := range peers {
		p.mu.Lock()
		if p.events > 0 || p.lastErr != nil {
			text := fmt.Sprintf("    %-30s %d stanzas wait (%d bytes)", p.far, p.events, p.bytes)
			if p.lastErr != nil {
				text += fmt.Sprintf("; last error: %v", p.lastErr)
			}
			lines = append(lines, text)
		}
		p.mu.Unlock()
	}
	slices.Sort(lines)
	if half > 0 {
		lines = append(lines, fmt.Sprintf("%d incoming connections are not authenticated yet", half))
	}
	if len(lines) == 0 {
		return "no streams\n"
	}
	return strings.Join(lines, "\n") + "\n"
}

// secured says how a stream is encrypted, and by what its certificate proves the peer's domains: no other way than dialback is
// left for those that are not among them (RFC 7590 3.6).
func secured(st *peerstream.Stream, domains []string) string {
	text := st.TLS()
	if text == "" {
		return "not encrypted"
	}
	var proofs []string
	for _, d := range domains {
		if p := st.Proof(d); p == "" {
			proofs = append(proofs, "no valid certificate")
		} else {
			proofs = append(proofs, "proved by "+p)
		}
	}
	slices.Sort(proofs)
	return strings.Join(append([]string{text}, slices.Compact(proofs)...), ", ")
}

// domains are those of the peer. e.mu is held.
func (s *session) domains() (list []string) {
	if l := s.link.Load(); l != nil {
		list = append(list, l.p.far)
	}
	for far := range s.fars {
		if !slices.Contains(list, far) {
			list = append(list, far)
		}
	}
	slices.Sort(list)
	if len(list) == 0 {
		return []string{"-"}
	}
	return list
}

// Probe opens a stream to a far domain from a domain of ours, and writes what happens at each step, as it happens. No
// stanza is sent on it. The error says what does not work.
func (e *Engine) Probe(ctx context.Context, local, far string, out io.Writer) error {
	far, err := domain(far)
	if err != nil {
		return err
	}
	if local, err = domain(local); err != nil {
		return err
	}
	switch {
	case !e.deps.Kernel.Ours(local):
		return fmt.Errorf("s2s: %s is no domain of this server", local)
	case e.deps.Kernel.Ours(far):
		return fmt.Errorf("s2s: %s is a domain of this server", far)
	case e.policy.terms(far).Refused:
		return fmt.Errorf("s2s: the configuration refuses federation with %s", far)
	}
	begun := time.Now()
	step := func(text string) {
		fmt.Fprintf(out, "%6d ms  %s\n", time.Since(begun).Milliseconds(), text)
	}
	step("from " + local + " to " + far)
	steps := make(chan string, maxSteps)
	ended, err := e.probe(ctx, local, far, steps)
	if err != nil {
		return err
	}
	for {
		select {
		case text := <-steps:
			step(text)
		case <-ctx.Done():
			return context.Cause(ctx)
		case r := <-ended:
			for len(steps) > 0 {
				step(<-steps)
			}
			if r.err != nil {
				return r.err
			}
			defer r.s.st.Close(nil)
			return probed(ctx, r.s, peerstream.Pair{Local: local, Far: far}, step)
		}
	}
}

// maxSteps is how many steps may wait to be written; more are left out.
const maxSteps = 100

// dialed is the end of a dial.
type dialed struct {
	s   *session
	err error
}

// probe dials in a task of the engine. The session ends with ctx.
func (e *Engine) probe(ctx context.Context, local, far string, steps chan<- string) (<-chan dialed, error) {
	ended := make(chan dialed, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return nil, errors.New("s2s: the server is about to stop")
	}
	e.tasks.Go(func() {
		s, err := e.dial(far, local, false, func(text string) {
			select {
			case steps <- text:
			default:
			}
		})
		if err != nil {
			ended <- dialed{nil, err}
			return
		}
		s.probe = make(chan error, 1)
		ended <- dialed{s, nil}
		defer context.AfterFunc(ctx, func() { s.st.Close(nil) })()
		e.run(s, false)
	})
	return ended, nil
}

// probed tells what a stream can do, once it is authenticated.
func probed(ctx context.Context, s *session, pair peerstream.Pair, step func(string)) error {
	if !s.st.May(pair) {
		if err := probeDialback(ctx, s, pair, step); err != nil {
			return err
		}
	}
	if s.st.Manages() {
		step("the peer has stream management (XEP-0198)")
	}
	if s.st.Bidi() {
		step("stanzas would flow both ways (XEP-0288)")
	}
	step("all is well")
	return nil
}

// probeDialback authenticates by dialback.
func probeDialback(ctx context.Context, s *session, pair peerstream.Pair, step func(string)) error {
	step("dialback: a key is sent, and the peer is to ask the server of " + pair.Local + " for it")
	err := s.st.Authorize(pair)
	if err == nil {
		select {
		case err = <-s.probe:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("s2s: dialback: %w", err)
	}
	step("authenticated by dialback")
	return nil
}

// CloseDomain ends all streams with a far domain, and says how many. What waits for it goes out on the next one.
func (e *Engine) CloseDomain(text string) (string, error) {
	far, err := domain(text)
	if err != nil {
		return "", err
	}
	n := 0
	e.mu.Lock()
	list := slices.Collect(maps.Keys(e.sessions))
	for _, s := range list {
		if slices.Contains(s.domains(), far) {
			s.st.Close(nil)
			n++
		}
	}
	e.mu.Unlock()
	return fmt.Sprintf("%d streams with %s are closed\n", n, far), nil
}
