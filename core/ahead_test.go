package core_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// process is a Remote as one of a process is: it handles the events of each key in their
// order, many keys at once, and misses the deadline of those that it has for too long.
type process struct {
	handle func(e *extension.RemoteEvent) *extension.Outcome // nil: it dies with this one
	most   int                                               // events that it has, at most; 0: any number

	kernel extension.Kernel
	mu     sync.Mutex
	queues map[string][]*extension.RemoteEvent
	has    int
	peak   int
	full   int // events that it did not take
	late   int
	resets int
	all    sync.WaitGroup
}

func (x *process) Attach(k extension.Kernel) { x.kernel = k }

func (x *process) Reset(string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.resets++
}

func (x *process) Dispatch(e *extension.RemoteEvent) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.most > 0 && x.has >= x.most {
		x.full++
		return extension.ErrFull
	}
	x.has++
	x.peak = max(x.peak, x.has)
	if x.queues == nil {
		x.queues = map[string][]*extension.RemoteEvent{}
	}
	if x.queues[e.Key] = append(x.queues[e.Key], e); len(x.queues[e.Key]) == 1 {
		x.all.Go(func() { x.work(e.Key) })
	}
	return nil
}

func (x *process) work(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.queues[key]) > 0 {
		e := x.queues[key][0]
		x.mu.Unlock()
		switch o := x.handle(e); {
		case e.Deadline > 0 && time.Since(e.At) > e.Deadline:
			x.mu.Lock()
			x.late++
			x.mu.Unlock()
			fail(e, extension.ErrLate)
		case o == nil:
			fail(e, fmt.Errorf("%w: its process died", extension.ErrDown))
		default:
			_ = apply(e, o)
		}
		x.mu.Lock()
		x.has--
		x.queues[key] = x.queues[key][1:]
	}
}

// warm has a handler asked so often that as many verdicts as may be are asked for ahead.
func warm(romeo, juliet *client) {
	for range 64 {
		romeo.send(say(0))
	}
	juliet.take()
}

// A stream reads on while verdicts on its messages are out. Nothing is delivered, and
// nothing acknowledged, before its own verdict is there and all before it have come to
// their end.
func TestStreamsReadOnDuringVerdicts(t *testing.T) {
	for _, stage := range []extension.Stage{extension.Submit, extension.Deliver} {
		synctest.Test(t, func(t *testing.T) {
			x := &elsewhere{answer: func(*extension.RemoteEvent) *extension.Outcome { return &extension.Outcome{} }}
			sp := &spool{held: map[uint64]storage.SpoolRecord{}}
			w := newWorld(t, func(o *core.Options, p *core.Ports) {
				with(remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Stage: stage}))(o, p)
				o.Offline, p.Spool, p.Store = offline.Options{Messages: 100}, sp, accountsIn(t, "juliet@example.test")
			})
			romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
			warm(romeo, juliet)
			romeo.manage()
			x.mu.Lock()
			x.answer = nil
			x.mu.Unlock()
			romeo.input(says(1, 4) + "<message to='juliet@example.test/a' id='5'><body>5</body></message>" + says(6, 9) + askAck) // nobody asks about 5
			synctest.Wait()
			var asked []*extension.RemoteEvent
			for range 8 {
				asked = append(asked, x.next(t))
			}
			romeo.want(ack(0))
			for _, i := range []int{7, 6, 5, 4, 2, 1} {
				if err := apply(asked[i], &extension.Outcome{}); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
			juliet.want("")
			if err := apply(asked[0], &extension.Outcome{}); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if got := juliet.gotNumbers(); got != upTo(1, 3) {
				t.Errorf("she got %s", got)
			}
			sp.sync(sp.last)
			romeo.want(ack(3))
			if err := apply(asked[3], &extension.Outcome{Verdict: extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.PolicyViolation, "")}}); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if got := juliet.gotNumbers(); got != upTo(5, 9) {
				t.Errorf("she got %s", got)
			}
			romeo.wantPart("id='4' type='error'")
			sp.sync(sp.last)
			romeo.want(ack(9))
		})
	}
}

