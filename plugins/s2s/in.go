package s2s

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// session is a stream with what the engine knows of it: the Handler of a peerstream.Stream.
type session struct {
	e         *Engine
	st        *peerstream.Stream
	initiator bool
	addr      netip.Addr   // of the peer of an incoming one
	from      netip.Prefix // its neighbours
	since     time.Time
	failure   error       // why it was closed before it was ready; peer.mu guards it
	moved     atomic.Bool // stanzas came, or are known to have arrived

	link atomic.Pointer[link] // the outgoing direction, nil if there is none

	// Engine.mu guards these.
	half   bool
	fars   map[string]bool
	record string // key of what a resumption needs

	inMu     sync.Mutex // one batch at a time; guards replaced
	replaced bool       // another stream has resumed it: nothing more is taken

	managed   atomic.Bool   // XEP-0198 is on, both ways
	h, told   atomic.Uint32 // stanzas that came and are handled; what the peer was told of that
	mgMu      sync.Mutex    // guards what follows; taken inside of peer.mu
	resumable bool
	id        string
	sent      uint32     // stanzas of ours that the peer has, of a stream that it resumed
	probe     chan error // what came of dialback, for Probe
}

var _ peerstream.Handler = (*session)(nil)

// Accept implements peerstream.Handler.
func (s *session) Accept(_ *peerstream.Stream, p peerstream.Pair) error {
	e := s.e
	if s.initiator {
		return nil
	}
	if err := s.admit(p.Far); err != nil {
		return err
	}
	e.seen(p.Far)
	return nil
}

// admit counts a far domain of a stream.
func (s *session) admit(far string) error {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.sessions[s] { // it ended while a key was verified
		return stanza.Err(stanza.RemoteServerTimeout, "the stream has ended")
	}
	if s.fars[far] {
		return nil
	}
	if e.domains[far] >= e.options.MaxPerDomain {
		return stanza.Err(stanza.ResourceConstraint, "too many streams of this domain")
	}
	if s.fars == nil {
		s.fars = map[string]bool{}
	}
	s.fars[far] = true
	e.domains[far]++
	s.open()
	return nil
}

// seen is told that the server of a far domain is there: what waits is tried without the pause.
func (e *Engine) seen(far string) {
	e.mu.Lock()
	p := e.peers[far]
	e.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures, p.until = 0, time.Time{}
}

// carry makes a stream the one of a link, unless it has ended: run ends the links that it finds. peer.mu is held.
func (s *session) carry(l *link) bool {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if !s.e.sessions[s] {
		return false
	}
	s.link.Store(l)
	return true
}

// ownRecord returns the key of the record of what came on a stream of ours, "" if there is none.
func (s *session) ownRecord() string {
	s.mgMu.Lock()
	defer s.mgMu.Unlock()
	if !s.initiator || !s.resumable || !s.st.Bidi() {
		return ""
	}
	return recordName(s.st.Far(), shortID(s.id))
}

// Authorized implements peerstream.Handler.
func (s *session) Authorized(_ *peerstream.Stream, pair peerstream.Pair, err error) {
	if s.initiator {
		if s.probe != nil {
			select {
			case s.probe <- err:
			default: // a second answer, to what was asked once
			}
		}
		if l := s.link.Load(); l != nil {
			l.p.mu.Lock()
			defer l.p.mu.Unlock()
			l.authorized(s, pair, err)
		}
		return
	}
	if err != nil {
		return
	}
	// A peer that takes stanzas on the stream that it opened (XEP-0288).
	p := s.e.lock(pair.Far)
	defer p.mu.Unlock()
	r := p.route(pair.Local)
	l := s.link.Load()
	switch {
	case r.link != nil && (l != nil || !r.link.idle() || r.link.local != pair.Local):
		return // it has a stream, or waits for one to be resumed
	case l == nil:
		if l = r.link; l == nil {
			l = p.newLink(pair.Local)
		}
		s.mgMu.Lock()
		live, managed, resumable, id, sent := s.carry(l), s.managed.Load(), s.resumable, s.id, s.sent
		s.mgMu.Unlock()
		if !live { // it ended while a key was verified
			if l != r.link {
				l.remove()
			}
			return
		}
		l.giveUp()
		l.sess, l.inbound, l.both, l.phase = s, true, true, ready
		l.managed, l.resumable, l.id, l.sent = managed, resumable, id, sent
	case l.p != p || l.sess != s:
		return
	}
	r.assign(l)
	l.becomeReady()
}

