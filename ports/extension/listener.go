package extension

import "net"

// Listener is a listening socket that an extension serves. The server binds it at its
// start, before any process of the extension runs, and keeps it: a process that is killed, or replaced, loses
// connections that it had accepted, and none that waits to be.
type Listener struct {
	Name    string // as in the configuration: "s2s"
	Network string // "tcp"
	// Address is where such a service usually listens, for people; "" if there is no such
	// place. Only what the configuration names is bound.
	Address string
}

// Listeners gives an extension its listening sockets, in a process of its own. Inside the server it has none.
type Listeners interface {
	// Get returns the sockets of a listener of the registration, one for each address that is configured; none, without an
	// error, if no address is. Each call returns the same ones. The extension accepts from Start on. They are
	// closed, so that Accept returns net.ErrClosed, when another process acts, or this one is to
	// end; the extension may close them before. Connections that were accepted are its own.
	Get(name string) ([]net.Listener, error)
}
