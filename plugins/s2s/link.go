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
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
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
	progress           time.Time

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
	l.old, l.brokenAt, l.noted, l.restored, p.good = map[uint64]*entry{}, now, true, true, now
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
		if err := s.st.Authorize(peerstream.Pair{Local: local, Far: l.p.far}); err != nil {
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
		l.phase = resuming
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
	l.phase = enabling
	l.sess.st.Send("<enable xmlns='" + peerstream.NSManagement + "' resume='true'/>")
}

func (l *link) becomeReady() {
	p := l.p
	l.phase, l.tries, l.brokenAt, l.progress = ready, 0, time.Time{}, time.Now()
	p.failures, p.lastErr, p.good = 0, nil, time.Now()
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

// failed is told why there is no stream.
func (l *link) failed(err error) {
	p := l.p
	now := time.Now()
	p.failures++
	p.lastErr = err
	wait := min(firstWait<<min(p.failures-1, 16), seconds(p.e.options.BackOff))
	p.until = now.Add(wait)
	p.e.log.Warn("no stream to another server", "domain", p.far, "error", err)
	if !final(err) && (l.unresolved() && !l.brokenAt.IsZero() && now.Sub(l.brokenAt) < seconds(p.e.options.ResumeTime) || p.recent(now) || p.failures < someTries) {
		l.tries++
		l.retry = time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if l.retry != nil && l.sess == nil {
				l.retry = nil
				l.connect()
			}
		})
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

// detach is told that a stream is over.
func (l *link) detach(s *session, err error) {
	if l.sess != s {
		return
	}
	e := l.p.e
	l.sess, l.start = nil, nil
	was := l.phase
	l.phase = authorizing
	e.mu.Lock()
	stopping := e.stopping
	e.mu.Unlock()
	if stopping {
		return // the next process goes on
	}
	if was != ready && !s.initiator {
		was = ready
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

// batchBytes and batchItems bound what is written at once.
const (
	batchBytes = 64 << 10
	batchItems = 256
)

// fill is Handler.Fill: it takes what waits, has it noted, and appends it. peer.mu is not held.
func (l *link) fill(s *session, dst []byte) ([]byte, bool, error) {
	p := l.p
	p.mu.Lock()
	if l.sess != s {
		p.mu.Unlock()
		return dst, false, nil
	}
	if st := l.start; st != nil {
		dst = append(dst, st.text...)
		l.managed, l.resumable, l.id, l.sent, l.start = true, st.resumable, st.id, 0, nil
		l.progress = time.Now()
	}
	if l.phase != ready {
		p.mu.Unlock()
		return dst, false, nil
	}
	batch, more := l.next(s)
	if len(batch) == 0 {
		p.mu.Unlock()
		return dst, false, nil
	}
	managed := l.managed
	l.noted = true
	name, text := noteName(p.far, l.local), l.note().append(nil)
	p.mu.Unlock()

	err := p.e.deps.Kernel.Do(p.e.ctx, p.far, func(h *extension.Host) error { return h.Memory.Put(name, text) })
	if err != nil {
		p.mu.Lock()
		l.takeBack(batch)
		p.mu.Unlock()
		return dst, false, fmt.Errorf("s2s: what is to be written can't be noted: %w", err)
	}
	for _, it := range batch {
		switch {
		case it.own != nil:
			dst = it.own.Append(dst, jid.JID{}, "")
		case len(it.ev.Recipients) == 0:
			dst = it.ev.Stanza.Append(dst, jid.JID{}, "")
		default:
			for _, to := range it.ev.Recipients[it.skip:] {
				dst = it.ev.Stanza.Append(dst, to, "")
			}
		}
	}
	if managed {
		dst = append(dst, "<r xmlns='"+peerstream.NSManagement+"'/>"...)
	}
	return dst, more, nil
}

// next takes a batch of what waits, from each route in its order.
func (l *link) next(s *session) (batch []*item, more bool) {
	size := 0
	for _, r := range l.routes {
		if len(r.queue) == 0 || !s.st.May(r.pair()) {
			continue
		}
		n := 0
		for n < len(r.queue) && len(batch) < batchItems && (size == 0 || size < batchBytes) {
			it := r.queue[n]
			if it.old != nil {
				break // until it is known whether the peer has it
			}
			if it.n = 1 - min(1, it.skip); it.ev != nil {
				it.n = count(it.ev) - it.skip
			}
			it.first = l.sent + 1
			l.sent += it.n
			size += it.size * int(it.n)
			batch = append(batch, it)
			n++
		}
		clear(r.queue[:n])
		if r.queue = r.queue[n:]; len(r.queue) == 0 {
			r.queue = nil
		} else {
			more = true
		}
	}
	if len(l.begun) == 0 {
		l.progress = time.Now()
	}
	l.begun = append(l.begun, batch...)
	l.writing = batch
	return batch, more && len(batch) > 0
}

// takeBack puts what was not noted in front again.
func (l *link) takeBack(batch []*item) {
	l.begun = slices.DeleteFunc(l.begun, func(it *item) bool { return slices.Contains(batch, it) })
	l.writing = nil
	for _, it := range batch {
		l.sent -= it.n
	}
	l.requeue(batch)
}

// requeue puts items in front of their routes, in order.
func (l *link) requeue(list []*item) {
	for _, it := range slices.Backward(list) {
		r := l.p.route(it.local)
		r.queue = slices.Insert(r.queue, 0, it)
	}
}

// note says what is begun.
func (l *link) note() *note {
	n := &note{managed: l.managed, resumable: l.resumable, inbound: !l.sess.initiator, id: l.id}
	add := func(local string) {
		if !slices.Contains(n.locals, local) {
			n.locals = append(n.locals, local)
		}
	}
	for _, o := range l.old {
		n.entries = append(n.entries, *o)
	}
	for _, it := range l.begun {
		add(it.local)
		if it.ev != nil {
			n.entries = append(n.entries, entry{id: it.ev.ID, first: it.first - it.skip, n: it.n + it.skip})
		}
	}
	return n
}

// wrote is Handler.Wrote: a peer that acknowledges nothing counts as having what was written.
func (l *link) wrote(s *session) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	batch := l.writing
	l.writing = nil
	if l.sess != s || l.managed {
		return
	}
	l.begun = slices.DeleteFunc(l.begun, func(it *item) bool { return slices.Contains(batch, it) })
	for _, it := range batch {
		l.p.done(it, nil)
	}
}

// ack takes an acknowledgement, or the h of a resumption: what is up to there the peer has.
func (l *link) ack(h uint32) *stream.Error {
	last := l.sent - l.unacknowledged()
	if h-last > l.sent-last {
		return &stream.Error{Condition: stream.UndefinedCondition, App: stanza.El(peerstream.NSManagement, "handled-count-too-high", stanza.At("h", number(h)), stanza.At("send-count", number(l.sent)))}
	}
	n := 0
	for n < len(l.begun) {
		it := l.begun[n]
		if int32(h-(it.first+it.n-1)) < 0 {
			break
		}
		l.p.done(it, nil)
		n++
	}
	if n > 0 || len(l.begun) == 0 {
		l.progress = time.Now()
	}
	l.begun = slices.Delete(l.begun, 0, n)
	return nil
}

// unacknowledged returns how many stanzas are.
func (l *link) unacknowledged() (n uint32) {
	for _, it := range l.begun {
		n += it.n
	}
	return n
}

// resumed is told what the peer has; the rest is sent again.
func (l *link) resumed(h uint32) *stream.Error {
	if err := l.ack(h); err != nil && !l.restored {
		l.giveUp() // or the next try would end like this one
		return err
	}
	l.restored = false
	rest := l.begun
	l.begun = nil
	for _, it := range rest {
		if has := h - it.first + 1; int32(has) > 0 { // some of its copies
			it.skip += has
		}
	}
	l.requeue(rest)
	l.sent = h
	l.settle(&h)
	return nil
}

// settle decides of what processes of before had begun: by h, or if it is nil without.
func (l *link) settle(h *uint32) {
	for id, o := range l.old {
		if o.state != begun {
			continue
		}
		switch {
		case h == nil && l.managed:
			o.state = unsure
		case h == nil:
			o.state = counted
		case int32(*h-(o.first+o.n-1)) >= 0:
			o.state = delivered
		case int32(*h-o.first) >= 0:
			o.state, o.first = partly, *h-o.first+1
		default:
			delete(l.old, id)
		}
	}
	for _, r := range l.routes {
		kept := r.queue[:0:0]
		for _, it := range r.queue {
			if o := it.old; o == nil || !l.p.judge(l, it, o) {
				kept = append(kept, it)
			}
		}
		r.queue = kept
	}
}

// judge decides of an event that a process of before had begun; false: it is to be sent.
func (p *peer) judge(l *link, it *item, o *entry) bool {
	it.old = nil
	delete(l.old, o.id)
	switch o.state {
	case delivered:
		p.done(it, nil)
	case unsure, counted:
		p.lost(it, o.state == unsure)
	case partly:
		it.skip = o.first
		return false
	default:
		return false // the peer does not have it
	}
	return true
}

// lost answers an event of which nobody knows whether the peer has it: it is not sent again.
func (p *peer) lost(it *item, acknowledges bool) {
	var err error
	if it.ev != nil {
		switch st := it.ev.Stanza; st.Kind {
		case stanza.IQ:
			err = stanza.Err(stanza.RemoteServerTimeout, "it is not known whether "+p.far+" has it")
		case stanza.Message:
			if acknowledges {
				err = stanza.Err(stanza.RemoteServerTimeout, "it is not known whether "+p.far+" has it")
			}
		}
	}
	p.done(it, err)
}

// giveUp ends what could have been resumed.
func (l *link) giveUp() {
	list := l.begun
	l.begun, l.writing = nil, nil
	for _, it := range list {
		l.p.lost(it, l.managed)
	}
	l.settle(nil)
	l.managed, l.resumable, l.restored, l.id, l.sent, l.locals, l.brokenAt = false, false, false, "", 0, nil, time.Time{}
}

// shortID bounds the SM-ID of a peer for a key of the memory.
func shortID(id string) string {
	if len(id) <= 200 {
		return hex.EncodeToString([]byte(id))
	}
	h := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(h[:])
}