// Whatever is no message waits until the messages before it have come to their end.
func TestOthersWaitForVerdicts(t *testing.T) {
	const forJuliet = "<presence to='juliet@example.test/a'/>"
	for name, c := range map[string]struct{ in, romeo, juliet string }{
		"presence":        {in: forJuliet, juliet: "<presence from='romeo@example.test/x' to='juliet@example.test/a'/>"},
		"iq":              {in: "<iq type='get' id='q' to='juliet@example.test/a'><q xmlns='urn:q'/></iq>", juliet: "<q xmlns='urn:q'/>"},
		"the end":         {in: "</stream:stream>", romeo: "</stream:stream>"},
		"enable":          {in: "<enable xmlns='urn:xmpp:sm:3'/>", romeo: "<enabled "},
		"no XML":          {in: "<x></y>", romeo: "<not-well-formed "},
		"another message": {in: "<message to='juliet@example.test/a' type='headline'><body>2</body></message>", juliet: "<body>2</body>"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &elsewhere{}
				w := newWorld(t, with(remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Stage: extension.Submit})))
				romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
				juliet.take()
				done := sends(romeo, say(1)+c.in)
				synctest.Wait()
				romeo.want("")
				juliet.want("")
				if err := apply(x.next(t), &extension.Outcome{}); err != nil {
					t.Error(err)
				}
				<-done
				synctest.Wait()
				if got := romeo.take(); !strings.Contains(got, c.romeo) {
					t.Errorf("romeo got %s", got)
				}
				if got := juliet.take(); !strings.Contains(got, c.juliet) || !strings.HasPrefix(got, "<message from='romeo@example.test/x' to='juliet@example.test/a' id='1'") {
					t.Errorf("juliet got %s", got)
				}
			})
		})
	}
}

// However long verdicts take, whatever they are, and whether they come: each message has
// one end, and each pair has one order, also with what nobody asks about, presence and
// requests in between, with archives and without, whether the session ends or not.
func TestVerdictsInOrder(t *testing.T) {
	for _, row := range []struct {
		name            string
		stages          []extension.Stage
		archives, most0 bool
		effects         bool
		ends            bool
	}{
		{name: "Submit", stages: []extension.Stage{extension.Submit}},
		{name: "Deliver", stages: []extension.Stage{extension.Deliver}},
		{name: "both", stages: []extension.Stage{extension.Submit, extension.Deliver}},
		{name: "archives", stages: []extension.Stage{extension.Submit}, archives: true},
		{name: "archives, Deliver", stages: []extension.Stage{extension.Deliver}, archives: true},
		{name: "archives, both", stages: []extension.Stage{extension.Submit, extension.Deliver}, archives: true},
		{name: "effects", stages: []extension.Stage{extension.Submit, extension.Deliver}, effects: true, archives: true},
		{name: "a short queue", stages: []extension.Stage{extension.Submit}, most0: true},
		{name: "the session ends", stages: []extension.Stage{extension.Submit, extension.Deliver}, ends: true, archives: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const senders, each = 3, 300
				x := &process{}
				if row.most0 {
					x.most = 3 * senders
				}
				x.handle = func(e *extension.RemoteEvent) *extension.Outcome {
					if rand.N(4) == 0 {
						time.Sleep(rand.N(3 * time.Millisecond))
					}
					o := &extension.Outcome{}
					if row.effects && rand.N(10) == 0 {
						n := e.Stanza().ID
						o.Effects = func(h *extension.Host) error { return h.Memory.Put("k", []byte(n)) }
					}
					switch rand.N(20) {
					case 0:
						return nil
					case 1:
						o.Verdict = extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.PolicyViolation, "")}
					case 2:
						o.Err = errors.New("it fails")
					case 3:
						o.Verdict = extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:x", "seen")}}
					}
					return o
				}
				reg := remoteStage("far", x, extension.StageHandler{})
				reg.Stages = nil
				for _, s := range row.stages {
					reg.Stages = append(reg.Stages, remoteStage("", x, extension.StageHandler{Class: extension.Decide, Stage: s}).Stages[0])
				}
				change := with(reg)
				var w *world
				if row.archives {
					var g *archiveGates
					w, g = archiveWorld(t, nil, reg)
					stop := make(chan struct{})
					var open sync.WaitGroup
					open.Go(func() {
						for {
							select {
							case g.open <- nil:
							case <-stop:
								return
							}
							time.Sleep(rand.N(2 * time.Millisecond))
						}
					})
					defer func() { close(stop); open.Wait() }()
				} else {
					w = newWorld(t, change)
				}
				juliet := w.login("juliet@example.test/a", "")
				juliet.send("<presence/>").take()
				var all sync.WaitGroup
				var clients [senders]*client
				for i := range clients {
					clients[i] = w.login(fmt.Sprintf("romeo@example.test/%d", i), "")
					all.Go(func() {
						c, n := clients[i], 0
						for n < each {
							var in strings.Builder
							for range 1 + rand.N(100) {
								switch rand.N(30) {
								case 0:
									fmt.Fprintf(&in, "<presence id='%d' to='juliet@example.test/a'/>", n)
								case 1:
									fmt.Fprintf(&in, "<iq type='get' id='%d' to='juliet@example.test/a'><q xmlns='urn:q'/></iq>", n)
								case 2, 3:
									fmt.Fprintf(&in, "<message id='%d' to='juliet@example.test/a'/>", n)
								default:
									fmt.Fprintf(&in, "<message id='%d' type='chat' to='juliet@example.test/a'/>", n)
								}
								if n++; n == each {
									break
								}
							}
							c.input(in.String())
						}
						if row.ends {
							c.cut()
						}
					})
				}
				all.Wait()
				time.Sleep(time.Minute)
				if n := w.k.Gauges().Underway; n != 0 {
					t.Fatalf("%d are under way", n)
				}
				got := juliet.take()
				for i, c := range clients {
					came := numbered(got, fmt.Sprintf("from='romeo@example.test/%d' ", i))
					back := numbered(c.take(), "type='error'")
					ended := map[int]bool{}
					last := -1
					for _, n := range came {
						if n <= last {
							t.Errorf("%d came behind %d", n, last)
						}
						last, ended[n] = n, true
					}
					last = -1
					for _, n := range back {
						if ended[n] {
							t.Errorf("%d came, and came back", n)
						}
						if n <= last {
							t.Errorf("%d came back behind %d", n, last)
						}
						last, ended[n] = n, true
					}
					if !row.ends && len(ended) != each {
						t.Errorf("%d have an end, of %d", len(ended), each)
					}
					if row.ends && len(came) < each/2 {
						t.Errorf("%d came, of %d", len(came), each)
					}
				}
				if x.late > 0 || row.most0 != (x.full > 0) {
					t.Error("late:", x.late, "not taken:", x.full)
				}
				if x.peak <= senders*len(row.stages) && !row.effects && row.name != "archives, Deliver" { // there rows of Submit are to be written first
					t.Error("no more than", x.peak, "verdicts were out")
				}
				x.all.Wait()
			})
		})
	}
}

