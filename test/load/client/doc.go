// Package client is an XMPP client for tests that put a load on a server.
package client
