package session

import (
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// box is an Outbox whose client reads all that is written.
type box struct {
	*Outbox
	t     *testing.T
	c     *conn
	b     transport.Batch
	wakes int
}

func newBox(t *testing.T) *box {
	c := &conn{}
	return &box{Outbox: NewOutbox(c, OutboxLimits{Bytes: 1 << 20, Kept: 100}), t: t, c: c}
}

func (x *box) open() {
	x.t.Helper()
	if !x.Open(&x.b, func() { x.wakes++ }) {
		x.t.Fatal("no gap")
	}
}

// bare is a message to the bare JID.
func bare(id string) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, ID: id, To: jid.MustParse("a@example.test")})
}

func (x *box) live(ids ...string) {
	x.t.Helper()
	for _, id := range ids {
		if x.Stanza(&x.b, bare(id), jid.JID{}) != Queued {
			x.t.Errorf("%s is not taken", id)
		}
	}
}

// insert inserts stored messages with these IDs.
func (x *box) insert(last bool, ids ...uint64) {
	x.t.Helper()
	var list []Stored
	for _, id := range ids {
		list = append(list, Stored{ID: id, Stanza: bare("s" + string(rune('0'+id)))})
	}
	if !x.Insert(&x.b, list, last) {
		x.t.Errorf("%v are not taken", ids)
	}
}

// wants compares what is written, by the ids of stanzas.
func (x *box) wants(ids string) {
	x.t.Helper()
	out := string(x.Drain(x.c, nil, 1<<20, transport.FramingStream))
	var got []string
	for _, part := range strings.Split(out, "<")[1:] {
		switch name, rest, _ := strings.Cut(part, " "); {
		case name == "message":
			_, id, _ := strings.Cut(rest, "id='")
			id, _, _ = strings.Cut(id, "'")
			got = append(got, id)
		default:
			got = append(got, strings.TrimRight(name, "/>"))
		}
	}
	if s := strings.Join(got, " "); s != ids {
		x.t.Errorf("written is %q, want %q", s, ids)
	}
}

func (x *box) receipts(want ...uint64) {
	x.t.Helper()
	if got := x.Receipts(); !slices.Equal(got, want) {
		x.t.Errorf("receipts %v, want %v", got, want)
	}
}

func (x *box) lost(got []Lost, want string) {
	x.t.Helper()
	var ids []string
	for _, l := range got {
		ids = append(ids, l.Stanza.ID)
	}
	if s := strings.Join(ids, " "); s != want {
		x.t.Errorf("lost is %q, want %q", s, want)
	}
}

// Stored messages go in front of the gap, live ones wait behind it; what is
// written is a receipt without stream management, and makes room.
func TestStoredInFrontOfTheGap(t *testing.T) {
	x := newBox(t)
	x.live("l1")
	x.open()
	if !x.Room() {
		t.Error("no room at first")
	}
	x.live("l2")
	x.insert(false, 1, 2)
	if x.Room() {
		t.Error("room while two are not written")
	}
	x.live("l3")
	x.Raw(&x.b, "<a/>")
	x.wants("l1 s1 s2 a")
	if x.wakes != 1 || !x.Room() {
		t.Errorf("woken %d times", x.wakes)
	}
	x.receipts(1, 2)
	x.insert(true, 3)
	x.live("l4")
	x.wants("s3 l2 l3 l4")
	x.receipts(3)
	if x.Len() != 0 || x.stored != nil || x.gap != nil {
		t.Errorf("something is left: %d bytes, %v, %v", x.Len(), x.stored, x.gap)
	}
}

// XEP-0198 4: the client counts what comes behind <enabled/>, so what waits behind
// the gap, and is acknowledged; stored messages of before have their receipt.
func TestEnableAmidStored(t *testing.T) {
	x := newBox(t)
	x.open()
	x.live("l1")
	x.insert(false, 1)
	x.Manage(&x.b, "<enabled/>")
	x.insert(true, 2)
	x.wants("s1 enabled s2 l1 r")
	x.receipts(1)
	if err := x.Ack(&x.b, 1); err != nil {
		t.Error(err)
	}
	x.receipts(2)
	if x.Ack(&x.b, 3) == nil || x.Ack(&x.b, 2) != nil {
		t.Error("two are counted")
	}
	x.lost(x.Take(), "")
}