// Fill implements peerstream.Handler.
func (s *session) Fill(_ *peerstream.Stream, dst []byte) ([]byte, bool, error) {
	if l := s.link.Load(); l != nil {
		return l.fill(s, dst)
	}
	return dst, false, nil
}

// Wrote implements peerstream.Handler.
func (s *session) Wrote(_ *peerstream.Stream, n int) {
	if l := s.link.Load(); l != nil {
		l.wrote(s, n)
	}
}

// Tick implements peerstream.Handler: a peer that acknowledges nothing, or says nothing to <enable/> or <resume/>, has
// a broken connection.
func (s *session) Tick(*peerstream.Stream) {
	l := s.link.Load()
	if l == nil {
		return
	}
	l.p.mu.Lock()
	late := l.sess == s && l.managed && len(l.begun) > 0 && time.Since(l.progress) > seconds(s.e.options.AckTime)
	silent := l.sess == s && (l.phase == enabling || l.phase == resuming) && time.Since(l.progress) > seconds(s.e.options.ConnectTime)
	l.p.mu.Unlock()
	if late || silent {
		s.e.log.Info("another server acknowledges nothing: the connection is given up", "domain", l.p.far)
		s.st.Abort()
	}
}

// Last implements peerstream.Handler: before the end the peer is told what arrived (XEP-0198 4).
func (s *session) Last(*peerstream.Stream) string {
	managed := s.managed.Load()
	if !managed {
		return ""
	}
	return s.ack()
}

func (s *session) ack() string {
	h := s.h.Load()
	s.told.Store(h)
	return "<a xmlns='" + peerstream.NSManagement + "' h='" + number(h) + "'/>"
}

// ackEvery is how many stanzas are acknowledged unasked.
const ackEvery = 100

// Stanzas implements peerstream.Handler: a batch is one transaction of the kernel, with the count of XEP-0198.
func (s *session) Stanzas(st *peerstream.Stream, batch []*stanza.Stanza) error {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	if s.replaced {
		return peerstream.ErrClosed
	}
	s.moved.Store(true)
	managed := s.managed.Load()
	if err := s.take(st, batch); err != nil {
		if !managed && s.e.ctx.Err() == nil { // what is not acknowledged may be sent again; else the peer is told, at least
			return fmt.Errorf("%w: %w", stream.Err(stream.InternalServerError, ""), err)
		}
		return err
	}
	if managed && s.h.Load()-s.told.Load() >= ackEvery {
		st.Send(s.ack())
	}
	return nil
}

// take hands in a batch, or each stanza of it where one is refused.
func (s *session) take(st *peerstream.Stream, batch []*stanza.Stanza) error {
	err := s.hand(st, batch, len(batch))
	switch {
	case err == nil || !s.alone(err):
		return err
	case len(batch) == 1:
		return s.refused(st, batch[0], err)
	}
	for _, x := range batch {
		if err := s.handOne(st, x); err != nil {
			return err
		}
	}
	return nil
}

// alone says whether an error may be about a stanza, and not about the server.
func (s *session) alone(err error) bool {
	for _, e := range []error{context.Canceled, context.DeadlineExceeded, extension.ErrUnavailable, extension.ErrConflict, extension.ErrDown, extension.ErrFull} {
		if errors.Is(err, e) {
			return false
		}
	}
	return s.e.ctx.Err() == nil
}

func (s *session) handOne(st *peerstream.Stream, x *stanza.Stanza) error {
	err := s.hand(st, []*stanza.Stanza{x}, 1)
	if err != nil && s.alone(err) {
		return s.refused(st, x, err)
	}
	return err
}

