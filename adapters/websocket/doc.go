// Package websocket carries framed XML streams over WebSocket (RFC 7395, RFC 6455).
//
// A request is answered on an HTTP listener (handler.go); from then on its
// connection is adopted by an adapters/tcp Server, which reads, writes, waits and ends
// it as any other, with the same limits. Between that and the kernel's Stream stands
// a Stream of this package (stream.go): it takes frames off what comes in and puts
// them on what goes out, so that an idle session holds no goroutine and no buffer, but
// for the part of a frame's header that has come.
//
// The messages of a stream are handed to the kernel with a zero byte behind each
// (transport.FramingWebSocket), in pieces as they come: what bounds an element
// bounds a message, and nothing is held twice.
//
// The framing is our own, since libraries for it read from a net.Conn, with a
// goroutine that waits there or a buffer for each connection, or both. What is needed
// of it is small: one decoder that can stop anywhere, and headers of two to ten bytes.
//
// It leaves out: extensions of WebSocket, permessage-deflate (RFC 7692) among them,
// which no client gets unless it is agreed on; HTTP/2 (RFC 8441), for which clients
// use HTTP/1.1; pings of the server's own, since TCP's keepalive finds dead peers.
package websocket
