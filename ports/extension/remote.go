package extension

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Remote carries what happens to where the handlers of a registration run: a
// process of its own (adapters/pluginhost). The kernel matches as ever, and instead
// of calling a handler function, which may be nil then, it dispatches a RemoteEvent and
// is given an Outcome later. Any goroutine may call the methods.
//
// Functions that are called all the same, and must be there where they are wanted, are
// Start, Stop and StreamFeature.Element. Component.Items and Component.Handle are never
// called, but say as ever by being nil that there is no such handler. There are
// no handlers of the stage Write.
//
// A Remote is the same object for as long as the kernel runs, whichever process is
// behind it: the kernel knows of none. One that takes over from another must have
// the same Registration.
//
// The kernel may call Dispatch and Reset while it is within an Owner's method: what is
// sent may be for the same extension. So a Remote holds no lock while it calls one.
type Remote interface {
	// Attach gives what may be asked of the kernel. It is called once, before
	// Registration.Start and before the first Dispatch.
	Attach(k Kernel)
	// Dispatch takes an event. It never waits, and does not call the event's Owner
	// itself; another goroutine may, before it returns. ErrFull: too much waits for the
	// extension. ErrDown: nothing handles its events, and nothing is expected to soon.
	// What was taken has one end, whatever becomes of processes: an Apply whose done was
	// told neither ErrConflict nor ErrUnavailable, or a Fail.
	Dispatch(e *RemoteEvent) error
	// Reset says that what a stage handler asked for in an event of this key was not
	// applied in the end, though Apply succeeded: what is known by heart of it is void.
	Reset(key string)
}

var (
	// ErrFull is wrapped where a bounded queue takes no more: the sender of a message
	// or an iq is answered with resource-constraint, type wait.
	ErrFull = errors.New("extension: too much waits for it")
	// ErrDown is wrapped where nothing handles events: senders are answered with
	// service-unavailable, type wait.
	ErrDown = errors.New("extension: it is down")
	// ErrLate is wrapped where a process had an event for too long. It is an ErrDown.
	ErrLate = fmt.Errorf("%w: it takes too long", ErrDown)
	// ErrConflict is wrapped where a Swap of an outcome, or the order of an archive,
	// failed: nothing of it was applied, and the event is to be handled again, after
	// what its handler knows of the key by heart was reset.
	ErrConflict = errors.New("extension: somebody else has written in between")
	// ErrUnavailable is wrapped where storage does not answer: nothing was applied,
	// and the event is to be handled again a while later.
	ErrUnavailable = errors.New("extension: storage is not available")
)

// EventKind says what happened, and which fields of a RemoteEvent are set.
type EventKind uint8

const (
	ToComponent EventKind = iota + 1 // Component.Handle: Handler, Envelope
	ItemsAsked                       // Component.Items: Handler, IQ
	Asked                            // IQHandler.Handle: Handler, Component, IQ
	Staged                           // StageHandler.Handle: Handler, Envelope, Residents
	ElementSent                      // ElementHandler.Handle: Handler, Session, Element
	Replied                          // Registration.Reply: Reply
	Fired                            // Registration.Timer: Timer
	Noticed                          // Registration.Notice: Notice
	ToFar                            // Far.Take: Far
)

