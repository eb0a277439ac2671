// Package plugintest tests plugins without a server.
//
// Through, with ports/extension/extensiontest, tests what handlers do: in memory, without a
// process. Start starts an executable and speaks the contract with it, in any language.
package plugintest

import (
	"testing"

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

// Elsewhere returns a registration for a whole kernel, as it is given that of a plugin: what
// happens goes through an extension.Remote, and messages of the contract, to the handlers of
// reg. There is no process.
func Elsewhere(t testing.TB, reg extension.Registration) extension.Registration {
	t.Helper()
	out, err := plugin.Elsewhere(reg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// BothWays runs a test of an extension in a whole kernel: with the extension inside, inside by
// ordering keys (plugin.Inside), and elsewhere. The test has its registration go through the function that it is given:
//
//	func TestGreeting(t *testing.T) {
//		plugintest.BothWays(t, func(t *testing.T, as plugintest.Way) { ... as(t, New(Options{})) ... })
//	}
func BothWays(t *testing.T, test func(t *testing.T, as Way)) {
	t.Helper()
	t.Run("inside", func(t *testing.T) { test(t, Inside) })
	t.Run("by keys", func(t *testing.T) {
		test(t, func(_ testing.TB, reg extension.Registration) extension.Registration { return plugin.Inside(reg) })
	})
	t.Run("elsewhere", func(t *testing.T) { test(t, Elsewhere) })
}

// InHarness is BothWays for a test with a harness of extensiontest: the second time the
// registration goes Through.
func InHarness(t *testing.T, test func(t *testing.T, as Way)) {
	t.Helper()
	t.Run("inside", func(t *testing.T) { test(t, Inside) })
	t.Run("through", func(t *testing.T) {
		test(t, func(_ testing.TB, reg extension.Registration) extension.Registration { return Through(reg) })
	})
}

// Inside is the Way that changes nothing.
func Inside(_ testing.TB, reg extension.Registration) extension.Registration { return reg }

// Way makes of an extension's registration what the kernel is given.
type Way func(t testing.TB, reg extension.Registration) extension.Registration
