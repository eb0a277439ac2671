package core_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// holding is the handler that holds back, of sessions with the mark "goes", presence
// and messages without a body: by the sender's key, but for headlines, of which
// each counts. An iq has no handler in this stage.
func holding() extension.StageHandler {
	return extension.StageHandler{Stage: extension.Write, Match: extension.Match{Kinds: []stanza.Kind{stanza.Message, stanza.Presence}, Mark: "goes"},
		Handle: func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			st := e.Stanza
			switch _, body := st.Child("", "body"); {
			case body:
				return extension.Verdict{}, nil
			case st.Type == stanza.Headline:
				return extension.Verdict{Action: extension.Hold}, nil
			default:
				return extension.Verdict{Action: extension.Hold, Key: st.Kind.String() + st.From.String()}, nil
			}
		}}
}

// What romeo sends to juliet's session a: presence and states are held by key,
// headlines without, chat and requests pass.
func show(n int) string {
	return fmt.Sprintf("<presence to='juliet@example.test/a' id='%d'/>", n)
}
func typing(n int) string {
	return fmt.Sprintf("<message to='juliet@example.test/a' id='%d' type='chat'/>", n)
}
func headline(n int) string {
	return fmt.Sprintf("<message to='juliet@example.test/a' id='%d' type='headline'/>", n)
}
func request(n int) string {
	return fmt.Sprintf("<iq to='juliet@example.test/a' id='%d' type='get'><q xmlns='urn:x'/></iq>", n)
}

var number = regexp.MustCompile(` id='(\d+)'`)

// numbers are the ids of what a client got, in order; <r/> and other elements
// without an id are left out.
func numbers(out string) (list []int) {
	for _, m := range number.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		list = append(list, n)
	}
	return list
}

// wantNumbers compares the ids.
func (c *client) wantNumbers(want ...int) {
	c.w.t.Helper()
	if got := numbers(c.take()); fmt.Sprint(got) != fmt.Sprint(want) {
		c.w.t.Errorf("got %v, want %v", got, want)
	}
}

func holders(t *testing.T, change func(*core.Options)) (w *world, romeo, juliet *client) {
	w = newWorld(t, func(o *core.Options, p *core.Ports) {
		with(marking(holding()))(o, p)
		if change != nil {
			change(o)
		}
	})
	return w, w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "")
}

func TestHeld(t *testing.T) {
	w, romeo, juliet := holders(t, nil)
	nurse := w.login("nurse@example.test/y", "")
	romeo.send(show(1) + typing(2))
	juliet.wantNumbers(1, 2) // without the mark
	juliet.send(on("goes"))
	for _, row := range []struct {
		rule  string
		steps func()
		want  []int
	}{
		{"of one key the last counts, at its own place", func() {
			romeo.send(show(1) + typing(2) + show(3))
			nurse.send(show(4))
			romeo.send(typing(5))
			juliet.send(release)
		}, []int{3, 4, 5}},
		{"without a key each counts", func() { romeo.send(headline(1) + headline(2) + show(3) + headline(4)); juliet.send(release) }, []int{1, 2, 3, 4}},
		{"in front of a message that passes", func() { romeo.send(show(1) + typing(2)); nurse.send(say(3)) }, []int{1, 2, 3}},
		{"in front of a request, which no handler sees", func() { romeo.send(show(1) + request(2)) }, []int{1, 2}},
		{"in front of the answer of the server", func() { romeo.send(show(1)); juliet.send("<iq id='2' type='get'><q xmlns='urn:x'/></iq>") }, []int{1, 2}},
		{"what passed is not held again", func() { romeo.send(show(1) + say(2) + show(3)); juliet.send(release + release) }, []int{1, 2, 3}},
		{"a mark that is gone holds nothing", func() { romeo.send(show(1)); juliet.send(off("goes") + release); romeo.send(show(2)) }, []int{1, 2}},
		{"without a release it goes in front of the next", func() {
			juliet.send(on("goes"))
			romeo.send(show(1))
			juliet.send(off("goes"))
			romeo.send(show(2))
			juliet.send(on("goes"))
		}, []int{1, 2}},
		{"the last of a long time", func() {
			for n := range 5000 {
				romeo.send(show(n))
			}
			juliet.send(release)
		}, []int{4999}},
	} {
		row.steps()
		if got := numbers(juliet.take()); fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%s: got %v, want %v", row.rule, got, row.want)
		}
	}
	romeo.send(show(1)).take()
	juliet.want("")
}