// XEP-0198 5: on another connection the gap is where it was.
func TestResumeAmidStored(t *testing.T) {
	x := newBox(t)
	x.Manage(&x.b, "<enabled/>")
	x.open()
	x.insert(false, 1, 2)
	x.live("l1")
	x.wants("enabled s1 s2 r")
	x.insert(false, 3)
	x.Detach()
	x.live("l2")
	x.c = &conn{}
	if err := x.Attach(&x.b, x.c, 1, "<resumed/>"); err != nil {
		t.Fatal(err)
	}
	x.Wake()
	x.receipts(1)
	x.wants("resumed s2 s3 r")
	x.insert(true, 4)
	x.wants("s4 l1 l2")
	if err := x.Ack(&x.b, 6); err != nil {
		t.Error(err)
	}
	x.receipts(2, 3, 4)
	if x.Len() != 0 || x.managed.bytes != 0 || x.stored != nil {
		t.Errorf("something is left: %d and %d bytes, %v", x.Len(), x.managed.bytes, x.stored)
	}
}

// At the end what is stored is stored still, and what waited for it is lost, not
// written too early.
func TestEndAmidStored(t *testing.T) {
	for _, managed := range []bool{false, true} {
		x := newBox(t)
		if managed {
			x.Manage(&x.b, "<enabled/>")
		}
		x.open()
		x.insert(false, 1)
		x.live("l1")
		if managed {
			x.wants("enabled s1 r")
		} else {
			x.wants("s1")
		}
		x.insert(false, 2)
		x.Finish(&x.b, "<end/>")
		x.wants("end")
		x.lost(x.Aside(), "l1")
		if managed {
			x.receipts()
		} else {
			x.receipts(1)
		}
		if x.Insert(&x.b, []Stored{{ID: 3, Stanza: bare("s3")}}, true) || x.Room() || x.Open(&x.b, nil) {
			t.Error("it goes on behind the end")
		}
		x.lost(x.Take(), "")
		if x.Len() != 0 {
			t.Errorf("%d bytes are left", x.Len())
		}
	}
}

// What the session leaves because another one has what is stored, or because it
// takes no more.
func TestTakenBack(t *testing.T) {
	x := newBox(t)
	x.open()
	x.insert(false, 1, 2)
	x.Stanza(&x.b, stanza.New(stanza.Header{Kind: stanza.Message, ID: "full", To: jid.MustParse("a@example.test/x")}), jid.JID{})
	x.live("l1")
	ids, lost := x.Withdraw(&x.b)
	if !slices.Equal(ids, []uint64{1, 2}) {
		t.Errorf("taken back are %v", ids)
	}
	x.lost(lost, "l1")
	if x.Stanza(&x.b, bare("l2"), jid.JID{}) != Closed { // was on its way
		t.Error("taken behind Withdraw")
	}
	x.wants("full")
	x.Admit()
	x.live("l3")
	x.wants("l3")
	if x.Len() != 0 || x.stored != nil {
		t.Errorf("something is left: %d bytes, %v", x.Len(), x.stored)
	}

	x.open()
	x.insert(false, 3)
	x.live("l4")
	if ids := x.TakeBack(); !slices.Equal(ids, []uint64{3}) {
		t.Errorf("taken back are %v", ids)
	}
	x.wants("") // l4 waits
	x.open()    // for what was stored later
	x.insert(true, 4)
	x.wants("l4 s4")
	x.receipts(4)
}

// What is on its way to a client that does not acknowledge is bounded, and asked
// for.
func TestStoredAhead(t *testing.T) {
	x := newBox(t)
	x.Manage(&x.b, "")
	x.open()
	n := uint64(0)
	for x.Room() {
		n++
		x.insert(false, n)
		x.Drain(x.c, nil, 1<<20, transport.FramingStream)
		if n > storedAhead {
			t.Fatal("no bound")
		}
	}
	if n != storedAhead || x.managed.asked.IsZero() {
		t.Errorf("%d are ahead; asked %v", n, x.managed.asked)
	}
	woken := x.wakes
	if err := x.Ack(&x.b, 1); err != nil || x.wakes != woken+1 {
		t.Errorf("%v, woken %d times", err, x.wakes-woken)
	}
	x.insert(false, 100)
	x.Drain(x.c, nil, 1<<20, transport.FramingStream)
	if err := x.Ack(&x.b, uint32(n)); err != nil {
		t.Error(err)
	}
	if string(x.Drain(x.c, nil, 1<<20, transport.FramingStream)) != askRequest { // one is left
		t.Error("not asked again")
	}
}

// The end of a stream does not wait for acknowledgements that nobody reads.
func TestEndBehindManyUnacknowledged(t *testing.T) {
	c := &conn{}
	o := NewOutbox(c, OutboxLimits{Bytes: 1 << 20, Kept: 2})
	var b transport.Batch
	o.Manage(&b, "")
	for _, id := range []string{"1", "2", "3", "4", "5", "6"} {
		o.Stanza(&b, message(id, ""), jid.JID{})
	}
	o.Finish(&b, "<end/>")
	if out := string(o.Drain(c, nil, 1<<20, transport.FramingStream)); strings.Count(out, "<message ") != 6 || !strings.HasSuffix(out, "<end/>") {
		t.Errorf("written is %s", out)
	}
}
