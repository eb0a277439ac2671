// Package s2s is federation: streams to and from other servers, as a plugin that claims all far
// domains. It implements the routing of RFC 6120 section 10.4 over the streams of package peerstream, and stream
// management with resumption (XEP-0198).
//
// # Nothing lost, nothing twice
//
// What goes to a far domain is an event of the kernel, and stays one until it is answered (link.go).
// Before stanzas are written to a socket, a note of which ones is put in the extension's memory, and applied.
// So a process that takes over knows of each event whether it was perhaps written. Of a peer with
// XEP-0198 it then hears which stanzas arrived, by resuming the stream. What came in a read is one transaction of the
// kernel, together with the count that XEP-0198 acknowledges and resumes by (in.go).
//
// # Locks and goroutines
//
// Each stream has two goroutines (package peerstream), each connection that is being made has one, and one looks after
// time (Engine.watch). Engine.mu guards the lists, peer.mu all that goes to a far domain;
// peer.mu is never held while a lock of a stream's is waited for longer than that takes to queue bytes. Engine.mu
// is taken inside of peer.mu, never the other way.
//
// docs/plugins/s2s.md says what is missing.
package s2s
