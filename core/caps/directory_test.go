package caps

import (
	"container/list"
	"crypto"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// world is a Directory, its clients, and the clock.
type world struct {
	t    *testing.T
	d    *Directory
	now  time.Time
	open []*expected // what the Directory waits for, in the order of the questions
}

type expected struct {
	ask  *stanza.Stanza
	done func(b *transport.Batch, answer *stanza.Stanza)
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Unix(1e9, 0)}
	w.d = New(Options{Now: func() time.Time { return w.now }, Expect: func(st *stanza.Stanza, timeout time.Duration, done func(*transport.Batch, *stanza.Stanza)) func() {
		if timeout != patience {
			t.Errorf("waits for %v", timeout)
		}
		e := &expected{st, done}
		w.open = append(w.open, e)
		return func() { w.drop(e) }
	}})
	return w
}

func (w *world) drop(e *expected) {
	w.open = slices.DeleteFunc(w.open, func(o *expected) bool { return o == e })
}

// cl is a client. It answers nothing by itself.
type cl struct {
	w    *world
	full string
	slot Slot
	gone bool // can't be reached
}

func (w *world) client(full string) *cl { return &cl{w: w, full: full} }

func (c *cl) as() Client {
	return Client{JID: jid.MustParse(c.full), Slot: &c.slot, Send: func(*transport.Batch, *stanza.Stanza) bool { return !c.gone }}
}

func (c *cl) says(ad C) *cl {
	c.w.d.Seen(&transport.Batch{}, c.as(), ad.xml())
	return c
}

func (c C) xml() string { return string(c.Element().Append(nil, "")) }

// sha1Of is what a client that can do this advertises.
func (w *world) sha1Of(content string) C {
	w.t.Helper()
	return C{"sha-1", "http://example.org/client", parse(w.t, content).Ver(crypto.SHA1)}
}

