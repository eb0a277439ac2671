package wire

import (
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

const todo = "wire: not written yet"

// Ticket names an Action that wants an answer. It may be answered once, at any time,
// also when the process is gone; a second answer has no effect.
type Ticket struct{}

// Kernel is the kernel's end of all processes of a plugin, one after the other: the
// queue of events, and what was sent and has no end yet. Each Item that Enqueue took
// has one end: an ApplyOutcome that was answered with Done(nil) or with an error that is an
// end, or a Fail.
type Kernel struct{}

// NewKernel returns a Kernel with no process.
func NewKernel(limits KernelLimits, now time.Time) *Kernel { panic(todo) }

// Enqueue takes an event. The errors wrap extension.ErrFull (an event of Coalesce or
// Observed is counted as dropped then), or extension.ErrDown after GiveUp, and of an
// impatient one while no process handles events.
func (k *Kernel) Enqueue(it Item, now time.Time) error { panic(todo) }

// Take appends what is to be done to into, and forgets it. To be called after each
// call of another method.
func (k *Kernel) Take(into []Action) []Action { panic(todo) }

// Done answers ApplyOutcome and ApplyUnasked as extension.Owner's done does: nil when
// all is applied; ErrConflict and ErrUnavailable when nothing was and the event is to
// be handled again; any other error when nothing was, and the event is at its end.
func (k *Kernel) Done(t Ticket, err error, now time.Time) { panic(todo) }

// Respond answers Answer; the machine sets r.Id. Without effect if the process is gone.
func (k *Kernel) Respond(t Ticket, r *pluginv1.Response) { panic(todo) }

// Reset says that what the plugin knows of the key is void: events of it that have no
// outcome applied, or under way, are given again.
func (k *Kernel) Reset(key string, now time.Time) { panic(todo) }

// GiveUp ends all that waits, by Down, and refuses more until the next Attach: no
// process is expected soon. Without effect while there is one.
func (k *Kernel) GiveUp(now time.Time) { panic(todo) }

// Tick does what time asks for, and returns when it wants to be called again; zero: not
// before another method was called. The caller sets its timer anew after any call: see Next.
func (k *Kernel) Tick(now time.Time) (next time.Time) { panic(todo) }

// Next returns when Tick is to be called, zero for never. It costs next to nothing.
func (k *Kernel) Next() time.Time { panic(todo) }

// Stats returns figures; it costs next to nothing.
func (k *Kernel) Stats() Stats { panic(todo) }

// Stats are figures of a Kernel. Depths are of now, the rest counts up.
type Stats struct {
	Waiting, WaitingBytes   int // never sent
	Returned                int // sent, and to be sent again
	InFlight, InFlightBytes int
	Applying                int // outcomes and Unasked that wait for Done, or for their turn
	Keys                    int // that the machine knows of
	Suspects                int // events that are sent one by one, because of crashes

	Enqueued, Refused    uint64 // Refused: Enqueue had no place, or was down
	Sent, Outcomes       uint64
	Failed               [reasonsEnd]uint64 // by Reason
	Resets               uint64
	VoidOutcomes         uint64 // of an older epoch, or behind the deadline
	Unasked, UnaskedVoid uint64 // Void: answered with an error
	ConflictsSeen        uint64 // Done(ErrConflict)
	UnavailableSeen      uint64
	RefusedFrames        uint64 // of an older generation, or a closed Conn
	Requests             uint64
	Redelivered          uint64
	Crashes              uint64
	FramesOut, FramesIn  uint64
}

// Peer is what is known of a process when its Sessions are opened.
type Peer struct {
	Generation    uint64 // counts up with each process
	Shards        int    // Sessions, 1 to MaxShards
	Credit        Credit // of its manifest; 0: the kernel's. Frames replace it.
	MaxFrameBytes int    // that it takes; 0: MaxFrameBytes
}

// Conn is the Sessions with one process.
type Conn struct{}

// Open returns a Conn on standby: its Frames are the hello of each Session, and beats; what it receives is
// credit and beats, all else breaks the protocol. The acting Conn is not touched.
func (k *Kernel) Open(p Peer) (*Conn, error) { panic(todo) }

// Attach makes a Conn the acting one, when Activate is going to be called: requests and effects of its start are taken.
// No event is sent before Start. The one before must be closed. The
// generation must be higher than any before.
func (k *Kernel) Attach(c *Conn, now time.Time) error { panic(todo) }

// Start lets events go out: Activate was answered. Also the end of Pause.
func (c *Conn) Start(now time.Time) { panic(todo) }

// Pause keeps events back, for a cut-over; all else goes on.
func (c *Conn) Pause() { panic(todo) }

// Outstanding returns how many events are in flight, and how many outcomes and
// Unasked of this process are not applied: 0 when a paused process may be replaced.
func (c *Conn) Outstanding() int { panic(todo) }

// Close says that the process has ended, or acts no longer. What it held is to be
// given to the next one, outcomes that it gave are applied. crashed: it ended by itself, or was
// killed because it did not answer; then what it was handling is
// suspected. Not so where the kernel's owner ended it for another reason.
func (c *Conn) Close(crashed bool, now time.Time) { panic(todo) }

// Ready tells whether Frame has something for the Session. The caller asks for each
// Session after each call, and has it sent by whoever sends there; without a timer.
func (c *Conn) Ready(shard int) bool { panic(todo) }

// Frame returns the next frame of the Session, nil if there is nothing. To be called
// when the sender is free: what is in the frame counts as sent.
func (c *Conn) Frame(shard int, now time.Time) *pluginv1.KernelFrame { panic(todo) }

// Receive takes a frame from the Session. An error wraps ErrProtocol: the process is
// to be killed, and Conn to be closed. Frames of older generations, and those for a
// closed Conn, are counted and without effect.
func (c *Conn) Receive(shard int, f *pluginv1.PluginFrame, now time.Time) error { panic(todo) }

// Beat asks for a sign of life on all Sessions.
func (c *Conn) Beat(now time.Time) { panic(todo) }

// Watch is what a watchdog wants to know of a Conn. Zero times: there is none.
type Watch struct {
	Oldest    time.Time // when the event was sent that is longest in flight
	OldestKey string
	Outcome   time.Time // when the last outcome came
	Frame     time.Time // when the last frame came
	Beat      time.Time // when the oldest beat was sent that has no answer
}

// Watch returns what a watchdog wants to know.
func (c *Conn) Watch() Watch { panic(todo) }

// PluginLimits bound the plugin's end. A zero is the default.
type PluginLimits struct {
	// Shards is the number of Sessions, as Configure said; 1.
	Shards int
	// Credit is what each Session takes at once; 256 events and 4 MiB.
	Credit Credit
	// Handlers is how many events may be handled at once, each of another key; 64.
	Handlers int
	// Waiting bounds requests and Unasked that wait to be sent, on each Session; 4,096.
	Waiting int
	// FrameBytes is the largest frame to be sent, OutcomeBytes the largest outcome and
	// Unasked: what Configure said; MaxFrameBytes and 1 MiB.
	FrameBytes   int
	OutcomeBytes int
}

// Plugin is the plugin's end: all Sessions of a process.
type Plugin struct{}

// NewPlugin returns a Plugin whose Sessions are not open yet.
func NewPlugin(limits PluginLimits) *Plugin { panic(todo) }

// Task is an event that is being handled. Its fields are not to be changed.
type Task struct {
	Event *pluginv1.Event
	Shard int
}

// WorkKind says what a Work is.
type WorkKind uint8

const (
	// Handle: Task. Answer with Plugin.Done.
	Handle WorkKind = iota + 1
	// Cancel: Task, which is being handled, is void; its outcome will be dropped. It
	// must still be answered with Done: the next event of the key waits for that.
	Cancel
	// Forget: what is known of Key by heart is void. It comes before the next Handle of
	// the key.
	Forget
	// Responded: Response, to the request with Response.Id.
	Responded
	// WasApplied: the Unasked with ID was applied (Err nil) or not.
	WasApplied
)

// Work is what the caller is to do, in the order given.
type Work struct {
	Kind     WorkKind
	Task     *Task
	Key      string
	Epoch    uint64
	Response *pluginv1.Response
	ID       uint64
	Err      error
}

// Hello takes the first frame of a stream, and returns which Session it is. An error
// wraps ErrProtocol: the stream is to be refused.
func (p *Plugin) Hello(f *pluginv1.KernelFrame) (shard int, err error) { panic(todo) }

// Generation returns what the first hello said, 0 before.
func (p *Plugin) Generation() uint64 { panic(todo) }

// Receive takes a further frame of a Session. An error wraps ErrProtocol: the process
// is to end. Frames of an older generation are counted and without effect.
func (p *Plugin) Receive(shard int, f *pluginv1.KernelFrame) error { panic(todo) }

// Take appends what is to be done to into, and forgets it. To be called after each
// call of another method.
func (p *Plugin) Take(into []Work) []Work { panic(todo) }

// Done gives the outcome of a task, once; nil is an empty one. The machine sets event
// and epoch. An outcome that is beyond a bound becomes a failure, and is returned as an error.
func (p *Plugin) Done(t *Task, o *pluginv1.Outcome) error { panic(todo) }

// Request asks the kernel for something, on behalf of a task (nil: none; then the
// Session 0). r.What is set, the machine sets the rest. The
// answer is a Responded with the ID. An error means that too many wait.
func (p *Plugin) Request(t *Task, r *pluginv1.Request) (id uint64, err error) { panic(todo) }

// Epoch is to be asked for before anything is read, or known by heart, that Unasked
// effects of the key are made from.
func (p *Plugin) Epoch(key string) uint64 { panic(todo) }

// Unasked sends effects that no event asked for. The answer is a WasApplied with the
// ID. An error means that too many wait, or that it is beyond the bound.
func (p *Plugin) Unasked(key string, epoch uint64, effects []*pluginv1.Effect) (id uint64, err error) {
	panic(todo)
}

// SetCredit changes what a Session takes, at most PluginLimits.Credit; 0 events is a pause.
func (p *Plugin) SetCredit(shard int, c Credit) { panic(todo) }

// Ready tells whether Frame has something for the Session.
func (p *Plugin) Ready(shard int) bool { panic(todo) }

// Frame returns the next frame of the Session, nil if there is nothing. To be called
// when the sender is free.
func (p *Plugin) Frame(shard int) *pluginv1.PluginFrame { panic(todo) }

// Outstanding returns how many events wait to be handled, are being handled, or have
// an outcome that is in no frame yet, and how many Unasked have no answer.
func (p *Plugin) Outstanding() int { panic(todo) }

// Stats returns figures.
func (p *Plugin) Stats() PluginStats { panic(todo) }

// PluginStats are figures of a Plugin. Depths are of now, the rest counts up.
type PluginStats struct {
	Held, HeldBytes, Running int
	RequestsUnderWay         int
	UnaskedUnderWay          int
	Events, Outcomes, Void   uint64 // Void: outcomes dropped because of a Reset
	Resets, RefusedFrames    uint64
	FramesIn, FramesOut      uint64
}
