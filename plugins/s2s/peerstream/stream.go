package peerstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Stream is one stream between two servers.
type Stream struct {
	c         *Config
	h         Handler
	initiator bool

	// The reader's, and until Run that of who made the stream.
	local, far string // of the first header; "" where the peer did not say
	id         string // of the response header
	modern     bool   // the peer has version 1.0
	opened     bool   // our header is out
	secure     bool
	chain      []*x509.Certificate
	verified   map[string]error // what Verify said of the chain
	mechanisms bool             // EXTERNAL was offered to the peer
	external   string           // the domain that the peer is, by EXTERNAL
	restart    bool             // a header comes next
	tries      int              // of SASL
	features   features         // of the peer
	r          *xmlstream.Reader
	batch      []*stanza.Stanza
	last       Pair // of the last stanza that was in order
	deadline   time.Time
	begun      time.Time

	mu       sync.Mutex // guards what follows
	raw      net.Conn   // below TLS
	conn     net.Conn   // changed by the reader alone, while nothing is written
	cond     *sync.Cond // out is empty and nothing is written, or the stream is over
	out      []byte     // answers that wait
	spare    []byte
	wrote    time.Time // the last stanza
	writing  bool
	running  bool // the writer is there
	ending   bool // our </stream:stream> is in out, or was written
	failed   bool // with a stream error: what comes is not read any more
	over     bool
	bidi     bool
	accepted map[Pair]bool // the peer may send for it
	any      map[string]bool
	outward  map[Pair]outward // we asked for it
	asking   map[verification]func(error)
	checking map[Pair]bool     // the peer asked for it, and it is being verified
	proofs   map[string]string // of domains, by the certificate
	wake     chan struct{}
}

// outward is what became of a request for a pair.
type outward uint8

const (
	asked outward = iota + 1
	may
)

// verification is a request of ours to an authoritative server.
type verification struct {
	local, far, id string
}

// features are what the peer offered.
type features struct {
	startTLS, requireTLS, external, dialback, errors, bidi, management bool
}

// Local returns the domain of ours that the stream was opened for, Far the peer's, which is
// authenticated only if a Pair with it was; "" if the peer did not say.
func (s *Stream) Local() string { return s.local }

// Far returns the peer's domain.
func (s *Stream) Far() string { return s.far }

// ID returns the stream ID of the response header.
func (s *Stream) ID() string { return s.id }

// Initiator says whether we opened the stream.
func (s *Stream) Initiator() bool { return s.initiator }

// Secure says whether it is encrypted.
func (s *Stream) Secure() bool { return s.secure }

// Valid returns what is wrong with the peer's certificate for a domain, nil if nothing is. It is for the
// reader, and for who made the stream before Run.
func (s *Stream) Valid(ctx context.Context, domain string) error {
	if !s.secure || len(s.chain) == 0 {
		return ErrCertificate
	}
	err, known := s.verified[domain]
	if !known {
		var proof string
		if proof, err = s.c.Verify(ctx, s.chain, domain); len(s.verified) < 100 {
			s.verified[domain] = err
			if err == nil {
				s.mu.Lock()
				s.proofs[domain] = proof
				s.mu.Unlock()
			}
		}
	}
	return err
}

// Proof says by what the peer's certificate proves that it is a domain, for people; "" if it does not, or nobody has asked.
func (s *Stream) Proof(domain string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proofs[domain]
}

// TLS says how the stream is encrypted, for people; "" if it is not.
func (s *Stream) TLS() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.conn.(*tls.Conn)
	if !ok {
		return ""
	}
	state := c.ConnectionState()
	return tls.VersionName(state.Version) + ", " + tls.CipherSuiteName(state.CipherSuite)
}

// Manages says whether the peer offers XEP-0198, ManyPairs whether it can be asked for further pairs
// with other domains of its own (XEP-0220 2.6.2).
func (s *Stream) Manages() bool { return s.features.management }

// ManyPairs says whether dialback for further pairs may be tried.
func (s *Stream) ManyPairs() bool { return s.features.errors || s.features.dialback }

// Bidi says whether stanzas flow both ways.
func (s *Stream) Bidi() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bidi
}