// asked is the only question that is open, "" for none: who is asked for what.
func (w *world) asked() string {
	w.t.Helper()
	if len(w.d.asked) != len(w.open) {
		w.t.Errorf("%d clients are asked, %d answers expected", len(w.d.asked), len(w.open))
	}
	var all []string
	for _, e := range w.open {
		all = append(all, e.ask.To.String()+" "+e.ask.Find(nsInfo, "query").Attr("node"))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// answer answers the first question: with the content of a query, "error", or
// "" for the timeout.
func (w *world) answer(content string) {
	w.t.Helper()
	e := w.open[0]
	w.drop(e)
	var b transport.Batch
	switch content {
	case "":
		e.done(&b, nil)
	case "error":
		e.done(&b, e.ask.ErrorReply(stanza.Err(stanza.ServiceUnavailable, "")))
	default:
		e.done(&b, stanza.New(e.ask.Reply(stanza.Result), query(w.t, content)))
	}
}

// clean checks that nothing is left of any question.
func (w *world) clean() {
	w.t.Helper()
	if len(w.open)+len(w.d.open)+len(w.d.asked) > 0 {
		w.t.Errorf("left: %d expected, %d open, %d asked", len(w.open), len(w.d.open), len(w.d.asked))
	}
}

func (c *cl) can(features ...string) {
	c.w.t.Helper()
	got := c.slot.Features()
	if !slices.Equal(got, features) || (got == nil) != (features == nil) {
		c.w.t.Errorf("%s: %q, want %q", c.full, got, features)
	}
}

const (
	one = "<identity category='client' type='pc'/><feature var='urn:z'/><feature var='urn:a'/>"
	two = "<identity category='client' type='phone'/><feature var='urn:b'/>"
)

func TestLearn(t *testing.T) {
	w := newWorld(t)
	romeo := w.client("romeo@example.test/a").says(w.sha1Of(one))
	if got := w.asked(); got != "romeo@example.test/a http://example.org/client#"+w.sha1Of(one).Ver {
		t.Error(got)
	}
	if from := w.open[0].ask.From.String(); from != "example.test" {
		t.Errorf("the question is from %q", from)
	}
	romeo.can()
	romeo.says(w.sha1Of(one)) // presence again, meanwhile
	w.answer(one)
	romeo.can("urn:a", "urn:z")
	w.clean()
	juliet := w.client("juliet@example.test/a").says(w.sha1Of(one)) // 8.2: across sessions
	juliet.can("urn:a", "urn:z")
	if &juliet.slot.Features()[0] != &romeo.slot.Features()[0] {
		t.Error("not shared")
	}
	for _, row := range []struct {
		slot *Slot
		ad   C
		want bool
	}{{&romeo.slot, w.sha1Of(one), true}, {&romeo.slot, w.sha1Of(two), false}, {&Slot{}, w.sha1Of(one), false}} {
		if row.slot.Settled(row.ad.xml()) != row.want {
			t.Errorf("settled: %+v", row)
		}
	}
	romeo.says(w.sha1Of(two)) // 6.1: it changes
	romeo.can()
	w.answer(two)
	romeo.can("urn:b")
	w.d.Forget(&transport.Batch{}, &romeo.slot)
	romeo.can()
	empty := w.client("nurse@example.test/a").says(w.sha1Of("<identity category='client' type='bot'/>"))
	w.answer("<identity category='client' type='bot'/>")
	empty.can([]string{}...)
	w.clean()
}

// What is not an answer with the advertised hash is no answer, and is not shared
// (5.4 step 3.9). The client is not asked for it again.
func TestLies(t *testing.T) {
	for _, row := range []struct{ rule, answer string }{
		{"5.4 step 3.9: another hash", two},
		{"5.4 step 3.3", one + "<identity category='client' type='pc'/>"},
		{"5.4 step 3.4", one + "<feature var='urn:a'/>"},
		{"an error", "error"},
		{"none in time", ""},
		{"no identity", "<feature var='urn:a'/>"},
	} {
		w := newWorld(t)
		romeo := w.client("romeo@example.test/a").says(w.sha1Of(one))
		w.answer(row.answer)
		romeo.can()
		w.clean()
		romeo.says(w.sha1Of(one))
		if got := w.asked(); got != "" {
			t.Errorf("%s: asked again: %s", row.rule, got)
		}
		juliet := w.client("juliet@example.test/a").says(w.sha1Of(one)) // another one is (step 3.9)
		if got := w.asked(); !strings.HasPrefix(got, "juliet@example.test/a ") {
			t.Errorf("%s: %q", row.rule, got)
		}
		w.answer(one)
		juliet.can("urn:a", "urn:z")
		romeo.says(w.sha1Of(one)) // what it advertises is known by now
		romeo.can("urn:a", "urn:z")
		w.clean()
	}
}

func TestOneQuestionAtATime(t *testing.T) {
	w := newWorld(t)
	var all []*cl
	for i := range 50 {
		all = append(all, w.client(fmt.Sprintf("user%d@example.test/a", i)).says(w.sha1Of(one)))
	}
	for _, lie := range []string{two, "error", "", two} { // each is asked of another one
		before := w.asked()
		if len(w.open) != 1 {
			t.Fatalf("asked: %s", before)
		}
		w.answer(lie)
		if now := w.asked(); now == before || len(w.open) != 1 {
			t.Fatalf("after %q: asked %s, then %s", lie, before, now)
		}
	}
	w.answer(one)
	known := 0
	for _, c := range all {
		if c.slot.Features() != nil {
			known++
		}
	}
	if known != 50-4 {
		t.Errorf("%d clients are known", known)
	}
	w.clean()
}

// Who goes, and who changes its mind, holds nobody up.
func TestLeave(t *testing.T) {
	w := newWorld(t)
	var b transport.Batch
	romeo := w.client("romeo@example.test/a").says(w.sha1Of(one))
	juliet := w.client("juliet@example.test/a").says(w.sha1Of(one))
	nurse := w.client("nurse@example.test/a").says(w.sha1Of(one))
	late := w.open[0]
	w.d.Forget(&b, &nurse.slot) // did wait
	w.d.Forget(&b, &romeo.slot) // was asked
	if got := w.asked(); !strings.HasPrefix(got, "juliet") {
		t.Error(got)
	}
	late.done(&b, stanza.New(late.ask.Reply(stanza.Result), query(t, one))) // on its way when the question was withdrawn
	juliet.can()
	juliet.says(w.sha1Of(two)) // is asked for one string at a time
	if got := w.asked(); !strings.HasSuffix(got, w.sha1Of(one).Ver) {
		t.Error(got)
	}
	romeo.says(w.sha1Of(one)).says(w.sha1Of(two))
	if got := w.asked(); !strings.Contains(got, w.sha1Of(two).Ver) || !strings.HasPrefix(got, "juliet") {
		t.Errorf("while juliet is busy romeo is asked: %s", got)
	}
	w.answer(one) // juliet's answer of before is good for others
	juliet.can()
	w.answer(two)
	juliet.can("urn:b")
	romeo.can("urn:b")
	nurse.says(w.sha1Of(one)).can("urn:a", "urn:z")
	w.clean()

	for _, c := range []*cl{romeo, juliet, nurse} {
		w.d.Forget(&b, &c.slot)
	}
	romeo.says(w.sha1Of(simple))
	romeo.says(w.sha1Of(languages)) // waits until its first answer
	w.d.Forget(&b, &romeo.slot)
	w.clean()
	romeo.says(w.sha1Of(simple)).says(w.sha1Of(languages))
	w.answer(two)
	if got := w.asked(); !strings.HasSuffix(got, w.sha1Of(languages).Ver) {
		t.Errorf("settled, and then: %q", got)
	}
	w.answer(languages)
	romeo.can([]string{}...)
	w.clean()
}

func TestUnreachable(t *testing.T) {
	w := newWorld(t)
	romeo, juliet := w.client("romeo@example.test/a"), w.client("juliet@example.test/a")
	romeo.gone = true
	romeo.says(w.sha1Of(one))
	if w.open = nil; len(w.d.asked)+len(w.d.open) > 0 { // the kernel forgets it at the timeout
		t.Error("a client without a connection is waited for")
	}
	juliet.says(w.sha1Of(one))
	w.answer("")
	w.clean()
	romeo.gone = false
	var b transport.Batch
	w.d.Resumed(&b, romeo.as(), w.sha1Of(one).xml()) // XEP-0198: a new connection, a new question
	w.d.Resumed(&b, romeo.as(), w.sha1Of(one).xml())
	if got := w.asked(); !strings.HasPrefix(got, "romeo") || strings.Contains(got, ",") {
		t.Error(got)
	}
	w.answer(one)
	w.d.Resumed(&b, romeo.as(), w.sha1Of(one).xml())
	romeo.can("urn:a", "urn:z")
	w.clean()
}

// Where the hash can't be checked, or stands for other answers, too, what the
// client says counts for itself alone (5.4 step 2.3, 9.3).
func TestNotShared(t *testing.T) {
	ambiguous := one + formXML(fieldXML("FORM_TYPE", "urn:zz"))
	w := newWorld(t)
	for _, row := range []struct {
		ad     C
		answer string
	}{
		{C{"md5", "n", "v"}, one}, {C{"shake128", "n", "v"}, one}, {w.sha1Of(ambiguous), ambiguous},
	} {
		romeo := w.client("romeo@example.test/a").says(row.ad)
		juliet := w.client("juliet@example.test/a").says(row.ad)
		for range 2 {
			w.answer(row.answer)
		}
		romeo.can("urn:a", "urn:z")
		juliet.can("urn:a", "urn:z")
		w.clean()
		romeo.says(row.ad)
		w.clean() // asked once
		liar := w.client("tybalt@example.test/a").says(row.ad)
		w.answer(map[bool]string{true: two, false: ""}[row.ad.Hash != "sha-1"])
		nurse := w.client("nurse@example.test/a").says(row.ad)
		w.answer(row.answer)
		nurse.can("urn:a", "urn:z")
		if slices.Equal(liar.slot.Features(), nurse.slot.Features()) {
			t.Errorf("%v: %q", row.ad, liar.slot.Features())
		}
		w.clean()
	}
	if len(w.d.cache.at) > 0 {
		t.Error("cached")
	}
}

func TestFlood(t *testing.T) {
	w := newWorld(t)
	romeo := w.client("romeo@example.test/a")
	hash := func(i int) C {
		return w.sha1Of(fmt.Sprintf("<identity category='client' type='pc' name='%d'/>", i))
	}
	for i := range 100 { // without answering
		romeo.says(hash(i))
		if len(w.open) != 1 || len(w.d.open) > 2 {
			t.Fatalf("%d questions, %d strings", len(w.open), len(w.d.open))
		}
	}
	asked := 1
	for i := 100; len(w.open) > 0; i++ {
		romeo.says(hash(i))
		if w.answer(two); len(w.open) > 0 {
			asked++
		}
		if asked > 1000 {
			t.Fatal("no end")
		}
	}
	if asked != burst {
		t.Errorf("%d questions at once", asked)
	}
	other := w.client("romeo@example.test/b").says(w.sha1Of(one)) // the account's
	w.clean()
	w.client("juliet@example.test/b").says(w.sha1Of(two)) // not everybody's
	w.answer(two)
	w.now = w.now.Add(every)
	other.says(w.sha1Of(one)) // asked by the next presence that finds room
	w.answer(one)
	other.can("urn:a", "urn:z")
	w.clean()
}

func TestBounds(t *testing.T) {
	w := newWorld(t)
	w.d = New(Options{Unlimited: true, Now: w.d.now, Expect: w.d.expect})
	big := func(i, features int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "<identity category='client' type='pc' name='%d'/>", i)
		for n := range features {
			fmt.Fprintf(&b, "<feature var='urn:xmpp:feature-of-a-usual-length:%d-%d'/>", i, n)
		}
		return b.String()
	}
	huge := w.client("romeo@example.test/a").says(w.sha1Of(big(0, 1000)))
	w.answer(big(0, 1000))
	huge.can() // more than is read of one
	keeper := w.client("juliet@example.test/a").says(w.sha1Of(one))
	w.answer(one)
	most := strings.Repeat("x", maxAnswer-stringBytes)
	const n = maxCachedBytes/maxAnswer + 10
	for i := range n {
		w.d.cache.put(&info{key{"sha-1", fmt.Sprint(i), nil}, []string{most}, ""})
		if i%10 == 0 {
			w.client("nurse@example.test/a").says(w.sha1Of(one)) // used all the time
		}
	}
	c := &w.d.cache
	sum := 0
	for _, e := range c.at {
		sum += e.Value.(*info).size()
	}
	if c.bytes > maxCachedBytes || len(c.at) > maxCached || c.used.Len() != len(c.at) || sum != c.bytes || len(c.at) >= n {
		t.Errorf("%d strings of %d, %d listed, %d bytes, in fact %d", len(c.at), n, c.used.Len(), c.bytes, sum)
	}
	if used := w.sha1Of(one); c.get(used.key(nil)) == nil {
		t.Error("what is used is forgotten")
	}
	keeper.can("urn:a", "urn:z")
	for i := range maxCached + 100 {
		c.put(&info{key: key{ver: fmt.Sprint(i)}})
	}
	if len(c.at) > maxCached || c.used.Len() != len(c.at) {
		t.Errorf("%d strings", len(c.at))
	}
	for i := range maxAsked + 100 {
		w.client(fmt.Sprintf("user%d@example.test/a", i)).says(C{"sha-1", "n", fmt.Sprintf("%028d", i)})
	}
	if len(w.d.asked) != maxAsked || len(w.d.open) != maxAsked {
		t.Errorf("%d are asked, for %d strings", len(w.d.asked), len(w.d.open))
	}
}

// Whatever goroutines do at once, nothing is left when all have gone.
func TestConcurrent(t *testing.T) {
	var mu sync.Mutex
	open := map[*expected]struct{}{}
	d := New(Options{Unlimited: true, Now: time.Now, Expect: func(st *stanza.Stanza, _ time.Duration, done func(*transport.Batch, *stanza.Stanza)) func() {
		mu.Lock()
		defer mu.Unlock()
		e := &expected{st, done}
		open[e] = struct{}{}
		return func() { mu.Lock(); defer mu.Unlock(); delete(open, e) }
	}})
	take := func() *expected {
		mu.Lock()
		defer mu.Unlock()
		for e := range open {
			delete(open, e)
			return e
		}
		return nil
	}
	w := &world{t: t}
	contents := []string{one, two, simple, languages}
	var ads []C
	for _, c := range contents {
		ads = append(ads, w.sha1Of(c))
	}
	var slots [40]Slot
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			var b transport.Batch
			rnd := rand.New(rand.NewPCG(1, uint64(g)))
			for range 2000 {
				i := rnd.IntN(len(slots)/8)*8 + g // a session has one turn at a time
				me := Client{jid.MustParse(fmt.Sprintf("u%d@example.test/a", i)), &slots[i], func(*transport.Batch, *stanza.Stanza) bool { return rand.IntN(8) > 0 }}
				switch rnd.IntN(4) {
				case 0:
					d.Forget(&b, &slots[i])
				case 1:
					d.Resumed(&b, me, ads[rnd.IntN(len(ads))].xml())
				case 2:
					d.Seen(&b, me, ads[rnd.IntN(len(ads))].xml())
				case 3:
					if e := take(); e != nil {
						var answer *stanza.Stanza
						if rnd.IntN(3) > 0 {
							answer = stanza.New(e.ask.Reply(stanza.Result), query(t, contents[rnd.IntN(len(contents))]))
						}
						e.done(&b, answer)
					}
				}
				slots[rnd.IntN(len(slots))].Features()
				if rnd.IntN(200) == 0 {
					d.mu.Lock()
					d.cache = cache{at: map[key]*list.Element{}}
					d.mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	for i := range slots {
		d.Forget(&transport.Batch{}, &slots[i])
	}
	for e := take(); e != nil; e = take() { // of clients that could not be reached
		e.done(&transport.Batch{}, nil)
	}
	if len(d.open)+len(d.asked) > 0 {
		t.Errorf("left: %d open, %d asked", len(d.open), len(d.asked))
	}
}
