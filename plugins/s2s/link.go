package s2s

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// link is the outgoing direction of a stream, and of those that resume it. peer.mu guards it.
type link struct {
	p       *peer
	local   string // the domain of ours that the stream is opened for
	inbound bool   // the peer opens the stream: it is one for both directions (XEP-0288)
	both    bool   // stanzas come on it, too

	sess       *session // nil: there is no stream at the moment
	phase      phase
	connecting bool
	retry      *time.Timer
	tries      int
	brokenAt   time.Time

	managed, resumable bool // XEP-0198
	id                 string
	came               uint32   // h of the other direction, of the stream that broke
	start              *started // of a peer that enables it while stanzas flow
	sent               uint32   // sequence number of the last stanza
	noted              bool     // there may be a note
	restored           bool     // from one: how many stanzas were sent is not known
	begun              []*item  // noted, in order; unanswered
	writing            []*item  // of begun: between Fill and Wrote
	asked              []*item  // requests that were written to a peer without XEP-0198, and have no answer yet
	progress           time.Time
	readyAt            time.Time
	restoredAt         time.Time // of what a process of before noted

	old    map[uint64]*entry // what processes of before had begun
	locals []string          // whose stanzas that are
	routes []*route
}

// phase is how far a stream is.
type phase uint8

const (
	authorizing phase = iota // its pairs
	resuming
	enabling
	ready
)

// started is what the writer says before the next stanza.
type started struct {
	text      string
	id        string
	resumable bool
	sent      uint32 // what the peer has of a stream that it resumed
}

func (p *peer) newLink(local string) *link {
	l := &link{p: p, local: local}
	p.links = append(p.links, l)
	return l
}

// remove takes a link away; what waits goes by another one.
func (l *link) remove() {
	p := l.p
	p.links = slices.DeleteFunc(p.links, func(x *link) bool { return x == l })
	if l.retry != nil {
		l.retry.Stop()
	}
	for _, r := range slices.Clone(l.routes) {
		r.assign(nil)
		r.kick()
	}
	if l.noted {
		p.unnote(l.local)
	}
}

// unnote deletes a note that says nothing any more.
func (p *peer) unnote(local string) {
	e := p.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return
	}
	e.tasks.Go(func() {
		err := e.deps.Kernel.Do(e.ctx, p.far, func(h *extension.Host) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if !slices.ContainsFunc(p.links, func(l *link) bool { return l.local == local }) {
				h.Memory.Delete(noteName(p.far, local)) // one that begins now notes behind this
			}
			return nil
		})
		if err != nil {
			e.log.Debug("a note is left", "domain", p.far, "error", err)
		}
	})
}

// restore makes a link of what a process of before noted. connect says that it is to be resumed now.
func (p *peer) restore(local string, n *note, now time.Time) (l *link, connect bool) {
	l = p.newLink(local)
	l.managed, l.resumable, l.inbound, l.id, l.locals = n.managed, n.resumable, n.inbound, n.id, n.locals
	l.old, l.brokenAt, l.restoredAt, l.noted, l.restored, p.good = map[uint64]*entry{}, now, now, true, true, now
	for _, e := range n.entries {
		l.old[e.id] = &e
	}
	for _, local := range n.locals {
		if r := p.route(local); r.link == nil {
			r.assign(l)
		}
	}
	if !l.managed || !l.resumable {
		l.settle(nil)
		l.brokenAt, l.inbound = time.Time{}, false // the next stream is a new one
		return l, false
	}
	return l, !l.inbound
}

// unresolved says whether it is not known yet which of the begun events the peer has.
func (l *link) unresolved() bool {
	if len(l.begun) > 0 {
		return true
	}
	for _, o := range l.old {
		if o.state == begun {
			return true
		}
	}
	return false
}

// idle says whether there is neither a stream nor one to be, nor one that may be resumed.
func (l *link) idle() bool {
	return l.sess == nil && !l.connecting && l.retry == nil && l.brokenAt.IsZero() && !l.unresolved()
}

// waiting says whether an event that was begun before is here again, and waits.
func (l *link) waiting(id uint64) bool {
	for _, r := range l.routes {
		for _, it := range r.queue {
			if it.old != nil && it.old.id == id {
				return true
			}
		}
	}
	return false
}

// connect opens a stream. It returns at once.
func (l *link) connect() {
	e := l.p.e
	if l.connecting || l.sess != nil {
		return
	}
	if l.retry != nil {
		l.retry.Stop()
		l.retry = nil
	}
	if wait := time.Until(l.p.calm); wait > 0 {
		l.later(wait)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return
	}
	l.connecting, l.inbound = true, false
	e.tasks.Go(func() {
		s, err := e.dial(l.p.far, l.local, false, nil)
		l.p.mu.Lock()
		l.connecting = false
		if err != nil {
			l.failed(err)
			l.p.mu.Unlock()
			return
		}
		l.attach(s)
		l.p.mu.Unlock()
		e.run(s, false)
	})
}

