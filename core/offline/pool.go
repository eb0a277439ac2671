package offline

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// job is work that a pool runs, never twice at once. Asked for while it runs, it
// runs once more. It bounds its own time.
type job struct {
	run func(ctx context.Context)

	// Guarded by pool.mu.
	state jobState
	timer *time.Timer // until it is tried again
}

type jobState uint8

const (
	idle jobState = iota
	queued
	running
	again // running, and asked for
)

// pool runs jobs in the order in which they were asked for, a bounded number at
// once, on goroutines that end when there is nothing to do. Its queue is bounded
// by the number of jobs. Stop waits for its end.
type pool struct {
	workers int
	ctx     context.Context // ends when Stop runs out of time
	cancel  context.CancelFunc

	mu       sync.Mutex
	queue    []*job
	running  int
	waiting  map[*job]struct{} // for their timers
	stopping bool              // what fails is not tried again
	stopped  bool
	empty    chan struct{} // closed with stopped
}

func newPool(workers int) *pool {
	ctx, cancel := context.WithCancel(context.Background())
	return &pool{workers: workers, ctx: ctx, cancel: cancel, waiting: map[*job]struct{}{}, empty: make(chan struct{})}
}

// ask has j run, when its time comes if it waits for one. false: the pool has
// ended.
func (p *pool) ask(j *job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.askLocked(j)
}

func (p *pool) askLocked(j *job) bool {
	if p.stopped {
		return false
	}
	switch {
	case j.timer != nil || j.state == queued:
	case j.state == running:
		j.state = again
	case j.state == idle:
		j.state = queued
		if p.running < p.workers {
			p.running++
			go p.work(j)
		} else {
			p.queue = append(p.queue, j)
		}
	}
	return true
}

// later has j run after a time, whoever asks for it before. j itself calls it.
func (p *pool) later(j *job, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping || j.timer != nil {
		return
	}
	p.waiting[j] = struct{}{}
	j.timer = time.AfterFunc(after, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.wakeLocked(j)
	})
}

// wakeLocked ends the waiting of j.
func (p *pool) wakeLocked(j *job) {
	if j.timer != nil {
		j.timer.Stop()
		j.timer = nil
		delete(p.waiting, j)
		p.askLocked(j)
	}
}

func (p *pool) work(j *job) {
	for j != nil {
		p.mu.Lock()
		j.state = running
		p.mu.Unlock()
		j.run(p.ctx)
		p.mu.Lock()
		if j.state == again && j.timer == nil {
			j.state = queued
			p.queue = append(p.queue, j)
		} else {
			j.state = idle
		}
		if j = nil; len(p.queue) > 0 {
			j, p.queue[0] = p.queue[0], nil
			p.queue = p.queue[1:]
		} else {
			p.running--
			p.drained()
		}
		p.mu.Unlock()
	}
}

func (p *pool) drained() {
	if p.stopping && p.running == 0 && !p.stopped {
		p.stopped = true
		close(p.empty)
	}
}

// cutOff is how long jobs may take to return once their context has ended.
const cutOff = 2 * time.Second

// stop runs what was asked for to its end, what waits for another try included,
// or cuts it off when ctx ends. Nothing is run behind it.
func (p *pool) stop(ctx context.Context) error {
	p.mu.Lock()
	p.stopping = true
	for j := range p.waiting {
		p.wakeLocked(j)
	}
	p.drained()
	p.mu.Unlock()
	defer p.cancel()
	select {
	case <-p.empty:
		return nil
	case <-ctx.Done():
	}
	p.cancel()
	last := time.NewTimer(cutOff)
	defer last.Stop()
	select {
	case <-p.empty:
	case <-last.C:
	}
	return fmt.Errorf("offline: work was cut off: %w", ctx.Err())
}
