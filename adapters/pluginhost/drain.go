package pluginhost

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// maxDraining is how many processes of a plugin may come to an end at a time, beside the one
// that acts; the oldest is ended for another one.
const maxDraining = 3

// draining is a process that acts no more and keeps what has to come to an end by itself.
type draining struct {
	in     *instance
	cancel context.CancelFunc
}

// relieve ends a process in whose place another one acts: at once, or, if it has something to
// drain, when that is done or its time is over.
func (p *plugin) relieve(in *instance) {
	l := p.conf.Limits.DrainTime
	select {
	case <-in.failed: // it was killed, or has died
		l = 0
	default:
	}
	if !in.manifest.Drains || l <= 0 {
		p.finish(in)
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, l)
	d := &draining{in, cancel}
	p.mu.Lock()
	if len(p.draining) == maxDraining {
		p.draining[0].cancel()
	}
	p.draining = append(p.draining, d)
	p.mu.Unlock()
	p.work.Go(func() {
		defer cancel()
		p.drain(ctx, d)
	})
}

// drain waits for the end of what a process has, and ends it.
func (p *plugin) drain(ctx context.Context, d *draining) {
	in, began := d.in, time.Now()
	log := p.log.With(zap.Int("pid", in.proc.PID()), zap.Uint64("generation", in.generation), zap.String("version", in.manifest.Version))
	log.Info("the process of before comes to an end with what it has", zap.Duration("most", p.conf.Limits.DrainTime))
	_, err := in.client.Drain(ctx, &pluginv1.DrainRequest{})
	in.end()
	p.mu.Lock()
	p.draining = slices.DeleteFunc(p.draining, func(other *draining) bool { return other == d })
	p.mu.Unlock()
	log = log.With(zap.Duration("took", time.Since(began)))
	switch {
	case err == nil:
		log.Info("the process of before has ended: nothing was left")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		log.Warn("the process of before was ended with what it still had: its time was over")
	case ctx.Err() != nil:
		log.Info("the process of before was ended with what it still had")
	default:
		log.Warn("the process of before did not come to its end by itself", zap.Error(said(err)))
	}
}

// hasten ends those that drain.
func (p *plugin) hasten() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.draining {
		d.cancel()
	}
}
