package s2s

import (
	"errors"
	"fmt"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Verify implements peerstream.Handler: the authoritative server of a domain is asked for a dialback key, on a
// stream of ours to it; never on the one that the key came on (XEP-0288 2.2).
func (s *session) Verify(st *peerstream.Stream, pair peerstream.Pair, key string, said func(error)) {
	e, id := s.e, st.ID()
	if !e.check(s) {
		said(stanza.Err(stanza.ResourceConstraint, ""))
		return
	}
	release := func(err error) {
		e.checked(s)
		if errors.Is(err, peerstream.ErrInvalid) {
			e.log.Warn("another server is not who it says it is: its dialback key is invalid", "domain", pair.Far, "address", s.addr)
		}
		said(verdict(err))
	}
	if v := e.outgoing(pair.Far, s); v != nil && v.Verify(pair, id, key, release) == nil {
		return
	}
	task := func() {
		v, err := e.dial(pair.Far, pair.Local, true, nil)
		if err != nil {
			release(&unreachable{err})
			return
		}
		err = v.st.Verify(pair, id, key, func(err error) {
			v.st.Close(nil) // it was for this alone (XEP-0220 2.1.2)
			release(err)
		})
		if err != nil {
			v.st.Abort()
			release(err)
		}
		e.run(v, false)
	}
	e.mu.Lock()
	stopping := e.stopping
	if !stopping {
		e.tasks.Go(task)
	}
	e.mu.Unlock()
	if stopping {
		release(peerstream.ErrClosed)
	}
}

// check begins a verification for a peer, unless there are too many.
func (e *Engine) check(s *session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.checks >= maxChecks || s.from.IsValid() && e.checking[s.from] >= maxChecksOf {
		return false
	}
	e.checks++
	e.checking[s.from]++
	return true
}

// checked ends one.
func (e *Engine) checked(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.checks--
	if e.checking[s.from]--; e.checking[s.from] <= 0 {
		delete(e.checking, s.from)
	}
}

// outgoing returns a stream of ours to a far domain, other than that of a session.
func (e *Engine) outgoing(far string, but *session) *peerstream.Stream {
	p := e.lock(far)
	defer p.mu.Unlock()
	for _, l := range p.links {
		if l.sess != nil && l.sess.initiator && l.sess != but && l.phase == ready {
			return l.sess.st
		}
	}
	return nil
}

// unreachable says that there is no stream to the authoritative server.
type unreachable struct{ cause error }

func (u *unreachable) Error() string {
	return fmt.Sprintf("s2s: the authoritative server: %v", u.cause)
}
func (u *unreachable) Unwrap() error { return u.cause }

// remoteConnectionFailed is a condition of XEP-0220 alone.
const remoteConnectionFailed stanza.Condition = "remote-connection-failed"

// verdict returns what the initiating server is told (XEP-0220 2.5).
func verdict(err error) error {
	var pe *peerstream.PeerError
	var u *unreachable
	var se *stanza.Error
	switch {
	case err == nil, errors.Is(err, peerstream.ErrInvalid):
		return err
	case errors.Is(err, ErrNotFound), errors.As(err, &pe) && (pe.Condition == stream.HostUnknown || pe.Condition == stream.HostGone):
		return stanza.Err(stanza.RemoteServerNotFound, "")
	case errors.As(err, &u):
		return &stanza.Error{Condition: remoteConnectionFailed, Type: stanza.Cancel}
	case errors.As(err, &se) && se.Condition == stanza.ItemNotFound:
		return stanza.Err(stanza.RemoteServerNotFound, "")
	}
	return stanza.Err(stanza.RemoteServerTimeout, "")
}
