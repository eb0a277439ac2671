package peerstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Receive makes a stream of a connection that came in. Run does the rest.
func Receive(conn net.Conn, c *Config, h Handler) *Stream {
	s := newStream(conn, c, h)
	s.restart = true
	s.id = c.NewID()
	return s
}

// How large reads are: while nobody is authenticated, of TLS (a record), of the rest.
const (
	firstRead = 4 << 10
	tlsRead   = 16 << 10
	mostRead  = 64 << 10
)

// Run reads until the stream is over, and returns why: nil if both sides have closed it. directTLS is for streams that
// came in (XEP-0368). ctx ends it with system-shutdown.
func (s *Stream) Run(ctx context.Context, directTLS bool) error {
	defer context.AfterFunc(ctx, func() { s.Close(stream.Err(stream.SystemShutdown, "")) })()
	if directTLS && !s.initiator {
		if err := s.tlsServer(ctx, true); err != nil {
			s.Abort()
			return fmt.Errorf("peerstream: direct TLS: %w", err)
		}
	}
	written := make(chan struct{})
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	go func() { defer close(written); s.write() }()
	if s.initiator {
		s.mu.Lock()
		if len(s.outward) > 0 || len(s.any) > 0 {
			s.authenticated()
		}
		s.mu.Unlock()
	}
	s.poke()

	err := s.read(ctx)
	var e *stream.Error
	switch {
	case errors.As(err, &e):
		s.Close(e)
		s.settle()
	case errors.As(err, new(*PeerError)), err == nil:
		s.dropUnsent(false) // the peer reads to our end
		s.Close(nil)
		s.settle()
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.mu.Lock()
		ending := s.ending
		s.mu.Unlock()
		if !ending {
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
			s.Close(stream.Err(stream.ConnectionTimeout, ""))
			s.settle()
		} else {
			err = nil
		}
	}
	s.Abort()
	<-written
	s.mu.Lock()
	asking := s.asking
	s.asking = map[verification]func(error){}
	s.mu.Unlock()
	for _, said := range asking {
		said(stanza.Err(stanza.RemoteServerTimeout, "the authoritative server closed the stream"))
	}
	return err
}

// settle waits until our end of the stream is written, or can't be.
func (s *Stream) settle() {
	t := time.AfterFunc(min(s.c.Closing, s.c.Write), s.Abort)
	defer t.Stop()
	_ = s.flush()
}