// dial opens a stream to a far domain. The session is in the list; e.run is to follow.
func (e *Engine) dial(far, local string, verify bool, step func(string)) (*session, error) {
	ctx, cancel := context.WithTimeoutCause(e.ctx, seconds(e.options.ConnectTime), fmt.Errorf("%w: no stream in %d seconds", peerstream.ErrTimeout, e.options.ConnectTime))
	defer cancel()
	s := &session{e: e, initiator: true, since: time.Now()}
	var last error // of a stream: it says more than that all addresses failed
	err := e.deps.Dialer.Connect(ctx, far, func(ctx context.Context, conn net.Conn, direct bool) error {
		if step != nil {
			step("connected to " + conn.RemoteAddr().String())
		}
		st, err := peerstream.Initiate(ctx, conn, e.streams, peerstream.Opening{
			Pair: peerstream.Pair{Local: local, Far: far}, DirectTLS: direct, Bidi: e.options.Bidi && !verify, VerifyOnly: verify, Step: step,
		}, s)
		if err != nil {
			last = err
			return err
		}
		s.st = st
		return nil
	})
	switch {
	case err == nil && s.st == nil:
		err = fmt.Errorf("s2s: no connection to %s", far)
	case err != nil && last != nil && !errors.Is(err, last):
		err = fmt.Errorf("%w (%w)", err, last)
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		s.st.Abort()
		return nil, peerstream.ErrClosed
	}
	e.sessions[s] = true
	return s, nil
}

// attach begins with a stream that is open, and not ready yet.
func (l *link) attach(s *session) {
	l.sess, l.phase, l.start = s, authorizing, nil
	s.link.Store(l)
	l.both = s.st.Bidi()
	if !s.st.May(peerstream.Pair{Local: l.local, Far: l.p.far}) {
		if err := s.st.Authorize(peerstream.Pair{Local: l.local, Far: l.p.far}); err != nil {
			s.st.Abort()
			return
		}
	}
	for _, local := range l.needed() {
		err := s.st.Authorize(peerstream.Pair{Local: local, Far: l.p.far})
		if errors.Is(err, peerstream.ErrClosed) {
			return // it is over already, and says nothing of the one that is to be resumed
		}
		if err != nil {
			l.giveUp()
			break
		}
	}
	l.advance()
}

// needed returns whose stanzas are begun.
func (l *link) needed() []string {
	if !l.resumable || l.id == "" {
		return nil
	}
	list := slices.Clone(l.locals)
	for _, it := range l.begun {
		if !slices.Contains(list, it.local) {
			list = append(list, it.local)
		}
	}
	return list
}

// advance goes on with a stream as far as it goes.
func (l *link) advance() {
	s := l.sess
	if s == nil || l.phase != authorizing {
		return
	}
	for _, local := range append(l.needed(), l.local) {
		if !s.st.May(peerstream.Pair{Local: local, Far: l.p.far}) {
			return
		}
	}
	switch {
	case l.resumable && l.id != "" && s.st.Manages():
		l.phase, l.progress = resuming, time.Now()
		s.st.Send("<resume xmlns='" + peerstream.NSManagement + "' h='" + number(l.came) + "' previd='" + attr(l.id) + "'/>")
	default:
		l.enable()
	}
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func attr(s string) string { return string(stanza.AppendAttr(nil, s)) }

// enable begins anew with XEP-0198, where the peer has it.
func (l *link) enable() {
	l.giveUp()
	if !l.sess.st.Manages() {
		l.becomeReady()
		return
	}
	l.phase, l.progress = enabling, time.Now()
	l.sess.st.Send("<enable xmlns='" + peerstream.NSManagement + "' resume='true'/>")
}

func (l *link) becomeReady() {
	p := l.p
	now := time.Now()
	l.phase, l.tries, l.brokenAt, l.progress, l.readyAt = ready, 0, time.Time{}, now, now
	p.failures, p.lastErr, p.good = 0, nil, now
	for _, r := range slices.Clone(l.routes) {
		l.authorize(r)
	}
	for _, r := range p.routes {
		if r.link == nil {
			r.kick()
		}
	}
	l.sess.st.Wake()
}

// authorize has a route go by a stream that is ready.
func (l *link) authorize(r *route) {
	if l.sess.st.May(r.pair()) {
		l.sess.st.Wake()
		return
	}
	if len(r.queue) == 0 {
		return
	}
	if err := l.sess.st.Authorize(r.pair()); err != nil && !errors.Is(err, peerstream.ErrClosed) {
		l.separate(r)
	}
}

// separate gives a route a stream of its own.
func (l *link) separate(r *route) {
	r.alone = true
	r.assign(nil)
	r.kick()
}

// authorized is Handler.Authorized of a stream of ours.
func (l *link) authorized(s *session, pair peerstream.Pair, err error) {
	if l.sess != s {
		return
	}
	switch r := l.p.route(pair.Local); {
	case err == nil && l.phase == authorizing:
		l.advance()
	case err == nil:
		s.st.Wake()
	case pair.Local == l.local && l.phase == authorizing:
		l.p.lastErr = err
		s.failure = err
		s.st.Close(nil)
	case slices.Contains(l.needed(), pair.Local) && l.phase == authorizing:
		l.giveUp() // what is begun can't be resumed
		r.fail(err)
		l.advance()
	case errors.Is(err, &stanza.Error{Condition: stanza.ResourceConstraint}) && r.link == l && !r.alone:
		l.separate(r)
	case r.link == l:
		r.fail(err)
	}
}

// A server that could not be reached is tried again after firstWait, and twice that, and so on. What waits is answered
// after someTries, unless the server was there a moment ago.
const (
	firstWait = 500 * time.Millisecond
	someTries = 3
)

// backOff is how long to wait after so many failures in a row.
func (p *peer) backOff(failures int) time.Duration {
	return min(firstWait<<min(failures-1, 16), seconds(p.e.options.BackOff))
}

// later connects after a while.
func (l *link) later(wait time.Duration) {
	p := l.p
	l.retry = time.AfterFunc(wait, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.retry != nil && l.sess == nil {
			l.retry = nil
			l.connect()
		}
	})
}