// numbered returns the ids of the stanzas that have this part in their start tag.
func numbered(xml, part string) (all []int) {
	for _, tag := range strings.Split(xml, "<") {
		tag, _, _ = strings.Cut(tag, ">")
		if _, id, ok := strings.Cut(tag, " id='"); ok && strings.Contains(tag, part) {
			id, _, _ = strings.Cut(id, "'")
			if n, err := strconv.Atoi(id); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// Two handlers of one stage that decide: of messages for one of them, verdicts are asked
// for ahead; those for both go to one after the other.
func TestVerdictsOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &process{handle: func(e *extension.RemoteEvent) *extension.Outcome {
			time.Sleep(rand.N(time.Millisecond))
			return &extension.Outcome{Verdict: extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:x", fmt.Sprint("by", e.Handler))}}}
		}}
		reg := remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Stage: extension.Submit})
		reg.Stages = append(reg.Stages, reg.Stages[0])
		reg.Stages[1].Match.Child = &extension.Name{Space: "urn:y", Local: "y"}
		w := newWorld(t, with(reg))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
		warm(romeo, juliet)
		for i := range 100 {
			y := ""
			if i%10 == 0 {
				y = "<y xmlns='urn:y'/>"
			}
			romeo.input(fmt.Sprintf("<message to='juliet@example.test/a' id='%d' type='chat'>%s</message>", i, y))
			if i%25 == 24 {
				time.Sleep(time.Second)
				came := strings.Split(juliet.take(), "<message ")[1:]
				if len(came) != 25 {
					t.Errorf("%d came of 25", len(came))
				}
				for j, part := range came {
					n := i - 24 + j
					if !strings.Contains(part, fmt.Sprintf("id='%d' ", n)) || (n%10 == 0) != strings.Contains(part, "<by0 xmlns='urn:x'/><by1 ") || !strings.Contains(part, "<by0 ") {
						t.Errorf("number %d: %s", n, part)
					}
				}
			}
		}
		if x.peak < 5 {
			t.Error("verdicts that were out:", x.peak)
		}
		x.all.Wait()
	})
}