// XEP-0198 4: what is held back is not counted before it is sent.
func TestHeldIsNotCounted(t *testing.T) {
	_, romeo, juliet := holders(t, nil)
	juliet.manage()
	juliet.send(on("goes"))
	romeo.send(show(1) + show(2) + typing(3))
	juliet.send("<a xmlns='urn:xmpp:sm:3' h='0'/>").want("")
	juliet.send(release).wantNumbers(2, 3)
	juliet.send("<a xmlns='urn:xmpp:sm:3' h='2'/>").want("")
	romeo.send(show(4))
	juliet.send("<a xmlns='urn:xmpp:sm:3' h='3'/>").wantPart("<handled-count-too-high ")
}

// A stanza whose handler decides by a mark that is taken away in this moment is
// not held: nobody would release it.
func TestReleaseAmidTheDecision(t *testing.T) {
	var meanwhile func()
	hold := holding()
	decide := hold.Handle
	hold.Handle = func(ctx context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
		if f := meanwhile; f != nil {
			meanwhile = nil
			f()
		}
		return decide(ctx, h, e)
	}
	w := newWorld(t, with(marking(hold)))
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "")
	for _, before := range []string{"", show(1)} { // also the first that is ever held
		juliet.send(on("goes"))
		romeo.send(before)
		meanwhile = func() { juliet.send(off("goes") + release) }
		romeo.send(show(2))
		juliet.wantNumbers(append(numbers(before), 2)...)
	}
}

// What is held back has bounds, and goes out past them; it fits into a small outbox.
func TestBoundsOfTheHeld(t *testing.T) {
	for _, row := range []struct {
		rule   string
		outbox int
		count  int
		text   string // in each
		most   int    // that may be held
	}{
		{"1,000 stanzas", 0, 1500, "", 1000},
		{"256 KiB", 0, 1500, strings.Repeat("x", 2000), 130},
		{"half of a small outbox", 64 << 10, 1500, strings.Repeat("x", 200), 80},
		{"one that is larger than all", 64 << 10, 3, strings.Repeat("x", 100_000), 1},
	} {
		_, romeo, juliet := holders(t, func(o *core.Options) { o.Limits.OutboxBytes = row.outbox })
		juliet.send(on("goes"))
		var got []int
		for n := range row.count {
			romeo.send(strings.Replace(headline(n), "/>", "><x xmlns='urn:x'>"+row.text+"</x></message>", 1))
			got = append(got, numbers(juliet.take())...)
			if held := n + 1 - len(got); held > row.most {
				t.Fatalf("%s: %d are held", row.rule, held)
			}
		}
		juliet.send(release)
		got = append(got, numbers(juliet.take())...)
		for i := 1; i < len(got); i++ {
			if got[i-1] >= got[i] {
				t.Fatalf("%s: %d came before %d", row.rule, got[i-1], got[i])
			}
		}
		if juliet.closing || len(got) < row.count/2 || got[len(got)-1] != row.count-1 {
			t.Errorf("%s: %d came, ended: %v", row.rule, len(got), juliet.closing)
		}
	}
}

// A session without a connection holds on; when it is resumed, it has lost the
// mark, and what was held comes behind what was not acknowledged.
func TestHeldWhileDetached(t *testing.T) {
	w, romeo, juliet := holders(t, nil)
	id := juliet.manage()
	juliet.send(on("goes"))
	romeo.send(say(1) + show(2))
	juliet.wantNumbers(1)
	juliet.cut()
	romeo.send(show(3) + typing(4) + show(5) + request(6)).wantPart("<service-unavailable") // can't wait
	juliet = w.resume("juliet@example.test", id, 0)
	juliet.wantNumbers(1, 4, 5)
	romeo.send(show(7) + typing(8)) // 5.2 of XEP-0352: nothing is held any more
	juliet.wantNumbers(7, 8)
	juliet.send("<a xmlns='urn:xmpp:sm:3' h='5'/>").want("")
}

