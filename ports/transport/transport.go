// Package transport is the port between the kernel and whatever carries
// streams: TCP, WebSocket, plugins that bring streams of their own.
//
// The kernel's side of a connection is a Stream: a state machine that is fed
// with bytes and has neither goroutine nor socket. The adapter's side is a
// Conn. Output is pulled: the kernel says through a Batch that a connection
// has output, the adapter asks Drain for it, and what the socket does not take
// stays in the kernel, where it is bounded.
//
// # Turns
//
// Feed, Secured, Tick and Closed are turns. The adapter never runs two turns
// of one Stream at once; different Streams are independent. Each turn is given
// a Batch, and the adapter calls Batch.Flush when it has handed over all the
// input at hand (at most MaxTurn bytes, for fairness), so that each recipient
// is written to once. A Stream whose input takes long to be worked through asks by
// Conn.Pause that others have their turns in between. Drain may be called at any time, also during a turn of
// the same Stream, but not by two goroutines at once.
package transport

import (
	"net/netip"
	"time"
)

// MaxTurn is how many bytes of input an adapter feeds at most before it
// flushes the Batch and lets other connections run.
const MaxTurn = 64 << 10

// Stream is the kernel's side of one connection.
type Stream interface {
	// Feed hands over input. p is borrowed until Feed returns; what the kernel
	// can't use yet it copies. A non-nil Wait means that the stream waits for
	// something slow: the adapter stops reading this connection, runs the Wait
	// away from its read path, on a bounded number of goroutines, and then
	// calls Feed again, with nil if it has no input at hand, since input of
	// before may be held. p may be empty.
	Feed(b *Batch, p []byte) Wait

	// Secured tells that the TLS handshake asked for by Conn.StartTLS is done.
	// Direct TLS is not announced by it: Peer.TLS is set from the start.
	Secured(b *Batch, t *TLS)

	// Tick gives the stream the time. The adapter calls it when the time that
	// the last Tick returned has come, within about a second. The first call
	// is made right after the connection was accepted and may be used to learn
	// when the next is wanted. The zero time means never.
	Tick(b *Batch, now time.Time) (next time.Time)

	// Drain appends output to dst until there is none or until the appended
	// part is max bytes or longer; a single stanza is never cut in two.
	// Nothing appended means that there is nothing to write until the Conn is
	// flushed again.
	Drain(dst []byte, max int) []byte

	// Closed tells that the connection is gone, whoever ended it. It is called
	// exactly once, last, and not during another turn. err is nil when the
	// kernel had asked for the end, or the peer closed in order.
	Closed(b *Batch, err error)
}

// Conn is what the kernel asks of the adapter. All methods may be called from
// any goroutine, also during a turn, and never block.
type Conn interface {
	// Flush writes what Drain gives, as far as the socket takes it, and goes on
	// by itself when the socket is writable again. Kernel code does not call
	// it but adds the Conn to its Batch.
	Flush()

	// StartTLS asks for a TLS handshake as server, after the output of the
	// present turn has been written in clear. The certificate is that of domain
	// if the client names none in its handshake. Input that came in clear before
	// the handshake is discarded (RFC 6120 5.4.3.3); no Feed happens until
	// Secured. If the handshake fails, Closed follows. It is called during a
	// turn only.
	StartTLS(domain string)

	// Pause asks for a rest: for a time nothing is read from the connection,
	// which takes no goroutine meanwhile. Then Feed is called, with nil, since
	// input of before may be held, and with further input as ever. Ticks and
	// output go on, and no end of the connection waits for it. With no time, other
	// connections have their turns first. It is called during a Feed that returns
	// no Wait.
	Pause(d time.Duration)

	// Hold is a Pause without a time: Resume ends it, also one that comes before the
	// Feed has returned.
	Hold()

	// Resume ends a rest; there need be none.
	Resume()

	// Close asks to write the pending output, with a deadline, and then to end
	// the connection (TLS close_notify included). No Feed follows. Closed does.
	Close()
}

// Peer is what is known of the other side when a connection is accepted.
type Peer struct {
	Addr  netip.AddrPort // the peer's address
	Local netip.AddrPort // our address
	TLS   *TLS           // nil while the connection is in clear
	// TLSAvailable says that Conn.StartTLS works on this connection.
	TLSAvailable bool
	// Private says that nobody on the way can read along though TLS is nil: it
	// is inside of this machine, or a proxy that is trusted ends the peer's TLS.
	Private bool
	Framing Framing
}

// Framing is how XML is put on the wire.
type Framing uint8

const (
	FramingStream Framing = iota // RFC 6120: one document <stream:stream>
	// FramingWebSocket is RFC 7395: <open/>, each element by itself. In what Feed
	// is given, and Drain gives, a zero byte ends each message: XML can't contain it.
	FramingWebSocket
)

// TLS is what is known of a TLS connection (RFC 6120 5, RFC 9266, RFC 5929).
type TLS struct {
	Version     uint16 // as in crypto/tls
	CipherSuite uint16
	ServerName  string // from SNI, "" if the peer sent none
	// Exporter gives the channel binding tls-exporter; nil where RFC 9266
	// does not allow it.
	Exporter func() ([]byte, error)
	// EndPoint is the channel binding tls-server-end-point, nil if the
	// certificate's signature algorithm does not define it.
	EndPoint []byte
}

// Batch collects the connections that a turn gave output to. It belongs to
// one goroutine; its zero value is ready for use.
type Batch struct{ conns []Conn }

// Add notes that c has output. Whoever queues output makes sure that a
// connection is not added again before it was drained.
func (b *Batch) Add(c Conn) { b.conns = append(b.conns, c) }

// Flush flushes each connection that was added, and empties the batch.
func (b *Batch) Flush() {
	for i, c := range b.conns {
		c.Flush()
		b.conns[i] = nil
	}
	b.conns = b.conns[:0]
}
