package wire

import (
	"fmt"
	"testing"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// ready is a Source whose event is made beforehand, so that only the machine is measured.
type ready struct{ e pluginv1.Event }

func (r *ready) Encode() *pluginv1.Event { return &r.e }

// BenchmarkEvent is the way of one event and its outcome through both ends, without
// protobuf: Enqueue, frame, handle, frame, apply, done. The keys are rooms, of which
// some have more events than one in flight.
func BenchmarkEvent(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint("keys=", keys), func(b *testing.B) {
			r := newRig(b, 4, KernelLimits{})
			r.connect()
			const batch = 128
			items := make([]Item, keys+batch)
			for i := range items {
				items[i] = Item{Key: fmt.Sprintf("room%d@conference.example.org", i%keys), Size: 500, Received: t0, Source: &ready{}}
			}
			var work []Work
			var actions []Action
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				for i := range batch {
					// Each needs its own message, since it is in a frame for a while.
					it := items[(n+i)%keys]
					it.Source = items[(n+i)%len(items)].Source
					if err := r.k.Enqueue(it, r.now); err != nil {
						b.Fatal(err)
					}
				}
				for done := 0; done < batch; {
					r.down()
					work = r.p.Take(work[:0])
					for _, w := range work {
						o := &pluginv1.Outcome{}
						if err := r.p.Done(w.Task, o); err != nil {
							b.Fatal(err)
						}
					}
					r.up()
					actions = r.k.Take(actions[:0])
					for len(actions) > 0 {
						for _, a := range actions {
							r.k.Done(a.Ticket, nil, r.now)
							done++
						}
						actions = r.k.Take(actions[:0])
					}
				}
				n += batch
			}
			b.StopTimer()
			if s := r.k.Stats(); s.Waiting+s.InFlight+s.Applying != 0 {
				b.Fatalf("%+v", s)
			}
		})
	}
}
