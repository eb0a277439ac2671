package memory

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// receiver is told apart by its address.
type receiver struct{ name string }

func (*receiver) Deliver(*transport.Batch, cluster.Delivery) bool     { return true }
func (*receiver) Stored() bool                                        { return true }
func (*receiver) End(*transport.Batch, *stream.Error) <-chan struct{} { return nil }

func (*receiver) Mark(*transport.Batch, cluster.Mark, bool)          {}
func (*receiver) Release(*transport.Batch)                           {}
func (*receiver) Features() []string                                 { return nil }
func (*receiver) Room() int                                          { return 0 }
func (*receiver) Show(*transport.Batch, cluster.Show) transport.Wait { return nil }

func entry(full string) cluster.Entry {
	return cluster.Entry{JID: jid.MustParse(full), Receiver: &receiver{full}}
}

func names(entries []cluster.Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, e.JID.Resource())
	}
	return out
}

func TestClaimsAreInOrder(t *testing.T) {
	r := New()
	bare := jid.MustParse("romeo@a.test")
	if got := r.Sessions(bare); len(got) != 0 {
		t.Fatalf("an empty registry has %v", got)
	}
	var last uint64
	for _, resource := range []string{"c", "a", "b"} {
		fence, replaced := r.Claim(entry("romeo@a.test/" + resource))
		if replaced != nil || fence <= last {
			t.Errorf("claim of %s: fence %d after %d, replaced %v", resource, fence, last, replaced)
		}
		last = fence
	}
	r.Claim(entry("juliet@a.test/c"))
	if got := names(r.Sessions(bare)); !slices.Equal(got, []string{"c", "a", "b"}) {
		t.Errorf("sessions %v", got)
	}
	if r.Len() != 4 {
		t.Errorf("Len %d, want 4", r.Len())
	}
}

func TestLaterClaimWins(t *testing.T) {
	r := New()
	first := entry("romeo@a.test/x")
	older, _ := r.Claim(first)
	r.Claim(entry("romeo@a.test/y"))
	second := entry("romeo@a.test/x")
	newer, replaced := r.Claim(second)
	if replaced == nil || replaced.Receiver != first.Receiver || replaced.Fence != older || newer <= older {
		t.Fatalf("replaced %+v by fence %d", replaced, newer)
	}
	if got := names(r.Sessions(first.JID.Bare())); !slices.Equal(got, []string{"y", "x"}) {
		t.Errorf("order of claims %v, want y x", got)
	}
	// The replaced session knows nothing of it yet: its fence does nothing.
	stale := cluster.Entry{JID: first.JID, Fence: older, Available: true}
	if r.Update(stale) || r.Release(first.JID, older) {
		t.Error("an older fence changed something")
	}
	if e, ok := r.Session(first.JID); !ok || e.Receiver != second.Receiver || e.Available || e.Fence != newer {
		t.Errorf("session is %+v", e)
	}
	if r.Len() != 2 {
		t.Errorf("Len %d, want 2", r.Len())
	}
}

func TestUpdateChangesPresenceOnly(t *testing.T) {
	r := New()
	e := entry("romeo@a.test/x")
	fence, _ := r.Claim(e)
	before := r.Sessions(e.JID.Bare())
	presence := &stanza.Stanza{}
	if !r.Update(cluster.Entry{JID: e.JID, Fence: fence, Available: true, Priority: -3, Presence: presence}) {
		t.Fatal("Update refused")
	}
	got, _ := r.Session(e.JID)
	want := cluster.Entry{JID: e.JID, Fence: fence, Available: true, Priority: -3, Presence: presence, Receiver: e.Receiver}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("session is %+v, want %+v", got, want)
	}
	if before[0].Available {
		t.Error("a snapshot was changed")
	}
}

