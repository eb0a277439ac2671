// Package handshake has what go-plugin's handshake between hexmpp and a plugin says. It
// is apart from the rest, since both ends need it and neither needs the other.
package handshake

// A process finds the cookie in its environment if hexmpp started it as a plugin. That
// is for people who start one by hand, and no secret.
const (
	CookieKey   = "HEXMPP_PLUGIN"
	CookieValue = "3f1c6d0e-plugin-of-hexmpp"
)

// Version is the contract's major version, hexmpp.plugin.v1: the protocol version of
// go-plugin's handshake.
const Version = 1
