// Package pluginhost runs extensions in processes of their own: it implements
// extension.Remote over the plugin contract (api/proto/hexmpp/plugin/v1).
//
// A Host has one plugin for each entry of the configuration. A plugin outlives its
// processes: it has the machine (api/plugin/wire) with all events that have no outcome
// yet, and a supervisor that starts a process, watches it, and puts another one in its
// place when it has crashed, hangs, or is reloaded. An instance is one process with its
// Sessions.
//
//	host.go       what there is, and what administrators ask
//	plugin.go     extension.Remote: events in, actions of the machine out
//	instance.go   a process from its start to its end: Describe, Configure, Activate, Shutdown
//	session.go    the streams: one reader and one writer for each
//	answer.go     what a plugin asks within a handler
//	supervise.go  states, commands, restarts, back-off, roll-back
//	launch.go     the start of a process: the first one, and those that follow
//	cutover.go    one process in the place of another; the end
//	drain.go      processes that have something to bring to an end behind a cut-over
//	watchdog.go   processes that hang
//	check.go      what a configuration says, without a server
//	manifest.go   what is refused of what a plugin says of itself
//
// The reader of a stream never waits: not for a queue, a socket, nor a lock that is held
// across I/O. What it is given it decodes, hands to the machine, and does what the
// machine says: outcomes are applied by their Owner, with one transport.Batch for a frame.
// Only requests of the plugin wait, for storage; they run on goroutines of their own, a
// bounded number for each plugin.
//
// Processes themselves (life-line, process group, log, limits) are package runner's.
package pluginhost