func TestReleaseForgets(t *testing.T) {
	r := New()
	x, y := entry("romeo@a.test/x"), entry("romeo@a.test/y")
	fx, _ := r.Claim(x)
	fy, _ := r.Claim(y)
	if !r.Release(x.JID, fx) || r.Release(x.JID, fx) {
		t.Error("a session is released once")
	}
	if _, ok := r.Session(x.JID); ok {
		t.Error("a released session is found")
	}
	if !r.Release(y.JID, fy) || r.Len() != 0 {
		t.Errorf("Len %d after the last release", r.Len())
	}
	for i := range r.shards {
		if n := len(r.shards[i].sessions); n > 0 {
			t.Errorf("shard %d keeps %d accounts", i, n)
		}
	}
}

func TestLookUpAllocatesNothing(t *testing.T) {
	r := New()
	e := entry("romeo@a.test/x")
	r.Claim(e)
	bare := e.JID.Bare()
	if n := testing.AllocsPerRun(100, func() { r.Session(e.JID); r.Sessions(bare) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestModel compares random calls with the rules of the port, written plainly.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := New()
		var model []cluster.Entry // in order of claims
		find := func(j jid.JID) int {
			return slices.IndexFunc(model, func(e cluster.Entry) bool { return e.JID == j })
		}
		full := rapid.Custom(func(t *rapid.T) jid.JID {
			return jid.MustParse(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "local") + "@x.test/" +
				rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "resource"))
		})
		fences := []uint64{0}
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				e := cluster.Entry{JID: full.Draw(t, "jid"), Receiver: &receiver{}}
				fence, replaced := r.Claim(e)
				if fence <= fences[len(fences)-1] {
					t.Fatalf("fence %d is not above %v", fence, fences)
				}
				fences = append(fences, fence)
				e.Fence = fence
				i := find(e.JID)
				if (i >= 0) != (replaced != nil) || i >= 0 && !reflect.DeepEqual(*replaced, model[i]) {
					t.Fatalf("replaced %v", replaced)
				}
				if i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
				model = append(model, e)
			},
			"update": func(t *rapid.T) {
				e := cluster.Entry{JID: full.Draw(t, "jid"), Fence: rapid.SampledFrom(fences).Draw(t, "fence"),
					Available: true, Priority: rapid.Int8().Draw(t, "priority")}
				i := find(e.JID)
				want := i >= 0 && model[i].Fence == e.Fence
				if r.Update(e) != want {
					t.Fatalf("Update is %v", !want)
				}
				if want {
					model[i].Available, model[i].Priority = true, e.Priority
				}
			},
			"release": func(t *rapid.T) {
				j, fence := full.Draw(t, "jid"), rapid.SampledFrom(fences).Draw(t, "fence")
				i := find(j)
				want := i >= 0 && model[i].Fence == fence
				if r.Release(j, fence) != want {
					t.Fatalf("Release is %v", !want)
				}
				if want {
					model = slices.Delete(model, i, i+1)
				}
			},
			"": func(t *rapid.T) {
				if r.Len() != len(model) {
					t.Fatalf("Len %d, want %d", r.Len(), len(model))
				}
				for _, local := range []string{"a", "b"} {
					bare := jid.MustParse(local + "@x.test")
					var want []cluster.Entry
					for _, e := range model {
						if e.JID.Bare() == bare {
							want = append(want, e)
						}
						if got, ok := r.Session(e.JID); !ok || !reflect.DeepEqual(got, e) {
							t.Fatalf("Session(%v) = %+v, want %+v", e.JID, got, e)
						}
					}
					if got := r.Sessions(bare); !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
						t.Fatalf("Sessions(%v) = %+v, want %+v", bare, got, want)
					}
				}
			},
		})
	})
}