// failed is told why there is no stream.
func (l *link) failed(err error) {
	p := l.p
	if p.e.ending() {
		return // what waits is for the next process
	}
	now := time.Now()
	p.failures++
	p.lastErr = err
	p.wait = p.backOff(p.failures)
	p.until = now.Add(p.wait)
	p.e.log.Warn("no stream to another server", "domain", p.far, "error", err)
	if !final(err) && (l.unresolved() && !l.brokenAt.IsZero() && now.Sub(l.brokenAt) < seconds(p.e.options.ResumeTime) || p.recent(now) || p.failures < someTries) {
		l.tries++
		l.later(p.wait)
		return
	}
	l.giveUp()
	for _, r := range l.routes {
		r.fail(err)
	}
	l.remove()
}

// final says whether a later try makes no sense for what waits.
func final(err error) bool {
	var pe *peerstream.PeerError
	return errors.Is(err, ErrNotFound) || errors.Is(err, peerstream.ErrNoTLS) || errors.Is(err, peerstream.ErrCertificate) ||
		errors.As(err, &pe) && (pe.Condition == stream.HostUnknown || pe.Condition == stream.HostGone || pe.Condition == stream.PolicyViolation)
}

// answer returns what senders are told (RFC 6120 10.4.2, XEP-0220 2.1.1).
func answer(far string, err error) *stanza.Error {
	var pe *peerstream.PeerError
	switch {
	case errors.Is(err, ErrNotFound), errors.As(err, &pe) && (pe.Condition == stream.HostUnknown || pe.Condition == stream.HostGone):
		return stanza.Err(stanza.RemoteServerNotFound, far+" has no server that can be reached")
	case errors.Is(err, peerstream.ErrInvalid):
		return stanza.Err(stanza.InternalServerError, far+" does not believe that this server is itself")
	case errors.Is(err, peerstream.ErrNoTLS), errors.Is(err, peerstream.ErrCertificate):
		return &stanza.Error{Condition: stanza.PolicyViolation, Type: stanza.Cancel, Text: "the connection to " + far + " would not be secure"}
	}
	return stanza.Err(stanza.RemoteServerTimeout, far+" could not be reached")
}

// briefly is how short the life of a stream is that brings nothing, and is not repeated at once for ever.
const briefly = 10 * time.Second

// ended is told that a stream is over that was ready: one that takes streams and ends them without a stanza is not asked
// again and again without a pause.
func (p *peer) ended(s *session, readyAt time.Time) {
	now := time.Now()
	if s.moved.Load() || now.Sub(readyAt) > briefly {
		p.brief = 0
		return
	}
	if p.brief++; p.brief >= someTries {
		p.calm = now.Add(p.backOff(p.brief - someTries + 1))
	}
}

// detach is told that a stream is over.
func (l *link) detach(s *session, err error) {
	if l.sess != s {
		return
	}
	l.sess, l.start = nil, nil
	was := l.phase
	l.phase = authorizing
	if l.p.e.ending() {
		return // the next process goes on
	}
	l.unanswered()
	if was != ready && !s.initiator {
		was = ready
	}
	if was == ready {
		l.p.ended(s, l.readyAt)
	}
	switch {
	case was != ready:
		if s.failure != nil {
			err = s.failure
		}
		if err == nil {
			err = peerstream.ErrClosed
		}
		l.failed(err)
	case l.managed && l.resumable && (len(l.begun) > 0 || len(l.old) > 0 || l.both):
		l.brokenAt = time.Now()
		l.came = s.h.Load()
		if err == nil && len(l.begun) == 0 && s.h.Load() == s.told.Load() {
			l.giveUp() // it was closed in good order
			l.remove()
			return
		}
		if l.inbound = !s.initiator; !l.inbound {
			l.connect()
		}
	default:
		l.giveUp()
		l.remove()
	}
}

// shortID bounds the SM-ID of a peer for a key of the memory.
func shortID(id string) string {
	if len(id) <= 200 {
		return hex.EncodeToString([]byte(id))
	}
	h := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(h[:])
}