// Messages that were held when a session without a connection ends, or for which
// there was no room, go where all messages go then; presence is dropped. Nothing
// is lost or comes twice.
func TestOverflowOfTheHeldWhileDetached(t *testing.T) {
	const kept = 20
	w, romeo, juliet := holders(t, func(o *core.Options) { o.Limits.Unacknowledged = kept })
	juliet.manage()
	juliet.send(on("goes"))
	phone := w.login("juliet@example.test/phone", "<presence/>")
	romeo.send(say(1))
	juliet.wantNumbers(1)
	juliet.cut()
	want := []int{1}
	for n := range 2 * kept {
		nurse := w.login(fmt.Sprintf("nurse@example.test/%d", n), "")
		nurse.send(say(100+n) + show(n))
		want = append(want, 100+n)
	}
	romeo.send(typing(2) + say(3)) // no room any more
	want = append(want, 2, 3)
	juliet.take()
	got := numbers(phone.take())
	seen := map[int]int{}
	for _, n := range got {
		seen[n]++
	}
	for _, n := range want {
		if seen[n] != 1 {
			t.Errorf("message %d came %d times: %v", n, seen[n], got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the phone got %v, want %v", got, want)
	}
}

// What is held goes out in front of the end of a stream, whoever ends it.
func TestHeldAtTheEnd(t *testing.T) {
	for how, end := range map[string]func(w *world, juliet *client){
		"by the client":    func(_ *world, juliet *client) { juliet.send("</stream:stream>") },
		"by an error":      func(_ *world, juliet *client) { juliet.send("<!-- -->") },
		"by a new session": func(w *world, _ *client) { w.login("juliet@example.test/a", "") },
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, romeo, juliet := holders(t, nil)
				juliet.send(on("goes"))
				romeo.send(show(1) + typing(2) + headline(3))
				end(w, juliet)
				juliet.Flush()
				out := juliet.take()
				if fmt.Sprint(numbers(out)) != "[1 2 3]" || !strings.HasSuffix(out, "</stream:stream>") {
					t.Errorf("got %s", out)
				}
				juliet.drop()
				romeo.want("")
			})
		})
	}
	t.Run("of its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, romeo, juliet := holders(t, nil)
			juliet.manage()
			juliet.send(on("goes"))
			romeo.send(show(1) + headline(2) + "<message to='juliet@example.test/a' id='3'/>")
			juliet.cut()
			phone := w.login("juliet@example.test/phone", "<presence/>")
			time.Sleep(11 * time.Minute)
			synctest.Wait()
			phone.Flush()
			if out := phone.take(); fmt.Sprint(numbers(out)) != "[3]" || !strings.Contains(out, "<delay ") {
				t.Errorf("the phone got %s", out)
			}
			romeo.want("")
		})
	})
}

// Many senders at once, while the mark comes and goes: with -race. Of each sender
// everything that passes comes once and in order, and of what is held the last.
func TestHeldConcurrently(t *testing.T) {
	const senders, rounds, each = 4, 40, 20
	for range rounds {
		w := newWorld(t, with(marking(holding())))
		var running sync.WaitGroup
		sink := &adapter{ended: make(chan struct{})}
		sink.s, sink.ready = w.k.NewStream(overTLS, sink), true
		feed := func(a *adapter, in string) {
			var b transport.Batch
			for wait := a.s.Feed(&b, []byte(in)); wait != nil; wait = a.s.Feed(&b, nil) {
				wait(context.Background())
			}
			b.Flush()
		}
		for _, in := range []string{toUs, plain("juliet", "pw"), toUs, bind("a")} {
			feed(sink, in)
		}
		var all [senders]*pipe
		for k := range senders {
			all[k] = negotiate(w.k, fmt.Sprint("romeo", k), "x")
			running.Go(func() {
				p := all[k]
				var b transport.Batch
				for n := range each {
					text := say(n)
					switch n % 4 {
					case 1:
						text = typing(n)
					case 2, 3: // the last one is held
						text = show(n)
					}
					p.feed(&b, []byte(text))
				}
			})
		}
		for range 10 {
			feed(sink, on("goes"))
			feed(sink, off("goes")+release)
		}
		running.Wait()
		out := string(sink.out)
		for _, p := range all {
			p.close()
		}
		var b transport.Batch
		sink.s.Closed(&b, nil)
		b.Flush()
		for k := range senders {
			var got []int
			for _, part := range strings.SplitAfter(out, ">") {
				if strings.Contains(part, fmt.Sprintf(" from='romeo%d@example.test/x'", k)) {
					got = append(got, numbers(part)...)
				}
			}
			passed := 0
			for i, n := range got {
				if i > 0 && got[i-1] >= n {
					t.Fatalf("of sender %d: %v", k, got)
				}
				if n%4 == 0 {
					passed++
				}
			}
			if passed != each/4 || got[len(got)-1] != each-1 {
				t.Fatalf("of sender %d: %v", k, got)
			}
		}
	}
}
