// Package plugintest tests plugins without a server.
//
// Through, with ports/extension/extensiontest, tests what handlers do: in memory, without a
// process. Start starts an executable and speaks the contract with it, in any language.
package plugintest

import (
	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Through returns a registration for a harness of extensiontest, whose handlers run as
// they do in a process: all that they are given, ask for and answer goes through messages of
// the contract. So the tests of an extension show that it runs both inside the server and as
// a plugin:
//
//	func TestSuite(t *testing.T) {
//		extensiontest.Run(t, func() extension.Registration { return New(Options{}) })
//		extensiontest.Run(t, func() extension.Registration { return plugintest.Through(New(Options{})) })
//	}
func Through(reg extension.Registration) extension.Registration { return plugin.Loopback(reg) }