// Remote returns the address of the peer.
func (s *Stream) Remote() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.RemoteAddr()
}

// May says whether stanzas of a pair may be sent.
func (s *Stream) May(p Pair) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outward[p] == may
}

// Pairs returns the pairs that the peer may send for; those of a peer that is authenticated by
// certificate have no Local.
func (s *Stream) Pairs() (list []Pair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for far := range s.any {
		list = append(list, Pair{"", far})
	}
	for p := range s.accepted {
		list = append(list, p)
	}
	return list
}

func newStream(conn net.Conn, c *Config, h Handler) *Stream {
	s := &Stream{
		c: c, h: h, raw: conn, conn: conn, r: xmlstream.NewReader(c.Before), begun: time.Now(), deadline: time.Now().Add(c.Negotiation),
		verified: map[string]error{}, proofs: map[string]string{}, accepted: map[Pair]bool{}, any: map[string]bool{}, outward: map[Pair]outward{},
		asking: map[verification]func(error){}, checking: map[Pair]bool{}, wake: make(chan struct{}, 1),
	}
	s.cond = sync.NewCond(&s.mu)
	_ = conn.SetDeadline(s.deadline)
	return s
}

// canonical reads a domain of a header or of dialback.
func canonical(domain string) (string, bool) {
	j, err := jid.Parse(domain)
	if err != nil || j.Local() != "" || !j.IsBare() {
		return "", false
	}
	return j.Domain(), true
}

// appendHeader appends our stream header, with the prefix of dialback declared (XEP-0220 2.4.1).
func (s *Stream) appendHeader(dst []byte) []byte {
	h := stream.Header{To: s.far, From: s.local, Lang: "en", ContentSpace: xmpp.NSServer}
	if !s.initiator {
		h.ID = s.id
	}
	if s.initiator || s.modern {
		h.Version = "1.0"
	}
	dst = h.AppendOpen(dst)
	return append(dst[:len(dst)-1], " xmlns:db='"+NSDialback+"'>"...)
}

// Send queues bytes that are no stanzas: answers. A peer that makes us queue too many without reading
// them is left.
func (s *Stream) Send(b string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || s.over {
		return
	}
	if len(s.out)+len(b) > s.c.MaxQueued {
		s.abort()
		return
	}
	s.out = append(s.out, b...)
	s.poke()
}

// Wake has the writer call Fill.
func (s *Stream) Wake() { s.poke() }

func (s *Stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// dropUnsent says what becomes of stanzas that the operating system still has when the connection ends, also
// with the process: thrown away, or sent for as long as the peer can't be reached. What is given up must not arrive behind
// what is said later on another stream.
func (s *Stream) dropUnsent(on bool) {
	if c, ok := s.raw.(interface{ SetLinger(sec int) error }); ok {
		sec := -1
		if on {
			sec = 0
		}
		_ = c.SetLinger(sec) // fails on a connection that is over
	}
}

// abort ends the connection as it is. s.mu is held.
func (s *Stream) abort() {
	s.over = true
	s.cond.Broadcast()
	_ = s.raw.Close() // without TLS's farewell, which could wait
	s.poke()
}

// Abort ends the connection without a word: the stream is unfinished, and may be resumed (XEP-0198 7).
func (s *Stream) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort()
}

// Close ends the stream, with an error unless it is nil (RFC 6120 4.4, 4.9). It returns at once; Run returns when the
// peer has closed, too, or soon.
func (s *Stream) Close(e *stream.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || s.over {
		return
	}
	s.ending = true
	if !s.opened {
		s.opened = true
		s.out = s.appendHeader(s.out)
	}
	s.out = append(s.out, s.h.Last(s)...)
	if e != nil {
		s.failed = true
		s.out = e.Append(s.out, false)
	}
	s.out = append(s.out, "</stream:stream>"...)
	_ = s.conn.SetReadDeadline(time.Now().Add(s.c.Closing))
	s.poke()
}

// flush waits until everything in out is written. Before the writer is there it writes.
func (s *Stream) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		b := s.out
		s.out = nil
		if len(b) == 0 {
			return nil
		}
		_, err := s.conn.Write(b)
		return err
	}
	for (s.writing || len(s.out) > 0) && !s.over {
		s.cond.Wait()
	}
	if s.over {
		return ErrClosed
	}
	return nil
}

