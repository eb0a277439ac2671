package tcp

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// tlsSide is the TLS of one connection. It is also the net.Conn that tls.Conn
// reads from and writes to, and never lets it wait: see Read and Write.
type tlsSide struct {
	c    *conn
	conn *tls.Conn

	// Of the owner of the turns.
	in       []byte  // ciphertext that tls.Conn hasn't taken yet
	end      error   // what comes after in, if it isn't nil
	held     bool    // tls.Conn may have more to give, from in or of its own
	box      *[]byte // see strip.go
	endPoint []byte  // of the certificate that was chosen
}

// Read gives tls.Conn the ciphertext of the last read(2), then a temporary
// error. During the handshake it reads from the socket and waits.
func (t *tlsSide) Read(p []byte) (int, error) {
	if t.c.phase == phaseHandshake {
		return t.c.handshakeRead(p)
	}
	if len(t.in) > 0 {
		n := copy(p, t.in)
		t.in = t.in[n:]
		return n, nil
	}
	if t.end != nil {
		return 0, t.end
	}
	return 0, errAgain
}

// Write never waits: what the socket does not take, the write side keeps.
// tls.Conn calls it with its output lock held.
func (t *tlsSide) Write(p []byte) (int, error) {
	if err := t.c.sendRecord(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// The rest of net.Conn. Deadlines are the sweep's affair, closing finish's.
func (t *tlsSide) Close() error                     { return nil }
func (t *tlsSide) LocalAddr() net.Addr              { return net.TCPAddrFromAddrPort(t.c.local) }
func (t *tlsSide) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(t.c.peer) }
func (t *tlsSide) SetDeadline(time.Time) error      { return nil }
func (t *tlsSide) SetReadDeadline(time.Time) error  { return nil }
func (t *tlsSide) SetWriteDeadline(time.Time) error { return nil }

// tlsConfigs makes the tls.Config of a handshake. Connections with the same
// certificate share one, whose session tickets are bound to it: a resumed
// session shows no certificate, but has a channel binding to it all the same,
// and a ticket ends with its certificate.
type tlsConfigs struct {
	base   *tls.Config
	choose func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	mu     sync.Mutex // guards byCert
	byCert map[*tls.Certificate]certConfig
}

type certConfig struct {
	config   *tls.Config
	endPoint []byte
}

// maxCertConfigs bounds tlsConfigs.byCert. Renewed certificates leave entries
// behind; when there are too many, all are made anew.
const maxCertConfigs = 1024

// cipherSuites are those of TLS 1.2 with forward secrecy and authenticated
// encryption (RFC 7525 4.2); those of TLS 1.3 can't be chosen.
var cipherSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

func newTLSConfigs(o *Options, alpn string) *tlsConfigs {
	s := &tlsConfigs{choose: o.GetCertificate, byCert: map[*tls.Certificate]certConfig{}}
	s.base = &tls.Config{
		MinVersion:                  o.MinVersion,
		CipherSuites:                cipherSuites,
		DynamicRecordSizingDisabled: true,
		GetConfigForClient:          s.forClient,
	}
	if alpn != "" {
		s.base.NextProtos = []string{alpn}
	}
	return s
}

// shower is what tls.Conn reads from, and knows which certificate is shown.
type shower interface {
	preset() string        // the domain whose certificate to show if the client names none
	shows(endPoint []byte) // the certificate's
}

func (t *tlsSide) preset() string        { return t.c.domain }
func (t *tlsSide) shows(endPoint []byte) { t.endPoint = endPoint }

// forClient is tls.Config.GetConfigForClient. It runs on the goroutine of the
// handshake, which owns the turns.
func (s *tlsConfigs) forClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	side := hello.Conn.(shower)
	if domain := side.preset(); hello.ServerName == "" && domain != "" {
		named := *hello
		named.ServerName = domain
		hello = &named
	}
	cert, err := s.choose(hello)
	if err != nil {
		return nil, fmt.Errorf("certificate for %q: %w", hello.ServerName, err)
	}
	if cert == nil || len(cert.Certificate) == 0 {
		return nil, fmt.Errorf("no certificate for %q", hello.ServerName)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cc, ok := s.byCert[cert]
	if !ok {
		if len(s.byCert) >= maxCertConfigs {
			clear(s.byCert)
		}
		cc = s.bind(cert)
		s.byCert[cert] = cc
	}
	side.shows(cc.endPoint)
	return cc.config, nil
}

// bind makes the configuration for one certificate.
func (s *tlsConfigs) bind(cert *tls.Certificate) certConfig {
	cfg := s.base.Clone()
	cfg.GetConfigForClient = nil
	cfg.Certificates = []tls.Certificate{*cert}
	sum := sha256.Sum256(cert.Certificate[0])
	tag := append([]byte("hexmpp/certificate "), sum[:]...)
	cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, tag)
		return s.base.EncryptTicket(cs, ss)
	}
	cfg.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := s.base.DecryptTicket(identity, cs)
		if err != nil || ss == nil {
			return nil, err
		}
		if !slices.ContainsFunc(ss.Extra, func(e []byte) bool { return string(e) == string(tag) }) {
			return nil, nil // another certificate's: handshake in full
		}
		return ss, nil
	}
	leaf := cert.Leaf
	if leaf == nil {
		leaf, _ = x509.ParseCertificate(cert.Certificate[0])
	}
	return certConfig{config: cfg, endPoint: endPoint(leaf)}
}

// facts says what the kernel may know of a handshake that is done.
func (t *tlsSide) facts() *transport.TLS {
	cs := t.conn.ConnectionState()
	f := &transport.TLS{
		Version: cs.Version, CipherSuite: cs.CipherSuite, ServerName: cs.ServerName,
		EndPoint: t.endPoint,
	}
	// TLS 1.2 without the extended master secret has no safe exporter:
	// crypto/tls answers with an error then (RFC 9266 4.2).
	if cs.Version >= tls.VersionTLS13 {
		f.Exporter = exporter(t.conn)
	} else if _, err := exporter(t.conn)(); err == nil {
		f.Exporter = exporter(t.conn)
	}
	return f
}