// hand hands a batch to the kernel; n stanzas are handled by that.
func (s *session) hand(st *peerstream.Stream, batch []*stanza.Stanza, n int) error {
	s.mgMu.Lock()
	managed, resumable, id := s.managed.Load(), s.resumable, s.id
	s.mgMu.Unlock()
	h := s.h.Load() + uint32(n)
	err := s.e.deps.Kernel.Do(s.e.ctx, recordKey+st.Far(), func(host *extension.Host) error {
		for _, x := range batch {
			if err := host.Stanzas.Send(x); err != nil {
				return err
			}
		}
		if managed && resumable {
			return host.Memory.Put(recordName(st.Far(), shortID(id)), (&record{h: h, far: st.Far(), local: st.Local()}).append(nil))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if managed {
		s.h.Store(h)
	}
	s.e.answers(batch)
	return nil
}

// refused is for a stanza that the kernel does not take: it is handled, and the sender of a request is told.
func (s *session) refused(st *peerstream.Stream, x *stanza.Stanza, cause error) error {
	s.e.log.Warn("a stanza of another server is refused", "domain", x.From.Domain(), "error", cause)
	if err := s.hand(st, nil, 1); err != nil {
		return err
	}
	if x.Kind != stanza.IQ || x.Type != stanza.Get && x.Type != stanza.Set {
		return nil
	}
	if reply := x.ErrorReply(stanza.Err(stanza.BadRequest, "")); reply != nil {
		p := s.e.lock(reply.To.Domain())
		defer p.mu.Unlock()
		p.takeOwn(reply)
	}
	return nil
}

// takeOwn queues a stanza of the engine's own.
func (p *peer) takeOwn(x *stanza.Stanza) {
	it := &item{own: x, local: x.From.Domain(), size: x.Size(), at: time.Now()}
	if p.events >= p.e.options.QueueEvents || p.bytes+it.size > p.e.options.QueueBytes {
		return
	}
	p.add(it)
	r := p.route(it.local)
	r.queue = append(r.queue, it)
	r.kick()
}

func count32(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

func yes(text string) bool { return text == "true" || text == "1" }

// Management implements peerstream.Handler: XEP-0198.
func (s *session) Management(st *peerstream.Stream, e *stanza.Element) error {
	switch e.Local {
	case "r":
		if s.managed.Load() {
			st.Send(s.ack())
		}
		return nil
	case "enable":
		return s.enable(st, e)
	case "resume":
		return s.resume(st, e)
	}
	l := s.link.Load()
	if l == nil {
		return nil
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.sess != s {
		return nil
	}
	h, ok := count32(e.Attr("h"))
	var wrong *stream.Error
	switch {
	case e.Local == "a" && ok && l.managed:
		wrong = l.ack(h)
	case e.Local == "enabled" && l.phase == enabling:
		s.mgMu.Lock()
		s.managed.Store(true)
		s.id = e.Attr("id")
		s.resumable = yes(e.Attr("resume")) && s.id != ""
		l.managed, l.resumable, l.id, l.sent = true, s.resumable, s.id, 0
		s.mgMu.Unlock()
		l.becomeReady()
	case e.Local == "resumed" && l.phase == resuming && ok:
		s.mgMu.Lock()
		s.managed.Store(true)
		s.resumable, s.id = true, l.id
		s.h.Store(l.came)
		s.told.Store(l.came)
		s.mgMu.Unlock()
		s.e.mu.Lock()
		delete(s.e.broken, recordName(s.st.Far(), shortID(l.id)))
		s.e.mu.Unlock()
		if wrong = l.resumed(h); wrong == nil {
			l.becomeReady()
		}
	case e.Local == "failed" && l.phase == enabling:
		l.becomeReady()
	case e.Local == "failed" && l.phase == resuming:
		if ok && len(e.Attr("h")) > 0 {
			if wrong = l.resumed(h); wrong != nil {
				break
			}
		}
		l.enable()
	}
	if wrong != nil {
		return wrong
	}
	return nil
}

// fail answers <enable/> and <resume/>.
func (s *session) fail(st *peerstream.Stream, c stanza.Condition) error {
	st.Send("<failed xmlns='" + peerstream.NSManagement + "'><" + string(c) + " xmlns='" + xmpp.NSStanzas + "'/></failed>")
	return nil
}

// enable is <enable/> of a peer (XEP-0198 3).
func (s *session) enable(st *peerstream.Stream, e *stanza.Element) error {
	managed := s.managed.Load()
	if s.initiator || managed || len(st.Pairs()) == 0 {
		return s.fail(st, stanza.UnexpectedRequest)
	}
	id, resumable := newID(), yes(e.Attr("resume"))
	key := recordName(st.Far(), shortID(id))
	text := "<enabled xmlns='" + peerstream.NSManagement + "' id='" + id + "'"
	if resumable {
		text += " resume='true' max='" + strconv.Itoa(s.e.options.ResumeTime) + "'"
		err := s.e.deps.Kernel.Do(s.e.ctx, recordKey+st.Far(), func(h *extension.Host) error {
			return h.Memory.Put(key, (&record{far: st.Far(), local: st.Local()}).append(nil))
		})
		if err != nil {
			return s.fail(st, stanza.ResourceConstraint)
		}
		s.e.mu.Lock()
		s.e.managed[key], s.record = s, key
		s.e.mu.Unlock()
	}
	text += "/>"
	s.mgMu.Lock()
	s.managed.Store(true)
	s.resumable, s.id = resumable, id
	l := s.link.Load()
	if l == nil {
		st.Send(text)
	}
	s.mgMu.Unlock()
	if l != nil { // the writer says it in front of the first stanza that counts
		l.p.mu.Lock()
		if l.sess == s {
			l.start = &started{text: text, id: id, resumable: resumable}
		}
		l.p.mu.Unlock()
		st.Wake()
	}
	return nil
}

// resume is <resume/> of a peer (XEP-0198 5).
func (s *session) resume(st *peerstream.Stream, e *stanza.Element) error {
	previous := e.Attr("previd")
	h, ok := count32(e.Attr("h"))
	managed := s.managed.Load()
	switch {
	case s.initiator || managed || len(st.Pairs()) == 0:
		return s.fail(st, stanza.UnexpectedRequest)
	case !ok || previous == "":
		return s.fail(st, stanza.BadRequest)
	}
	key := recordName(st.Far(), shortID(previous))
	s.e.mu.Lock()
	old := s.e.managed[key]
	s.e.mu.Unlock()
	if old != nil {
		old.inMu.Lock() // behind the batch that is being handed in
		old.replaced = true
		old.inMu.Unlock()
		old.st.Close(stream.Err(stream.Conflict, "resumed on another stream"))
	}
	var r *record
	err := s.e.deps.Kernel.Do(s.e.ctx, recordKey+st.Far(), func(host *extension.Host) error {
		r = nil
		entry, there, err := host.Memory.Get(s.e.ctx, key)
		if err != nil || !there {
			return err
		}
		r, err = readRecord(entry.Value)
		return err
	})
	switch {
	case err != nil:
		return s.fail(st, stanza.InternalServerError)
	case r == nil || r.far != st.Far() || r.local != st.Local() || !s.speaksFor(r.far):
		return s.fail(st, stanza.ItemNotFound)
	}
	s.e.mu.Lock()
	s.e.managed[key], s.record = s, key
	delete(s.e.broken, key)
	s.e.mu.Unlock()
	s.mgMu.Lock()
	s.managed.Store(true)
	s.resumable, s.id = true, previous
	s.h.Store(r.h)
	s.told.Store(r.h)
	s.sent = h
	text := "<resumed xmlns='" + peerstream.NSManagement + "' h='" + number(r.h) + "' previd='" + attr(previous) + "'/>"
	l := s.link.Load()
	if l == nil {
		st.Send(text)
	}
	s.mgMu.Unlock()
	switch {
	case l != nil: // what was on its way before is not known any more, and new stanzas may flow already
		l.p.mu.Lock()
		if l.sess == s {
			l.start = &started{text: text, id: previous, resumable: true, sent: h}
		}
		l.p.mu.Unlock()
		st.Wake()
		return nil
	case !st.Bidi():
		return nil
	}
	p := s.e.lock(st.Far())
	defer p.mu.Unlock()
	for _, l := range p.links {
		if l.id != previous || !l.managed || l.sess != nil && l.sess.initiator {
			continue
		}
		l.sess, l.inbound, l.both, l.phase = s, true, true, ready
		s.link.Store(l)
		if wrong := l.resumed(h); wrong != nil {
			return wrong
		}
		l.becomeReady()
	}
	return nil
}

// speaksFor says whether the peer is authenticated as a domain.
func (s *session) speaksFor(far string) bool {
	for _, p := range s.st.Pairs() {
		if p.Far == far {
			return true
		}
	}
	return false
}

// leave ends a stream at the end of the process: unfinished, if it can be resumed.
func (s *session) leave() {
	s.mgMu.Lock()
	managed := s.managed.Load()
	resumable := managed && s.resumable
	s.mgMu.Unlock()
	if resumable {
		s.inMu.Lock()
		s.replaced = true
		s.inMu.Unlock()
		s.st.Abort()
		return
	}
	if managed && s.initiator {
		s.st.Close(nil) // what the peer acknowledges in front of its end counts
		return
	}
	s.st.Close(stream.Err(stream.SystemShutdown, ""))
}
