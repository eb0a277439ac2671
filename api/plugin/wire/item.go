package wire

import (
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// KernelLimits bound the kernel's end. A zero is the default.
type KernelLimits struct {
	// Events and Bytes bound what waits and was not sent yet; 10,000 and 64 MiB. What
	// was sent and has no end, because it is in flight, to be sent again, or not applied
	// yet, is bounded by two times the Credit of all Sessions.
	Events int
	Bytes  int
	// Credit is the most that the kernel has in flight on a Session, whatever the
	// plugin takes; 1,024 events and 16 MiB.
	Credit Credit
	// KeyEvents is how many events of one key may be in flight; 64.
	KeyEvents int
	// LateEvents and LateBytes bound late events, whether they wait or are out; 65,536 and
	// 64 MiB. LateKeyEvents and LateKeyBytes are how many of a key may be out; 256 and 1
	// MiB. One may always be.
	LateEvents, LateBytes       int
	LateKeyEvents, LateKeyBytes int
	// FrameEvents is the most events in a frame; 128.
	FrameEvents int
	// OutcomeBytes is the largest outcome, or Unasked, encoded; 1 MiB. The event of a
	// larger one fails.
	OutcomeBytes int
	// ApplyBytes is what outcomes may have together, all Sessions, that wait to be
	// applied, or are; 64 MiB. While there is half of it no events are sent; what comes beyond is
	// void, and its event is given again.
	ApplyBytes int
	// UnaskedBytes is what may wait to be applied of the Unasked of a Session; 16 MiB.
	// More of them are answered with an error.
	UnaskedBytes int
	// Run is how many outcomes of one key are handed out at once, for one commit; 1. See
	// Kernel.Done.
	Run int
	// Conflicts is how many times an outcome may be in conflict before its event
	// fails; 5.
	Conflicts int
	// Crashes is how many crashes an event may be in before it fails; 3. It must be alone
	// in the last one, so behind the one before it is sent with nothing else in flight.
	Crashes int
	// Resets bounds those that a Session has not confirmed; 16,384.
	Resets int
	// Retry is the wait after storage was unavailable; it doubles up to 16 times of
	// it; 250 ms.
	Retry time.Duration
	// Grace is how long events wait while no process handles them, or storage is
	// unavailable; 30 s.
	Grace time.Duration
}

func (l KernelLimits) withDefaults() KernelLimits {
	or := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	or(&l.Events, 10_000)
	or(&l.Bytes, 64<<20)
	or(&l.Credit.Events, 1024)
	or(&l.Credit.Bytes, 16<<20)
	l.Credit.Events = min(l.Credit.Events, MaxCredit)
	or(&l.KeyEvents, 64)
	or(&l.LateEvents, MaxLate)
	or(&l.LateBytes, 64<<20)
	or(&l.LateKeyEvents, 256)
	or(&l.LateKeyBytes, 1<<20)
	or(&l.FrameEvents, 128)
	or(&l.OutcomeBytes, 1<<20)
	or(&l.ApplyBytes, 64<<20)
	or(&l.UnaskedBytes, 16<<20)
	or(&l.Run, 1)
	or(&l.Conflicts, 5)
	or(&l.Crashes, 3)
	or(&l.Resets, 16_384)
	if l.Retry <= 0 {
		l.Retry = 250 * time.Millisecond
	}
	if l.Grace <= 0 {
		l.Grace = 30 * time.Second
	}
	return l
}

// Credit is how much may be in flight on a Session: events that were sent and have no
// outcome, and their bytes (Item.Size). One event may always be in flight, however
// large, if Events is not 0.
type Credit struct {
	Events int
	Bytes  int
}

// Source makes the event of an Item.
type Source interface {
	// Encode returns what happened: What and Origin are set, the machine sets the rest.
	// It is called within Conn.Frame, each time the event is sent, and must not call
	// back into the machine.
	Encode() *pluginv1.Event
}

// CoalesceKey tells presences of which only the last counts: the sender's full JID,
// and to. The zero one coalesces with nothing.
type CoalesceKey struct{ From, To string }

// Item is an event for the plugin. It is not changed once it is enqueued.
type Item struct {
	Key      string    // ordering key
	Size     int       // bytes that it holds in memory, about; for bounds
	Received time.Time // Event.received_us
	// Observed: nobody waits for it. Where too much waits the oldest observed ones make
	// room, whoever needs it.
	Observed bool
	// Coalesce: where too much waits, this one takes the place of the one that waits
	// with the same Key and Coalesce, at the end of the queue: what is in between is
	// not overtaken.
	Coalesce CoalesceKey
	// Impatient: it fails at once while no process handles events (a stage with the
	// policy open, for which that means to pass).
	Impatient bool
	// Deadline is how long processes may hold it, all together; 0: no limit. Then it
	// fails; what the plugin says later is void.
	Deadline time.Duration
	// Late: it is answered when it is, and the next one of its Key is given before; see late.go. Its ID is
	// Event.id, greater than that of all before of its Key. Of the other fields Key, Size, Received and Source count.
	Late   bool
	ID     uint64
	Source Source
}

// Reason says why an event failed, or was dropped.
type Reason uint8

const (
	Down      Reason = iota + 1 // no process within the grace time, or none expected
	Expired                     // its deadline was over
	Poison                      // it was handled in KernelLimits.Crashes crashes
	Conflicts                   // its outcomes were in conflict KernelLimits.Conflicts times
	Stored                      // storage was unavailable for the grace time
	TooLarge                    // it fits in no frame, or its outcome is beyond the bound
	Dropped                     // observed, and made room
	Coalesced                   // a later presence took its place
	reasonsEnd
)

var reasons = [reasonsEnd]string{
	Down: "down", Expired: "deadline", Poison: "poison", Conflicts: "conflicts", Stored: "storage",
	TooLarge: "too-large", Dropped: "dropped", Coalesced: "coalesced",
}

// String returns a word for metrics and logs.
func (r Reason) String() string {
	if r < reasonsEnd && reasons[r] != "" {
		return reasons[r]
	}
	return "unknown"
}

// ActionKind says what an Action is.
type ActionKind uint8

const (
	// ApplyOutcome: Item and Outcome. Answer with Kernel.Done(Ticket, ...).
	ApplyOutcome ActionKind = iota + 1
	// ApplyUnasked: Unasked. Answer with Kernel.Done(Ticket, ...).
	ApplyUnasked
	// Fail: Item is at its end, by Reason. Err is ports/extension's ErrDown (Down,
	// Expired, Stored) or ErrFull (Dropped, Coalesced), wrapped, or a *stanza.Error:
	// internal-server-error (Poison, TooLarge for an outcome), resource-constraint
	// (Conflicts, TooLarge for an event).
	Fail
	// LateOutcome: Item and Outcome of a late event, which is at its end. There is nothing to
	// be answered.
	LateOutcome
	// Answer: Request. Answer with Kernel.Respond(Ticket, ...).
	Answer
	// EndProcess: the process of Conn broke the protocol or does not read, Err says how. It is to be
	// killed, and Conn to be closed.
	EndProcess
)

// Action is what the caller is to do, in the order given.
type Action struct {
	Kind    ActionKind
	Ticket  Ticket
	Conn    *Conn // of ApplyUnasked, Answer, EndProcess; of ApplyOutcome and LateOutcome the one that sent it
	Shard   int   // of ApplyUnasked, Answer
	Item    *Item
	Outcome *pluginv1.Outcome
	Unasked *pluginv1.Unasked
	Request *pluginv1.Request
	Reason  Reason
	Attempt int // of ApplyOutcome, LateOutcome and Fail: how many times it was given to a process
	Err     error
}

// Ticket names an Action that wants an answer. It may be answered once, at any time,
// also when the process is gone; a second answer has no effect.
type Ticket struct {
	apply   *apply
	times   uint32
	request *request
}

// Stats returns figures; it costs next to nothing.
func (k *Kernel) Stats() Stats {
	s := k.stats
	s.Applying, s.Keys, s.Suspects = k.applying, len(k.keys), len(k.suspects)
	s.Late, s.LateBytes, s.LateOut = k.late.n, k.late.bytes, k.lateOut
	return s
}

// Stats are figures of a Kernel. Depths are of now, the rest counts up.
type Stats struct {
	Waiting, WaitingBytes   int // never sent
	Returned                int // sent, and to be sent again
	InFlight, InFlightBytes int
	Applying                int // outcomes and Unasked that wait for Done, or for their turn
	Keys                    int // that the machine knows of
	Suspects                int // events that are sent one by one, because of crashes
	Late, LateBytes         int // late events, which are in none of these; of them
	LateOut                 int // a process has so many

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
