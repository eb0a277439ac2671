// Package adminapi carries ports/admin over a unix socket: HTTP with JSON. The
// Server stands in front of a running hexmpp, the Client implements the same
// port at the other end, so that a command line does not see the difference.
//
// Who may open the socket may administer the server: the socket has mode 0600
// and lies in a folder of mode 0700 that belongs to the user of the server.
// Both ends check that. There is no other authentication.
//
// protocol.go has the requests and how errors keep their identity, path.go
// where the socket is. The protocol is between a hexmpp and the same hexmpp;
// other programs get an interface of their own with tokens, which is not here.
package adminapi
