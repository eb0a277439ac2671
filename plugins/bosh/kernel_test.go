package bosh

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/plugins/bosh/session"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// kernel is a server: it has memory and streams, and outlives the processes.
type kernel struct {
	mu      sync.Mutex
	turns   map[string]*sync.Mutex
	memory  map[string][]byte
	streams map[string][]session.Event // what came on each
	facts   map[string]Facts
	heard   func(sid string, e session.Event) // behind each that was applied; may be nil
	refuse  error                             // of the next transactions
	lose    bool                              // they are applied, and nobody is told
}

func newKernel() *kernel {
	return &kernel{turns: map[string]*sync.Mutex{}, memory: map[string][]byte{}, streams: map[string][]session.Event{}, facts: map[string]Facts{}}
}

func (k *kernel) Hosted(domain string) bool { return domain == "example.org" }

// process is a Kernel for one process. When it is dead nothing is applied any more.
type process struct {
	*kernel
	life *atomic.Int32
}

// Values of process.life.
const (
	alive int32 = iota
	dying       // what it says next is applied, but it hears nothing of that
	dead
)

var errDead = errors.New("the process is dead")

func (p process) Do(ctx context.Context, key string, fn func(tx *Tx) error) error {
	p.mu.Lock()
	turn := p.turns[key]
	if turn == nil {
		turn = new(sync.Mutex)
		p.turns[key] = turn
	}
	p.mu.Unlock()
	turn.Lock()
	defer turn.Unlock()
	var events []func()
	m := &memory{k: p.kernel, puts: map[string][]byte{}}
	// As plugin.Do may, it is tried twice, and the first time comes to nothing.
	for range 2 {
		events, m.puts = nil, map[string][]byte{}
		if err := fn(&Tx{Memory: m, Stream: func(sid string, f Facts, e session.Event) error {
			events = append(events, func() {
				p.streams[sid] = append(p.streams[sid], e)
				p.facts[sid] = f
			})
			if p.heard != nil {
				events = append(events, func() { p.heard(sid, e) })
			}
			return nil
		}}); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.life.Load() == dead:
		return errDead
	case p.refuse != nil:
		return p.refuse
	case ctx.Err() != nil:
		return ctx.Err()
	}
	for key, v := range m.puts {
		if v == nil {
			delete(p.memory, key)
		} else {
			p.memory[key] = v
		}
	}
	for _, e := range events {
		e()
	}
	if p.life.CompareAndSwap(dying, dead) || p.lose {
		return errDead
	}
	return nil
}

// memory is an extension.Memory.
type memory struct {
	k    *kernel
	puts map[string][]byte
}

func (m *memory) Get(_ context.Context, key string) (extension.Entry, bool, error) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	v, ok := m.k.memory[key]
	return extension.Entry{Key: key, Value: v}, ok, nil
}

func (m *memory) Scan(_ context.Context, prefix, after string, limit int) (list []extension.Entry, _ error) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(m.k.memory)) {
		if strings.HasPrefix(key, prefix) && key > after && len(list) < limit {
			list = append(list, extension.Entry{Key: key, Value: m.k.memory[key]})
		}
	}
	return list, nil
}

func (m *memory) Put(key string, value []byte) error {
	if len(value) > 1<<20 {
		return extension.ErrBound
	}
	m.puts[key] = value
	return nil
}

func (m *memory) Delete(key string) { m.puts[key] = nil }

// world is a server with an HTTP listener, and the process of the moment.
type world struct {
	t    *testing.T
	k    *kernel
	o    Options
	url  string
	http *httptest.Server

	mu   sync.Mutex
	s    *Service
	life *atomic.Int32
	now  atomic.Int64 // nanoseconds that the clock is ahead
}

func newWorld(t *testing.T, o Options) *world {
	w := &world{t: t, k: newKernel(), o: o}
	w.start()
	w.http = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.service().ServeHTTP(rw, r) }))
	w.url = w.http.URL
	t.Cleanup(func() {
		if err := w.service().Stop(context.Background()); err != nil {
			t.Error(err)
		}
		w.http.Close()
	})
	return w
}

func (w *world) clock() time.Time { return time.Now().Add(time.Duration(w.now.Load())) }

func (w *world) service() *Service {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.s
}

func (w *world) start() {
	w.t.Helper()
	life := new(atomic.Int32)
	s := New(w.o, process{w.k, life}, slog.New(slog.DiscardHandler), w.clock)
	if err := s.Start(context.Background(), &memory{k: w.k}); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.s, w.life = s, life
	w.mu.Unlock()
}

// kill ends the process at whatever it is at, and starts another one.
func (w *world) kill() {
	w.mu.Lock()
	before, life := w.s, w.life
	w.mu.Unlock()
	life.Store(dying)
	for i := 0; life.Load() == dying && i < 20; i++ {
		<-time.After(time.Millisecond) // it may have nothing to say
	}
	life.Store(dead)
	before.cancel()
	w.start()
	before.tasks.Wait()
}