// maxSpare is how large a buffer is kept for the next write.
const maxSpare = 64 << 10

// write is the writer's loop. It ends when the stream is over, or everything behind our end is written.
func (s *Stream) write() {
	tick := time.NewTicker(s.c.Tick)
	defer tick.Stop()
	for {
		select {
		case <-s.wake:
		case <-tick.C:
			s.tick()
		}
		for more := true; more; {
			s.mu.Lock()
			if s.over {
				s.mu.Unlock()
				return
			}
			b, ending, conn := s.out, s.ending, s.conn
			s.out, s.spare, s.writing = s.spare[:0], nil, true
			s.mu.Unlock()

			var err error
			answers := len(b)
			more = false
			if !ending {
				b, more, err = s.h.Fill(s, b)
			}
			if err == nil && len(b) > 0 {
				var n int
				if n, err = s.writeAll(conn, b); len(b) > answers {
					s.h.Wrote(s, max(0, n-answers))
				}
			}

			s.mu.Lock()
			s.writing = false
			if len(b) > answers {
				s.wrote = time.Now()
			}
			if cap(b) <= maxSpare {
				s.spare = b
			}
			more = more || len(s.out) > 0
			if err != nil {
				s.abort()
			}
			if !more {
				s.cond.Broadcast()
			}
			ended := ending && len(s.out) == 0
			s.mu.Unlock()
			if ended {
				closeWrite(conn)
			}
			if ended || err != nil {
				return
			}
		}
	}
}

// oneWrite is how many bytes have the time of Config.Write.
const oneWrite = 256 << 10

// writeAll writes b, and says how many bytes of it: with TLS those of whole records, which are all that the peer can read.
func (s *Stream) writeAll(conn net.Conn, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(s.c.Write))
		var m int
		m, err = conn.Write(b[n:min(len(b), n+oneWrite)])
		n += m
	}
	return n, err
}

// tick keeps the connection in the memory of whatever is between us and the peer (RFC 6120 4.6.1).
func (s *Stream) tick() {
	s.mu.Lock()
	if s.deadline.IsZero() && len(s.out) == 0 && s.opened && !s.ending {
		s.out = append(s.out, ' ')
	}
	s.mu.Unlock()
	s.h.Tick(s)
}

// closeWrite tells the peer that nothing follows.
func closeWrite(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.CloseWrite()
	}
}

// tlsServer and tlsClient take TLS into use. Nothing is written meanwhile.
func (s *Stream) tlsServer(ctx context.Context, direct bool) error {
	local := s.local
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert, // verified by domain, when the peer says which one it is
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := local
			if sni, ok := canonical(hello.ServerName); ok && (name == "" || direct) && s.c.Ours(sni) {
				name = sni
			}
			return s.c.Certificate(ctx, name)
		},
	}
	if direct {
		c.NextProtos = []string{ALPN}
	}
	return s.handshake(ctx, tls.Server(s.conn, c))
}

func (s *Stream) tlsClient(ctx context.Context, direct bool) error {
	local := s.local
	name, err := jid.DomainToASCII(s.far)
	if err != nil {
		name = "" // an address: no SNI (RFC 6066 3)
	}
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         name,
		InsecureSkipVerify: true, // Valid says, and the Terms say what follows
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert, err := s.c.Certificate(ctx, local); err == nil && cert != nil {
				return cert, nil
			}
			return &tls.Certificate{}, nil // dialback is left
		},
	}
	if direct {
		c.NextProtos = []string{ALPN}
	}
	return s.handshake(ctx, tls.Client(s.conn, c))
}

func (s *Stream) handshake(ctx context.Context, conn *tls.Conn) error {
	_ = s.conn.SetDeadline(s.deadline)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return ErrClosed
	}
	s.conn, s.secure, s.chain = conn, true, conn.ConnectionState().PeerCertificates
	s.r.Discard() // RFC 6120 5.4.3.3
	s.r.Reset()
	s.opened = false
	return nil
}