func (k EventKind) String() string {
	names := [...]string{"unasked", "stanza", "items", "iq", "stage", "element", "reply", "timer", "notice", "far"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// RemoteEvent is something that happened, for a Remote. It is not changed once it was
// dispatched.
type RemoteEvent struct {
	Kind EventKind
	// Handler is the index of the handler in its list of the Registration; of Asked,
	// in Components[Component].IQ if Component is not negative.
	Handler, Component int
	// Key: events of one key are handled one after the other, in the order in which
	// they were dispatched; those of others do not wait for them.
	Key string
	At  time.Time // of receipt
	// Observed: nobody waits for the outcome. Where too many wait, the oldest are
	// dropped, and counted.
	Observed bool
	// AtOnce: somebody goes on without the outcome if no process can handle it now.
	// While none is ready Dispatch returns ErrDown, and if the one that has it dies
	// Fail is called with ErrDown.
	AtOnce bool
	// Deadline is how long a process may take for it, while it has it; 0: whatever
	// is usual. Behind it Fail is called with ErrLate, and an outcome that comes
	// later is void.
	Deadline time.Duration

	Envelope  Envelope
	Residents []Entry // of Envelope.Account, those that the registration names
	IQ        IQ
	Session   jid.JID
	Element   *stanza.Element
	Reply     Reply
	Timer     Timer
	Notice    Notice
	// Far is set of ToFar, but for Attempt and Done; the Key is its Domain. Such an event is not
	// handled but given away: the next one of its key is given before it has an outcome. Outcomes
	// come when they come, in no order, and have no Effects; Owner.Apply is called whenever
	// one is there. There is no Deadline, and it does not count how many processes
	// died while they had it.
	Far *FarEvent

	Owner Owner
}

// Stanza returns the stanza that the event is about, nil if it is about none.
func (e *RemoteEvent) Stanza() *stanza.Stanza {
	switch e.Kind {
	case ToComponent, Staged:
		return e.Envelope.Stanza
	case ItemsAsked, Asked:
		return e.IQ.Stanza
	case Replied:
		return e.Reply.Answer
	case Noticed:
		return e.Notice.Presence
	case ToFar:
		return e.Far.Stanza
	}
	return nil
}

// Owner is who dispatched an event: the kernel.
type Owner interface {
	// Apply applies an outcome as a whole, and calls done once: within the call, or
	// later, on any goroutine. It never waits. What it sends joins the batch of the
	// caller, who flushes it. done is given nil when all is applied, and committed
	// where it stores, or when the handler's error was answered; ErrConflict or
	// ErrUnavailable when nothing was, and the event is to be handled again; any other
	// error when nothing was and the event is at its end: its sender has been answered,
	// and the key is to be reset. That may be so before there is an outcome: the kernel
	// has a bound of its own for what somebody waits for. ErrConflict is said a few
	// times, ErrUnavailable for half a minute.
	//
	// Of one key, Apply is called for one event after the other, each behind the done
	// of the one before; or see Kernel.ApplyRun. A stage handler's outcome is done when it was taken.
	Apply(b *transport.Batch, o *Outcome, done func(err error))
	// Fail says that there will be no outcome: ErrDown, ErrFull, or a *stanza.Error
	// for the sender. It never waits. It is nothing at the end of an event.
	Fail(b *transport.Batch, err error)
}

// Outcome is what a handler did: its answer, and all that it asked for.
type Outcome struct {
	// Err: the handler failed, and nothing is applied. A *stanza.Error is the sender's
	// answer; any other becomes internal-server-error and a line in the log.
	Err     error
	Verdict Verdict         // Staged
	Result  *stanza.Element // Asked: payload of the answer, nil for an empty one
	Items   []Item          // ItemsAsked
	// Effects asks a Host for what the handler asked for, in its order, and returns
	// the first error. It waits for nothing, and reads nothing: the Host has nothing to
	// read. nil: it asked for nothing. Answers to its requests, and its timers, are
	// events of the same key, unless it named another.
	Effects func(h *Host) error
}

// Applied is an outcome for Kernel.ApplyRun: the Owner of its event, and what Owner.Apply is given.
type Applied struct {
	Owner   Owner
	Outcome *Outcome
	Done    func(err error)
}

// Kernel is what a Remote may ask of the kernel besides.
type Kernel interface {
	// Reader returns a Host for reading, on behalf of the extension: its effects are
	// errors, or nothing where a call returns none. Calls may wait, as they do in
	// handlers. What takes effect at once (Accounts, Archive.Expire) does so.
	Reader() *Host
	// ApplyRun is Owner.Apply for outcomes of one key that were said one after the other, in that
	// order: those that write to archives alone are one commit. Each Done is called once, in order. Once
	// one is given an error nothing of those behind it is applied, and they are given ErrConflict or
	// ErrUnavailable.
	ApplyRun(b *transport.Batch, run []Applied)
	// Apply is Owner.Apply for effects that no event asked for, but of the key.
	Apply(b *transport.Batch, key string, effects func(h *Host) error, done func(err error))
	// NewIDs returns n IDs for rows of archives, in order. They are to be used soon: a
	// row that has an older one than its archive's last is a conflict.
	NewIDs(n int) []uint64
	// MemoryRevision says what the extension's Memory is: 0 if nothing is in it, else a number
	// that grows with each change. Whoever begins to act learns by it whether there is something to go on with.
	MemoryRevision() uint64
	// Context ends with the kernel.
	Context() context.Context
}
