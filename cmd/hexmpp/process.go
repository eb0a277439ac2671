package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/cmd/internal/wire"
)

// asProcess is this program as a process that the server has started: of a plugin, `hexmpp
// plugin NAME`, or the guard of them all. ok is false if it is something else.
func asProcess(args []string) (status int, ok bool) {
	switch {
	case len(args) == 1 && args[0] == wire.GuardCommand:
		signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) // it goes after the server
		if err := runner.Guard(os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "hexmpp:", err)
			return exitFailed, true
		}
		return exitOK, true
	case len(args) >= 2 && args[0] == "plugin":
		return wire.Serve(args[1], args[2:], version())
	}
	return 0, false
}