// A handler that counts in memory of the kernel gives each message a number of its own, in
// order: none is left out, none is given twice.
func TestVerdictsThatCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &process{}
		counts := false
		x.handle = func(e *extension.RemoteEvent) *extension.Outcome {
			time.Sleep(100 * time.Microsecond)
			if !counts {
				return &extension.Outcome{}
			}
			entry, _, err := x.kernel.Reader().Memory.Get(context.Background(), "n")
			if err != nil {
				t.Error(err)
			}
			n, _ := strconv.Atoi(string(entry.Value))
			next := strconv.Itoa(n + 1)
			return &extension.Outcome{
				Verdict: extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:x", "n"+next)}},
				Effects: func(h *extension.Host) error { return h.Memory.Put("n", []byte(next)) },
			}
		}
		w := newWorld(t, with(remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Stage: extension.Submit})))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
		warm(romeo, juliet)
		counts = true // from now on
		romeo.send(says(1, 200))
		want := 1
		for _, part := range strings.Split(juliet.take(), "<message ")[1:] {
			if !strings.Contains(part, fmt.Sprintf("<body>%d</body><n%d ", want, want)) {
				t.Fatalf("number %d: %s", want, part)
			}
			want++
		}
		if want != 201 {
			t.Errorf("%d messages came", want-1)
		}
		if x.resets == 0 {
			t.Error("no verdict that was asked for ahead was void")
		}
		x.all.Wait()
	})
}

// A handler that is slow is not late since many messages wait for it at once.
func TestSlowVerdictsAreNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &process{handle: func(*extension.RemoteEvent) *extension.Outcome {
			time.Sleep(10 * time.Millisecond)
			return &extension.Outcome{}
		}}
		w := newWorld(t, with(remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Deadline: 100 * time.Millisecond})))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
		juliet.take()
		romeo.send(says(1, 300))
		if got := juliet.gotNumbers(); got != upTo(1, 300) {
			t.Errorf("she got %s", got)
		}
		romeo.want("")
		if x.late > 0 || x.peak < 2 {
			t.Error(x.late, "are late; were out:", x.peak)
		}
		x.all.Wait()
	})
}

// The server stops while verdicts are out: nothing hangs, and what is said is said to
// its end.
func TestStopWithVerdictsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{answer: func(*extension.RemoteEvent) *extension.Outcome { return &extension.Outcome{} }}
		w := newWorld(t, with(remoteStage("far", x, extension.StageHandler{Class: extension.Decide})))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
		warm(romeo, juliet)
		x.mu.Lock()
		x.answer = nil
		x.mu.Unlock()
		romeo.input(says(1, 20))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			time.Sleep(500 * time.Millisecond)
			romeo.drop()
			juliet.drop()
		}()
		_ = w.k.Shutdown(ctx) // says that messages were under way
		if n := w.k.Gauges().Underway; n != 0 {
			t.Errorf("%d are under way", n)
		}
		for range 20 {
			if err := apply(x.next(t), &extension.Outcome{}); err == nil {
				t.Error("a verdict behind the end")
			}
		}
	})
}

// A handler whose process is gone is asked again behind the pause of its breaker, also where
// verdicts were out that nobody used in the end.
func TestVerdictsBehindThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late, effects := false, false
		x := &process{}
		x.handle = func(e *extension.RemoteEvent) *extension.Outcome {
			if late {
				time.Sleep(2 * e.Deadline)
			}
			o := &extension.Outcome{}
			if effects {
				o.Effects = func(h *extension.Host) error { return h.Memory.Put("k", nil) }
			}
			return o
		}
		w := newWorld(t, with(remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Stage: extension.Submit, Deadline: 10 * time.Millisecond})))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
		for range 3 {
			late = false
			warm(romeo, juliet)
			late = true
			romeo.send(says(1, 64))
			juliet.want("")
			if got := len(numbered(romeo.take(), "type='error'")); got != 64 {
				t.Errorf("%d came back", got)
			}
			late = false
			time.Sleep(3 * time.Minute)
			effects = !effects
			romeo.send(says(1, 64))
			time.Sleep(3 * time.Minute)
			romeo.take()
			juliet.take()
			romeo.send(says(1, 64))
			if got := juliet.gotNumbers(); got != upTo(1, 64) {
				t.Errorf("she got %s", got)
			}
		}
		x.all.Wait()
	})
}
