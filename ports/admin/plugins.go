package admin

import (
	"context"
	"errors"
	"time"
)

// PluginState says how a plugin is.
type PluginState string

const (
	// PluginStarting: its process is not ready yet. Events wait, until the grace time
	// is over.
	PluginStarting PluginState = "starting"
	// PluginReady: events are handled.
	PluginReady PluginState = "ready"
	// PluginDegraded: its process runs, and does not get on with what it was given.
	PluginDegraded PluginState = "degraded"
	// PluginDraining: it is about to end: another process takes over, or none does.
	PluginDraining PluginState = "draining"
	// PluginFailed: it can't be started, or crashed too often. Senders are answered
	// with service-unavailable. It is tried again every few minutes.
	PluginFailed PluginState = "failed"
	// PluginDisabled: an administrator stopped it until the server is started again.
	PluginDisabled PluginState = "disabled"
)

// ErrNoPlugin is wrapped where no plugin of a name runs in a process of its own.
var ErrNoPlugin = errors.New("admin: no such plugin")

// Plugin is a plugin as an administrator sees it.
type Plugin struct {
	Name    string
	Version string // of the plugin; "" while it is not known
	Bundled bool   // it is part of hexmpp
	State   PluginState
	Detail  string // why it is not ready, and what would mend it

	Generation uint64    // counts its processes that acted; 0 if none did
	PID        int       // 0 if there is no process
	Started    time.Time // of the process; zero if there is none
	Restarts   int       // since the server started, but for reloads
	Draining   []int     // processes of before that come to an end with what they have

	Queue    int // events that wait for it
	InFlight int // events that it was given and has not answered
	// Events is how many were handled since the server started, EventsPerSecond how
	// many of late, OutcomeTime how long they took of late, on average: from when the
	// process was given one to its outcome.
	Events          uint64
	EventsPerSecond float64
	OutcomeTime     time.Duration
	Memory          uint64 // bytes resident, of its process and those that it started; 0 if not known
}

// PluginInfo is all that is known of a plugin.
type PluginInfo struct {
	Plugin
	Description string
	Command     []string // program and arguments
	Domains     []string // that it answers for
	Granted     []string // permissions
	Manifest    []byte   // as JSON; empty while it is not known

	Dropped  uint64 // events that nobody waited for and that had no room
	Refused  uint64 // events that were answered with an error since the plugin was full or away
	Poisoned uint64 // events that were given up, since its process died of them
	LastExit string // how the process before ended; "" if none did
}

// PluginLogEntry is a line, or a trace, of what a plugin logged.
type PluginLogEntry struct {
	Time    time.Time
	Level   string // debug, info, warn, error
	PID     int
	Source  string // stdout, stderr, or kernel for what the server has to say about the log
	Message string
	Fields  []PluginLogField
	Trace   string
}

// PluginLogField is one more fact of a PluginLogEntry.
type PluginLogField struct{ Key, Value string }

// Plugins manages plugins that run in processes of their own. An error wraps
// ErrNoPlugin where there is none of that name.
type Plugins interface {
	// Plugins returns all of them, by name.
	Plugins(ctx context.Context) ([]Plugin, error)
	// PluginInfo returns one.
	PluginInfo(ctx context.Context, name string) (PluginInfo, error)
	// ReloadPlugin puts a new process, of what is on the disk now, in the place of the
	// one that runs. If the new one is not ready in time, or wants what can't change
	// while the server runs, the old one goes on, and the error says why.
	ReloadPlugin(ctx context.Context, name string) error
	// EnablePlugin starts a plugin that is disabled or has failed, and forgets its
	// crashes. It returns when the plugin is ready, or why it is not.
	EnablePlugin(ctx context.Context, name string) error
	// DisablePlugin stops a plugin until it is enabled or the server is started again.
	DisablePlugin(ctx context.Context, name string) error
	// PluginLogs calls yield with the last n entries of the log, at most 200, oldest
	// first; with follow also with each one that comes, until ctx ends. An error of
	// yield is returned.
	PluginLogs(ctx context.Context, name string, n int, follow bool, yield func(PluginLogEntry) error) error
}
