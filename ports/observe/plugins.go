package observe

import "time"

// Plugin is how a plugin in a process of its own is. What counts up does so since
// the server started.
type Plugin struct {
	Name       string
	State      string // one of admin.PluginState
	Generation uint64
	Restarts   int // after crashes
	Reloads    int
	Queue      int // events that wait for it
	InFlight   int // events that it was given and has not answered
	Events     uint64
	Handling   time.Duration // that all these took, from when the process was given one to its outcome
	Dropped    uint64        // events that nobody waited for and that had no room
	Refused    uint64        // events that were answered with an error since the plugin was full or away
	Poisoned   uint64        // events that were given up, since its process died of them
	Stale      uint64        // frames of processes that acted no more
	Memory     uint64        // bytes resident; 0 if not known
}