// TestConcurrentClaims lets many goroutines claim the same full JID: each claim
// but the last is replaced exactly once, and the greatest fence stays.
func TestConcurrentClaims(t *testing.T) {
	const goroutines, each = 8, 200
	r := New()
	target := jid.MustParse("romeo@a.test/x")
	var mu sync.Mutex
	replaced := map[uint64]int{}
	given := map[uint64]bool{}
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				e := cluster.Entry{JID: target, Receiver: &receiver{}}
				fence, old := r.Claim(e)
				e.Fence = fence
				r.Update(e)
				r.Sessions(target.Bare())
				mu.Lock()
				given[fence] = true
				if old != nil {
					replaced[old.Fence]++
					if old.Fence >= fence {
						t.Errorf("fence %d replaced %d", fence, old.Fence)
					}
				}
				mu.Unlock()
				if old != nil && r.Release(target, old.Fence) {
					t.Error("a replaced session was released")
				}
			}
		})
	}
	wg.Wait()
	last, ok := r.Session(target)
	if !ok || r.Len() != 1 {
		t.Fatalf("%d sessions at the end", r.Len())
	}
	if len(given) != goroutines*each || len(replaced) != len(given)-1 {
		t.Fatalf("%d fences, %d replaced", len(given), len(replaced))
	}
	for fence := range given {
		switch n := replaced[fence]; {
		case fence == last.Fence && n != 0, fence != last.Fence && n != 1:
			t.Errorf("fence %d was replaced %d times, the last is %d", fence, n, last.Fence)
		}
		if fence > last.Fence {
			t.Errorf("fence %d is greater than the one that stays, %d", fence, last.Fence)
		}
	}
}

// TestConcurrentAccounts claims, updates and releases at the same time, in
// accounts that share shards; at the end nothing is left.
func TestConcurrentAccounts(t *testing.T) {
	r := New()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				full := jid.MustParse(fmt.Sprintf("u%d@a.test/g%d", i%50, g))
				e := cluster.Entry{JID: full, Receiver: &receiver{}}
				e.Fence, _ = r.Claim(e)
				e.Available = true
				if !r.Update(e) {
					t.Errorf("%v vanished", full)
				}
				if got, ok := r.Session(full); !ok || !reflect.DeepEqual(got, e) {
					t.Errorf("%v is %+v", full, got)
				}
				if !r.Release(full, e.Fence) {
					t.Errorf("%v could not be released", full)
				}
			}
		})
	}
	wg.Wait()
	if r.Len() != 0 {
		t.Errorf("%d sessions are left", r.Len())
	}
}

const many = 100_000

func fill(r *Registry) []jid.JID {
	jids := make([]jid.JID, many)
	shared := &receiver{}
	for i := range jids {
		jids[i] = jid.MustParse("user" + strconv.Itoa(i) + "@example.org/phone")
		r.Claim(cluster.Entry{JID: jids[i], Receiver: shared})
	}
	return jids
}

// BenchmarkSessionHot looks up few sessions among many, as chat does; the
// others below look up all of them, so that each one is a cache miss or more.
func BenchmarkSessionHot(b *testing.B) {
	r := New()
	jids := fill(r)[:64]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := r.Session(jids[i%64]); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkSession(b *testing.B) {
	r := New()
	jids := fill(r)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := r.Session(jids[i*7919%many]); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkSessionParallel(b *testing.B) {
	r := New()
	jids := fill(r)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			r.Session(jids[i*7919%many])
		}
	})
}

func BenchmarkSessions(b *testing.B) {
	r := New()
	jids := fill(r)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if len(r.Sessions(jids[i*7919%many])) != 1 {
			b.Fatal("not found")
		}
	}
}

func BenchmarkClaimRelease(b *testing.B) {
	r := New()
	fill(r)
	e := entry("romeo@example.org/phone")
	b.ReportAllocs()
	for b.Loop() {
		fence, _ := r.Claim(e)
		r.Release(e.JID, fence)
	}
}

// BenchmarkMemory reports what the registry itself holds for a session, beside
// the JID's text and the receiver.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	var r *Registry
	for b.Loop() {
		jids := make([]jid.JID, many)
		for i := range jids {
			jids[i] = jid.MustParse("user" + strconv.Itoa(i) + "@example.org/phone")
		}
		shared := &receiver{}
		runtime.GC()
		runtime.ReadMemStats(&before)
		r = New()
		for _, j := range jids {
			r.Claim(cluster.Entry{JID: j, Receiver: shared})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(jids)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/many, "B/session")
	runtime.KeepAlive(r)
}
