package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/transport"
	"go.uber.org/zap"
)

// Options configures a Server. The zero value of each field means its default.
type Options struct {
	// Listeners are the sockets to accept on. At least one is needed, unless
	// Adopts is set.
	Listeners []Listener

	// Adopts says that there may be no Listeners: connections come by Reserve.
	Adopts bool

	// GetCertificate chooses the certificate for a ClientHello. nil means that
	// there is no TLS: STARTTLS isn't available and DirectTLS is an error. It
	// should return the same pointer as long as the certificate is the same.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// MinVersion is the lowest TLS version that is accepted. Default TLS 1.2,
	// which is also the lowest value allowed (RFC 7590 3).
	MinVersion uint16

	// HandshakeTimeout is how long a TLS handshake may take, from accept (direct
	// TLS) or <proceed/> (STARTTLS) on. Default 30s.
	HandshakeTimeout time.Duration

	// WriteTimeout is how long a connection that is being closed may take to
	// accept the output that is left. Default 10s.
	WriteTimeout time.Duration

	// LingerTimeout is how long a closed connection waits for the peer to close
	// its side, so that the last bytes aren't lost to a reset. Default 2s.
	LingerTimeout time.Duration

	// WaitTimeout is when the context of a transport.Wait ends; a Wait of the
	// kernel's own may go on. Default 60s.
	WaitTimeout time.Duration

	// MaxConnections is how many connections are served at once; what is
	// accepted beyond is closed at once. Default 100,000.
	MaxConnections int

	// MaxPerAddress is how many connections one address (IPv4) or one /64
	// (IPv6) may have. 0 means no limit.
	MaxPerAddress int

	// ConnectRate is how many connections one address (as above) may make a
	// second, for long; ten seconds' worth may come at once. Who comes faster is
	// served up to 10 seconds later, or else refused. 0 means no limit.
	ConnectRate int

	// PendingBytes bounds the bytes that wait for one socket, in addition to
	// the piece (at most one stanza or 16 KiB) that is being written. Only a
	// peer that makes TLS answer without reading the answers reaches it; it is
	// disconnected. Default 64 KiB.
	PendingBytes int

	// Workers is how many Waits run at once; others queue. Default 512.
	Workers int

	// Handshakes is how many TLS handshakes are under way at once; others
	// queue. Each holds a goroutine (about 16 KiB). Default 4096.
	Handshakes int

	// KeepAliveIdle, KeepAliveInterval and KeepAliveCount are TCP's keepalive:
	// after so much silence a probe, each so often, dead after so many without
	// an answer. Defaults 60s, 15s, 4. A negative KeepAliveIdle turns it off.
	KeepAliveIdle     time.Duration
	KeepAliveInterval time.Duration
	KeepAliveCount    int

	// UserTimeout is how long sent data may stay unacknowledged before the
	// connection counts as dead (TCP_USER_TIMEOUT, Linux only). Default 120s,
	// negative leaves it to the system.
	UserTimeout time.Duration

	// Portable selects a goroutine per connection in place of event loops. It
	// is always so on systems other than Linux.
	Portable bool
}

// Listener is a socket to accept connections on.
type Listener struct {
	// Addr is "host:port"; an empty host means all addresses. Unused if
	// Listener is set.
	Addr string
	// Key is where the address is configured ("listen.c2s"), for messages and
	// Addrs. If several listeners have the same Key, one whose address this
	// machine does not have is left out.
	Key string
	// Listener is a socket that is listening already (socket activation,
	// tests). The Server closes it. With event loops it must be a TCP listener.
	Listener net.Listener
	// DirectTLS says that connections begin with a TLS handshake (XEP-0368).
	DirectTLS bool
	// ALPN is the protocol that a direct TLS client may ask for; one that asks
	// for others only is refused, one that doesn't ask is served. Default
	// "xmpp-client" when DirectTLS is set.
	ALPN string
}

// Deps is what a Server needs from others.
type Deps struct {
	// NewStream makes the kernel's side of an accepted connection; for direct
	// TLS after the handshake. It must not block. nil refuses the connection.
	NewStream func(transport.Peer, transport.Conn) transport.Stream
	// Log gets what an administrator should know. nil means no log.
	Log *zap.Logger
	// Observe is told of connections that are delayed or refused.
	Observe observe.Connections
}

// def sets *p to v if it has its zero value.
func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// validate fills in defaults and refuses what can't work.
func (o *Options) validate() error {
	if len(o.Listeners) == 0 && !o.Adopts {
		return errors.New("no listener configured")
	}
	o.Listeners = append([]Listener(nil), o.Listeners...)
	for i := range o.Listeners {
		l := &o.Listeners[i]
		if l.Listener == nil && l.Addr == "" {
			return fmt.Errorf("listener %d has no address", i+1)
		}
		if l.DirectTLS {
			if o.GetCertificate == nil {
				return fmt.Errorf("listener %s: direct TLS needs certificates", l.name())
			}
			def(&l.ALPN, "xmpp-client")
		}
	}
	def(&o.MinVersion, tls.VersionTLS12)
	if o.MinVersion < tls.VersionTLS12 {
		return fmt.Errorf("TLS version %s is not allowed: 1.2 is the lowest (RFC 7590 3)", tls.VersionName(o.MinVersion))
	}
	def(&o.HandshakeTimeout, 30*time.Second)
	def(&o.WriteTimeout, 10*time.Second)
	def(&o.LingerTimeout, 2*time.Second)
	def(&o.WaitTimeout, 60*time.Second)
	def(&o.MaxConnections, 100_000)
	def(&o.PendingBytes, 64<<10)
	def(&o.Workers, 512)
	def(&o.Handshakes, 4096)
	def(&o.KeepAliveIdle, 60*time.Second)
	def(&o.KeepAliveInterval, 15*time.Second)
	def(&o.KeepAliveCount, 4)
	def(&o.UserTimeout, 120*time.Second)
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"HandshakeTimeout", int64(o.HandshakeTimeout)}, {"WriteTimeout", int64(o.WriteTimeout)},
		{"LingerTimeout", int64(o.LingerTimeout)}, {"WaitTimeout", int64(o.WaitTimeout)},
		{"MaxConnections", int64(o.MaxConnections)}, {"PendingBytes", int64(o.PendingBytes)},
		{"Workers", int64(o.Workers)}, {"Handshakes", int64(o.Handshakes)},
		{"KeepAliveInterval", int64(o.KeepAliveInterval)}, {"KeepAliveCount", int64(o.KeepAliveCount)},
	} {
		if n.value < 0 {
			return fmt.Errorf("%s must not be negative", n.name)
		}
	}
	if o.MaxPerAddress < 0 {
		return errors.New("MaxPerAddress must not be negative")
	}
	if o.ConnectRate < 0 {
		return errors.New("ConnectRate must not be negative")
	}
	return nil
}

func (l Listener) name() string {
	if l.Listener != nil {
		return l.Listener.Addr().String()
	}
	return l.Addr
}

// loopCount is how many event loops run: one a core, but a handful reads more
// than the rest of a server can handle.
func loopCount() int { return min(runtime.GOMAXPROCS(0), 4) }