// read is the reader's loop.
func (s *Stream) read(ctx context.Context) error {
	switch err := s.tokens(ctx); { // what came with the end of the negotiation
	case errors.Is(err, errEnd):
		return nil
	case err != nil:
		return err
	}
	buf := make([]byte, firstRead)
	var extended time.Time
	for {
		s.mu.Lock()
		if s.deadline.IsZero() {
			if len(buf) == firstRead {
				buf = make([]byte, tlsRead)
				if !s.secure {
					buf = make([]byte, mostRead)
				}
				s.r.SetLimits(s.c.After)
			}
			if now := time.Now(); s.c.Idle > 0 && !s.ending && now.Sub(extended) > s.c.Idle/8 {
				extended = now
				_ = s.conn.SetReadDeadline(now.Add(s.c.Idle))
			}
		}
		over, conn := s.over, s.conn
		s.mu.Unlock()
		if over {
			return ErrClosed
		}
		n, err := conn.Read(buf)
		if n > 0 {
			s.r.Feed(buf[:n])
			switch err := s.tokens(ctx); {
			case errors.Is(err, errEnd):
				return nil
			case err != nil:
				return err
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && s.unused() {
			continue
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("peerstream: the connection broke: %w", err)
		}
	}
}

// unused is asked when nothing came for a while. It says whether to read on: stanzas went out meanwhile, or
// else the stream is closed and the peer's end comes.
func (s *Stream) unused() bool {
	s.mu.Lock()
	if !s.deadline.IsZero() || s.ending || s.over {
		s.mu.Unlock()
		return false
	}
	used := time.Since(s.wrote) < s.c.Idle
	if used {
		_ = s.conn.SetReadDeadline(idle(s.c.Idle))
	}
	s.mu.Unlock()
	if !used {
		s.Close(nil)
	}
	return true
}

// errEnd: the peer has closed its stream.
var errEnd = errors.New("peerstream: the end of the stream")

// tokens takes everything that was fed.
func (s *Stream) tokens(ctx context.Context) error {
	for {
		t, ok, err := s.r.Next()
		if ok && t.Kind == xmlstream.Stanza {
			if e := s.check(&t); e != nil {
				return s.end(e)
			}
			s.batch = append(s.batch, t.Stanza)
			continue
		}
		if e := s.give(); e != nil {
			return e
		}
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		s.mu.Lock()
		failed := s.failed
		s.mu.Unlock()
		if failed {
			return errEnd
		}
		var e *stream.Error
		switch t.Kind {
		case xmlstream.Close:
			return errEnd
		case xmlstream.Open:
			s.r.Hold()
			e = s.header(ctx, t.Header)
		case xmlstream.Element:
			if err = s.element(ctx, t.Element); err != nil {
				return err
			}
		}
		if e != nil {
			return e
		}
	}
}

// end gives what was in order before the error.
func (s *Stream) end(e *stream.Error) error {
	if err := s.give(); err != nil {
		return err
	}
	return e
}

// give hands the batch on.
func (s *Stream) give() error {
	if len(s.batch) == 0 {
		return nil
	}
	err := s.h.Stanzas(s, s.batch)
	clear(s.batch)
	s.batch = s.batch[:0]
	return err
}

// check is RFC 6120 8.1.1.2 and 8.1.2.2.
func (s *Stream) check(t *xmlstream.Token) *stream.Error {
	st := t.Stanza
	if t.Malformed != "" || st.From.IsZero() || st.To.IsZero() {
		return stream.Err(stream.ImproperAddressing, "a stanza needs from and to")
	}
	p := Pair{st.To.Domain(), st.From.Domain()}
	if p == s.last {
		return nil
	}
	s.mu.Lock()
	nobody := len(s.any) == 0 && len(s.accepted) == 0
	may, anywhere := s.accepted[p], s.any[p.Far]
	s.mu.Unlock()
	switch {
	case nobody:
		return stream.Err(stream.NotAuthorized, "not authenticated yet")
	case !may && !anywhere:
		if !s.c.Ours(p.Local) {
			return s.unknown(p.Local)
		}
		return stream.Err(stream.InvalidFrom, "it is not authenticated for this domain")
	case !s.c.Ours(p.Local):
		return s.unknown(p.Local)
	}
	s.last = Pair{string([]byte(p.Local)), string([]byte(p.Far))}
	return nil
}

// unknown is the answer for a domain that is not ours (RFC 6120 4.9.3.5 and 4.9.3.6).
func (s *Stream) unknown(domain string) *stream.Error {
	if s.c.Gone != nil && s.c.Gone(domain) {
		return stream.Err(stream.HostGone, "")
	}
	return stream.Err(stream.HostUnknown, "")
}

// header takes a stream header of the peer, who opened the stream (RFC 6120 4.7).
func (s *Stream) header(ctx context.Context, h *stream.Header) *stream.Error {
	if !s.restart || s.initiator {
		return stream.Err(stream.NotAuthorized, "a stream header is not expected")
	}
	s.restart = false
	major, _, ok := stream.ParseVersion(h.Version)
	s.modern = ok && major >= 1
	local, toOK := canonical(h.To)
	far, fromOK := canonical(h.From)
	first := s.local == "" && s.far == ""
	if first {
		if toOK {
			s.local = local
		}
		if fromOK {
			s.far = far
		}
	}
	switch {
	case h.ContentSpace != xmpp.NSServer:
		return stream.Err(stream.InvalidNamespace, "the content namespace is "+xmpp.NSServer)
	case !ok:
		return stream.Err(stream.UnsupportedVersion, "version 1.0 is supported")
	case h.To == "" && s.modern, h.To != "" && !toOK:
		return stream.Err(stream.ImproperAddressing, "to is no domain")
	case h.To != "" && !s.c.Ours(local):
		return s.unknown(local)
	case h.From != "" && !fromOK:
		return stream.Err(stream.InvalidFrom, "from is no domain")
	case !first && (h.To != "" && local != s.local || h.From != "" && s.far != "" && far != s.far):
		return stream.Err(stream.InvalidFrom, "the addresses were others before")
	case h.From != "" && s.c.Terms(far).Refused:
		return stream.Err(stream.PolicyViolation, "no federation with this domain")
	}
	if fromOK {
		s.far = far // some say it only under TLS
	}
	if !first {
		s.id = s.c.NewID()
	}
	b := s.appendHeader(nil)
	if s.modern {
		b = s.appendFeatures(ctx, b)
	}
	s.mu.Lock()
	s.opened = true
	back := s.bidi && s.external != "" && s.outward[s.pair()] != may
	if back { // behind the header, and not before (XEP-0288 2.2)
		s.outward[s.pair()] = may
	}
	s.mu.Unlock()
	s.Send(string(b))
	if back {
		s.h.Authorized(s, s.pair(), nil)
	}
	return nil
}

func (s *Stream) appendFeatures(ctx context.Context, b []byte) []byte {
	terms := s.c.Terms(s.far)
	b = append(b, "<stream:features>"...)
	authenticated := s.external != ""
	if _, err := s.c.Certificate(ctx, s.local); !s.secure && err == nil {
		b = append(b, "<starttls xmlns='"+xmpp.NSTLS+"'>"...)
		if !terms.NoTLS {
			b = append(b, "<required/>"...)
		}
		b = append(b, "</starttls>"...)
	}
	s.mechanisms = s.secure && !authenticated && s.far != "" && s.Valid(ctx, s.far) == nil
	if s.mechanisms {
		b = append(b, "<mechanisms xmlns='"+xmpp.NSSASL+"'><mechanism>EXTERNAL</mechanism></mechanisms>"...)
	}
	if s.secure || terms.NoTLS {
		b = append(b, "<dialback xmlns='"+NSDialbackFeature+"'><errors/></dialback>"...)
		b = append(b, "<sm xmlns='"+NSManagement+"'/>"...)
	}
	if !authenticated {
		b = append(b, "<bidi xmlns='"+NSBidiFeature+"'/>"...)
	}
	return append(b, "</stream:features>"...)
}

// element takes an element that is no stanza.
func (s *Stream) element(ctx context.Context, e *stanza.Element) error {
	switch {
	case e.Space == xmpp.NSStream && e.Local == "error":
		return peerError(e)
	case e.Space == NSDialback:
		if err := s.dialback(ctx, e); err != nil {
			return err
		}
		return nil
	case e.Space == NSManagement:
		return s.h.Management(s, e)
	case s.initiator:
	case e.Space == xmpp.NSTLS && e.Local == "starttls":
		return s.startedTLS(ctx)
	case e.Space == xmpp.NSSASL:
		return s.sasl(e)
	case e.Space == NSBidi && e.Local == "bidi":
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.accepted) > 0 || len(s.any) > 0 {
			return stream.Err(stream.PolicyViolation, "bidi comes before authentication") // XEP-0288 2.2
		}
		s.bidi = true
		s.dropUnsent(true)
		return nil
	}
	s.mu.Lock()
	nobody := len(s.any) == 0 && len(s.accepted) == 0
	s.mu.Unlock()
	if nobody && !s.initiator {
		return stream.Err(stream.NotAuthorized, "not authenticated yet")
	}
	return stream.Err(stream.UnsupportedStanzaType, "") // RFC 6120 4.9.3.24
}

func (s *Stream) startedTLS(ctx context.Context) error {
	s.mu.Lock()
	somebody := len(s.any) > 0 || len(s.accepted) > 0 || len(s.checking) > 0 || s.bidi
	s.mu.Unlock()
	if s.secure || somebody || !s.modern || s.local == "" {
		s.Send("<failure xmlns='" + xmpp.NSTLS + "'/>") // RFC 6120 5.4.2.2
		return errEnd
	}
	s.Send("<proceed xmlns='" + xmpp.NSTLS + "'/>")
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.tlsServer(ctx, false); err != nil {
		s.Abort()
		return fmt.Errorf("peerstream: TLS: %w", err)
	}
	s.restart = true
	return nil
}

// sasl is XEP-0178 section 3, and RFC 6120 6.
func (s *Stream) sasl(e *stanza.Element) error {
	condition := ""
	switch {
	case e.Local == "abort":
		condition = "aborted"
	case e.Local != "auth":
		return stream.Err(stream.UnsupportedStanzaType, "")
	case !s.secure:
		condition = "encryption-required"
	case s.external != "":
		return stream.Err(stream.PolicyViolation, "it is authenticated") // RFC 6120 6.3.7
	case e.Attr("mechanism") != "EXTERNAL", !s.mechanisms:
		condition = "invalid-mechanism"
		if e.Attr("mechanism") == "EXTERNAL" {
			condition = "not-authorized"
		}
	default:
		id := s.far
		if text := e.Text(); text != "=" && text != "" {
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				condition = "incorrect-encoding"
				break
			}
			said, ok := canonical(string(b))
			if !ok || said != s.far {
				condition = "invalid-authzid"
				break
			}
		}
		if err := s.h.Accept(s, Pair{s.local, id}); err != nil {
			return stream.Err(stream.ResourceConstraint, "")
		}
		s.external = id
	}
	if condition != "" {
		s.Send("<failure xmlns='" + xmpp.NSSASL + "'><" + condition + "/></failure>")
		if s.tries++; s.tries >= maxTries || s.c.Terms(s.far).Certificate {
			return errEnd
		}
		return nil // dialback may follow
	}
	s.Send("<success xmlns='" + xmpp.NSSASL + "'/>")
	s.mu.Lock()
	s.any[s.external] = true
	s.authenticated()
	s.opened = false
	s.mu.Unlock()
	s.r.Reset()
	s.restart = true
	return nil
}

// maxTries is how often a peer may try to authenticate by SASL (RFC 6120 6.4.5 wants 2 at least).
const maxTries = 3
