package extension

import (
	"context"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Stage is a place on a stanza's way.
//
// Submit sees what clients hand in, and presence that the kernel sends on behalf
// of an account: broadcasts, once for each contact. Who refuses such presence
// keeps it from that contact; nobody is told. Presence that was let pass is shown
// again if a resident entry of the account has changed meanwhile, and taken back
// from who may not see it any more.
//
// Deliver sees all that goes to an account but what its own clients ask of it,
// presence while it has no session, subscriptions aside, and copies of a group
// (StageHandler.Fanout).
//
// Recall sees again what has passed Deliver and has waited since for a session of
// the account: requests for a subscription, each time that a session becomes
// available; stored messages; and messages that a session left when it ended. What
// is dropped there does not come; nobody is told.
type Stage uint8

const (
	Submit      Stage = iota + 1 // a local account sends it; from is stamped
	Deliver                      // it goes to an account of a hosted domain
	Undelivered                  // no session of that account took it
	Recall                       // it has waited, and comes to a session of the account
	Write                        // it goes to one session
)

// Class says what a stage handler may do.
type Class uint8

const (
	Observe Class = iota + 1 // is told; its verdict is ignored
	Decide                   // gives a verdict
)

// Policy says what happens to a stanza when a Decide handler fails.
type Policy uint8

const (
	Closed Policy = iota // it is refused with internal-server-error
	Open                 // it passes
)

// StageHandler sees stanzas on their way. It runs inline: see the package
// comment; but it may read entries that its registration names as Residents of
// Envelope.Account, since those are in memory then. If they can't be loaded the
// sender gets an error; an answer goes on, as if there were no entries.
//
// What it writes to storage is committed before the stanza is delivered; if that
// fails the sender gets an error, unless the handler's class is Observe. What
// handlers of Submit append to archives, and nothing else, is committed together with
// what those of Deliver write, where a message goes to an account of ours. In the
// stage Write the stanza does not wait: there are no Residents, and writes follow
// it, in order, and are dropped when too many wait (1,000 for each extension).
type StageHandler struct {
	Stage  Stage
	Class  Class
	Match  Match
	Policy Policy
	// Fanout (Deliver): the handler also sees the copies that Groups.Send makes for
	// accounts of ours, once for each. There the copy does not wait for what the handler
	// writes: it is as in the stage Write.
	Fanout bool
	// Deadline is how long a stanza waits for the verdict of a Decide handler that
	// runs elsewhere (Registration.Remote), while a process has it; behind that Policy
	// says what becomes of it. 0 means 250 ms; at most 5 s.
	Deadline time.Duration
	Handle   func(ctx context.Context, h *Host, e *Envelope) (Verdict, error)
}

// Match selects stanzas; the kernel evaluates it. A nil or empty field matches
// anything.
type Match struct {
	Kinds []stanza.Kind
	Types []string // as RFC 6121 reads them: an absent message type is normal
	// Child names a child element that must be there: {"", "body"} is a body.
	Child *Name
	// Resident is the key of one of the extension's Residents, which
	// Envelope.Account must have an entry of. Not in the stage Write.
	Resident string
	// Mark is one of the extension's Marks. Submit, Deliver, Undelivered: some
	// session of Envelope.Account must have it; Write: the session itself.
	Mark string
	// Copies (Submit, Deliver): the handler is for Verdict.Copy to sessions with
	// Mark. It is called if there is one that would get a copy.
	Copies bool
}

// Envelope is a stanza on its way.
type Envelope struct {
	Stanza  *stanza.Stanza
	Origin  Origin
	Account jid.JID // bare JID of the sender (Submit) or of the recipient
	Session jid.JID // Recall, Write: full JID of the recipient; zero for what an ended session left
	// ArchiveID is what a handler before said, in Submit: under which ID the
	// account's own archive has the message.
	ArchiveID string
}

// Action of a Verdict.
type Action uint8

const (
	Pass    Action = iota
	Drop           // nothing is answered
	Refuse         // the sender gets Verdict.Error
	Replace        // Verdict.Stanza goes on instead
	Patch          // Verdict.Remove and Verdict.Append change the content
	Handled        // the extension answers for it from here on
	Hold           // Write: the session keeps it back, see Verdict.Key
)

// Verdict is a stage handler's answer. The zero value lets the stanza pass. A
// handler that makes of an iq what breaks RFC 6120 8.2.3 has failed.
type Verdict struct {
	Action Action
	Error  *stanza.Error     // Refuse
	Stanza *stanza.Stanza    // Replace: same kind; to and from stay those of the original
	Remove []Name            // Patch: children to remove
	Append []*stanza.Element // Patch: children to add at the end

	// ArchiveID, in Submit, is for copies: what goes to others must not have the ID
	// that it has in the sender's archive (XEP-0313 3.5).
	ArchiveID string

	// Key of a stanza on Hold: of those with the same key, unless it is "", the
	// session keeps the last one only. What is held goes out, in order, in front
	// of the next stanza that passes, of whichever kind, or of the end of the stream,
	// when a bound is reached, when the session is resumed, or by Sessions.Release;
	// it is not counted (XEP-0198) before. What is decided while Release runs is
	// not held.
	Key string

	// Copy, together with any action that lets the stanza go on: what other
	// sessions of Envelope.Account get. One handler of a stage may ask for it. What
	// holds carbons (XEP-0280 11), here as in what is sent, is carbons' alone.
	Copy *Copy
}

// Copy is given to those sessions of an account that have a mark and don't get
// the original: in Submit all but the one that sent it, before anything comes of
// the message, in Deliver those that the rules of delivery leave out (RFC 6121
// 8.5). It passes no stage but Write, and
// has the fate of the original: the message is lost only if no session got either.
type Copy struct {
	Mark   string         // one of the extension's Marks
	Stanza *stanza.Stanza // from the account's bare JID; to is each session's
}

// Name is the name of an element; an empty Local matches any in the namespace.
type Name struct{ Space, Local string }

// Order says in which order the stage handlers of extensions run: names of
// registrations, one list per stage. An extension that has a handler for a
// stage must be in its list, and no name may be in it that has none.
type Order map[Stage][]string
