// Package tcp carries XML streams over TCP (RFC 6120 3), in clear with
// STARTTLS (RFC 6120 5) or with TLS from the first byte (XEP-0368). It is the
// place where most of the server's CPU time and memory goes, so it is built
// for connections that are many and mostly idle.
//
// # How it works
//
// On Linux a few event loops (epoll) read all connections: a connection has
// neither a goroutine nor a buffer while it is idle. Elsewhere, and on
// request, each connection has a goroutine (poll_portable.go); everything
// above the socket interface is the same code.
//
//   - A turn is what one goroutine does with one connection at a time: read,
//     tick, handle the end. conn.turn says who may (turn.go).
//   - The write side has an owner of its own, so that any goroutine can flush
//     any connection without waiting (write.go).
//   - Handshakes and Waits run on bounded goroutines of their own (pool.go).
//   - Under tls.Conn sits a feeder (tls.go) which gives it the ciphertext of
//     one read(2) and then a temporary error, so that tls.Conn never waits and
//     the end of the input at hand is known.
//   - One sweep a second looks after deadlines and Stream.Tick (sweep.go).
//
// # What it implements
//
// RFC 6120 3 and 5, RFC 7590 3 (TLS 1.2 or later, no compression, no
// renegotiation), XEP-0368 4 (ALPN), the channel bindings tls-exporter
// (RFC 9266) and tls-server-end-point (RFC 5929 4).
//
// It leaves out: anything that needs to look at XML (that is the Stream's),
// client certificates, outgoing connections, the PROXY protocol.
package tcp
