package wire

import (
	"errors"
	"fmt"
	"testing"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"google.golang.org/protobuf/proto"
)

// A script is bytes that say what happens: an operation, its argument, and, for a frame,
// a length and the frame's bytes.
type script []byte

func (s *script) next() (b byte, ok bool) {
	if len(*s) == 0 {
		return 0, false
	}
	b = (*s)[0]
	*s = (*s)[1:]
	return b, true
}

func (s *script) bytes() []byte {
	n, _ := s.next()
	b := (*s)[:min(int(n), len(*s))]
	*s = (*s)[len(b):]
	return b
}

// frames for seeds: a script that gives them, each behind an operation.
func seed(op byte, before []byte, frames ...proto.Message) []byte {
	s := append([]byte(nil), before...)
	for _, f := range frames {
		b, err := proto.Marshal(f)
		if err != nil || len(b) > 255 {
			panic("a seed that does not fit")
		}
		s = append(append(s, op, 0, byte(len(b))), b...)
	}
	return s
}

// FuzzKernel gives a kernel's end whatever a plugin may send, between all that its
// owner may do: it never panics, keeps its books, and stays within its bounds.
func FuzzKernel(f *testing.F) {
	f.Add(seed(9, []byte{0, 1, 0, 1, 0, 2, 1, 0, 1, 1},
		&pluginv1.PluginFrame{Generation: 1, Credit: &pluginv1.Credit{Events: 3, Bytes: 100}, Outcomes: []*pluginv1.Outcome{{Event: 1}, {Event: 2}}},
		&pluginv1.PluginFrame{Generation: 1, Unasked: []*pluginv1.Unasked{{Id: 1, Key: "k1"}}, Requests: []*pluginv1.Request{{Id: 1}}, Beat: 1}))
	f.Add(seed(9, []byte{0, 1, 5, 1, 1, 0, 1, 1, 3, 2},
		&pluginv1.PluginFrame{Generation: 1, Outcomes: []*pluginv1.Outcome{{Event: 1, Epoch: 1}, {Event: 1}}}))
	f.Add(seed(10, []byte{0, 1, 1, 0, 6, 1, 1, 0, 0, 3}, &pluginv1.PluginFrame{Generation: 2, Outcomes: []*pluginv1.Outcome{{Event: 1}}}))
	f.Add(seed(9, []byte{12, 1, 12, 1, 12, 2, 1, 0, 1, 1, 6, 0, 1, 0, 1, 1}, &pluginv1.PluginFrame{Generation: 2, Outcomes: []*pluginv1.Outcome{{Event: 102}}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := script(in)
		now := t0
		limits := KernelLimits{Events: 20, Bytes: 2000, Credit: Credit{Events: 5, Bytes: 500}, Resets: 20, UnaskedBytes: 2000, KeyEvents: 3, FrameEvents: 4, OutcomeBytes: 100}
		limits.LateEvents, limits.LateBytes, limits.LateKeyEvents, limits.LateKeyBytes = 20, 2000, 3, 500
		k := NewKernel(limits, now)
		var gen, lates uint64
		var conns []*Conn
		var tickets []Ticket
		ends := map[*Item]bool{}
		open := func() *Conn {
			gen++
			c, err := k.Open(Peer{Generation: gen, Shards: 2})
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			return c
		}
		act := func(c *Conn) {
			if k.conn == nil && k.Attach(c, now) == nil {
				c.Start(now)
			}
		}
		act(open())
		for {
			op, ok := s.next()
			arg, more := s.next()
			if !ok || !more {
				return
			}
			c := conns[len(conns)-1]
			switch op % 12 {
			case 0:
				if op/12%2 == 1 {
					lates++
					_ = k.Enqueue(Item{Late: true, ID: 100 + lates, Key: fmt.Sprint("k", arg%4), Size: int(arg), Source: lateSource{"l"}}, now)
					break
				}
				it := Item{Key: fmt.Sprint("k", arg%4), Size: int(arg), Source: note("e"), Observed: arg&16 > 0, Impatient: arg&32 > 0}
				if arg&64 > 0 {
					it.Deadline = time.Duration(arg) * time.Millisecond
				}
				if arg&128 > 0 {
					it.Coalesce.From = it.Key
				}
				_ = k.Enqueue(it, now)
			case 1:
				if frame := c.Frame(int(arg%2), now); frame != nil && proto.Size(frame) > MaxFrameBytes {
					t.Fatalf("a frame of %d bytes", proto.Size(frame))
				}
			case 2:
				c.Beat(now)
			case 3, 4:
				if len(tickets) > 0 {
					x := tickets[int(arg)%len(tickets)]
					k.Done(x, []error{nil, extension.ErrConflict, extension.ErrUnavailable, errors.New("no")}[arg%4], now)
					k.Respond(x, &pluginv1.Response{})
				}
			case 5:
				k.Reset(fmt.Sprint("k", arg%4), now)
			case 6:
				c.Close(arg%2 == 0, now)
				act(open())
			case 7:
				now = now.Add(time.Duration(arg) * 100 * time.Millisecond)
				k.Tick(now)
			case 8:
				if arg%4 == 0 {
					c.Close(arg%8 == 0, now)
					k.GiveUp(now)
				} else if c.Pause(); arg%4 == 1 {
					c.Start(now)
				}
			default:
				frame := &pluginv1.PluginFrame{}
				if proto.Unmarshal(s.bytes(), frame) != nil {
					continue
				}
				if op%12 == 9 {
					frame.Generation = c.generation
				}
				if op%12 == 11 {
					c = conns[int(arg)%len(conns)]
				}
				if err := c.Receive(int(arg%3), frame, now); err != nil {
					if !errors.Is(err, ErrProtocol) {
						t.Fatal(err)
					}
					c.Close(true, now)
					act(open())
				}
			}
			for _, a := range k.Take(nil) {
				if a.Kind == ApplyOutcome || a.Kind == ApplyUnasked || a.Kind == Answer {
					tickets = append(tickets, a.Ticket)
				}
				if a.Kind == Fail || a.Kind == LateOutcome {
					if ends[a.Item] {
						t.Fatal("a second end")
					}
					ends[a.Item] = true
				}
			}
			if err := errors.Join(consistent(k), consistentLate(k)); err != nil {
				t.Fatal(err)
			}
			if x := k.Stats(); x.Waiting > limits.Events || x.WaitingBytes > limits.Bytes {
				t.Fatalf("%+v", x)
			}
		}
	})
}

// FuzzPlugin is the same for a plugin's end.
func FuzzPlugin(f *testing.F) {
	f.Add(seed(6, nil,
		&pluginv1.KernelFrame{Generation: 1, Events: []*pluginv1.Event{{Id: 1, Key: "k1"}, {Id: 2, Key: "k1"}, {Id: 3, Key: "k2"}}, Beat: 1},
		&pluginv1.KernelFrame{Generation: 1, Resets: []*pluginv1.Reset{{Key: "k1", Epoch: 1}}, Events: []*pluginv1.Event{{Id: 1, Key: "k1", Epoch: 1}}}))
	far := &pluginv1.Event_Far{Far: &pluginv1.FarEvent{}}
	f.Add(seed(6, nil, &pluginv1.KernelFrame{Generation: 1, Events: []*pluginv1.Event{{Id: 1, Key: "k1", What: far}, {Id: 2, Key: "k1", What: far}}},
		&pluginv1.KernelFrame{Generation: 1, Resets: []*pluginv1.Reset{{Key: "k1", Epoch: 1}}}))
	f.Add(seed(6, []byte{2, 0, 3, 1, 4, 0},
		&pluginv1.KernelFrame{Generation: 1, Applied: []*pluginv1.Applied{{Id: 1}}, Responses: []*pluginv1.Response{{Id: 1}}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := script(in)
		p := NewPlugin(PluginLimits{Handlers: 3, Waiting: 10, Resets: 5, OutcomeBytes: 200, Credit: Credit{Events: 10}})
		if _, err := p.Hello(Hello(1, 0)); err != nil {
			t.Fatal(err)
		}
		var tasks, lates []*Task
		handling := map[string]bool{}
		for {
			op, ok := s.next()
			arg, more := s.next()
			if !ok || !more {
				return
			}
			switch op % 8 {
			case 0, 1:
				if len(tasks) > 0 {
					i := int(arg) % len(tasks)
					task := tasks[i]
					tasks = append(tasks[:i], tasks[i+1:]...)
					delete(handling, task.Event.GetKey())
					if task.Late() {
						p.Taken(task)
						lates = append(lates, task)
						break
					}
					if err := p.Done(task, &pluginv1.Outcome{Result: make([]byte, arg)}); err != nil && !errors.Is(err, ErrFull) {
						t.Fatal(err)
					}
					if p.Done(task, nil) == nil {
						t.Fatal("a second outcome")
					}
				}
			case 2:
				if len(lates) > 0 && arg%2 == 0 {
					i := int(arg) % len(lates)
					if err := p.Answer(lates[i], &pluginv1.Outcome{Result: make([]byte, arg)}); err != nil && !errors.Is(err, ErrFull) {
						t.Fatal(err)
					}
					if p.Answer(lates[i], nil) == nil {
						t.Fatal("a second outcome")
					}
					lates = append(lates[:i], lates[i+1:]...)
				}
				var task *Task
				if len(tasks) > 0 {
					task = tasks[int(arg)%len(tasks)]
				}
				_, _ = p.Request(task, &pluginv1.Request{})
			case 3:
				_, _ = p.Unasked(fmt.Sprint("k", arg%4), uint64(arg/4), nil)
			case 4:
				if frame := p.Frame(0); frame != nil && proto.Size(frame) > MaxFrameBytes {
					t.Fatalf("a frame of %d bytes", proto.Size(frame))
				}
			case 5:
				p.SetCredit(int(arg%2), Credit{Events: int(arg), Bytes: int(arg)})
			default:
				frame := &pluginv1.KernelFrame{}
				if proto.Unmarshal(s.bytes(), frame) != nil {
					continue
				}
				if op%8 == 6 {
					frame.Generation = 1
				}
				err := p.Receive(int(arg%2), frame)
				if err == nil {
					_, err = p.Hello(frame)
				}
				if err != nil && !errors.Is(err, ErrProtocol) {
					t.Fatal(err)
				}
			}
			for _, w := range p.Take(nil) {
				if w.Kind != Handle {
					continue
				}
				if handling[w.Key] || len(tasks) >= 3 {
					t.Fatal("too much at once")
				}
				handling[w.Key] = true
				tasks = append(tasks, w.Task)
			}
			if st := p.Stats(); st.Running != len(tasks) || st.Held < 0 || st.Held > MaxCredit || st.Late < len(lates) || p.Outstanding() < st.Held+st.Late {
				t.Fatalf("%+v, %d outstanding", st, p.Outstanding())
			}
		}
	})
}
