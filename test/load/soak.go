package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/test/load/client"
)

// soak has many sessions do nothing, and some write to one another at a steady rate,
// for long.
func soak(l *load, f *flag.FlagSet) func(context.Context, *result) error {
	s := &soaking{load: l}
	f.IntVar(&s.idle, "idle", 5000, "sessions that do nothing; their accounts come behind those of the busy ones")
	f.IntVar(&s.busy, "busy", 200, "sessions that write to one another, in pairs")
	f.DurationVar(&s.length, "for", 10*time.Minute, "how long")
	f.Float64Var(&s.rate, "rate", 5, "messages a second of each busy session")
	f.DurationVar(&s.sample, "sample", 0, "time between two samples of memory; 0: a 60th of the whole")
	f.Float64Var(&s.growth, "growth", 5, "per cent by which memory may grow from the first third to the last, the first fifth of the time left out; below 0: it is not looked at")
	return func(ctx context.Context, r *result) error {
		l.Server.Limit = s.length + 3*l.limit
		if s.sample <= 0 {
			s.sample = s.length / 60
		}
		s.busy -= s.busy % 2
		return s.run(ctx, r)
	}
}

// soaking is a run of soak.
type soaking struct {
	load           *load
	idle, busy     int
	length, sample time.Duration
	rate, growth   float64

	sessions []*client.Session // the busy ones first
	arrived  []*arrivals       // of the busy ones
	sent     []int             // by them
}

func (s *soaking) run(ctx context.Context, r *result) error {
	l := s.load
	empty := used(l.pid)
	s.sessions = make([]*client.Session, s.busy+s.idle)
	s.arrived, s.sent = make([]*arrivals, s.busy), make([]int, s.busy)
	defer func() { l.closeAll(s.sessions) }()
	began := time.Now()
	err := each(ctx, len(s.sessions), l.logins, func(i int) (err error) {
		handle := func([]byte) {}
		if i < s.busy {
			s.arrived[i] = l.arrivals(nil)
			handle = s.arrived[i].handle
		}
		s.sessions[i], err = l.online(i, handle)
		return err
	})
	if err != nil {
		return err
	}
	now := used(l.pid)
	r.set("sessions", len(s.sessions))
	r.set("logins_s", time.Since(began).Seconds())
	if l.pid != 0 {
		r.set("login_cpu_ms", float64(now.cpu-empty.cpu)/float64(time.Millisecond)/float64(len(s.sessions)))
	}
	fmt.Fprintf(l.log, "%d sessions are online after %v\n", len(s.sessions), time.Since(began).Round(time.Millisecond))

	m := l.measure()
	memory, err := s.talk(ctx)
	sent := 0
	for _, n := range s.sent {
		sent += n
	}
	m.note(r, max(sent, 1))
	err = errors.Join(err, s.await(ctx))
	if l.pid != 0 && len(memory) > 2 {
		err = errors.Join(err, s.flat(r, memory, empty.rss))
	}
	ended := 0
	for _, x := range s.sessions {
		if over, why := x.Ended(); over {
			if ended++; ended <= 5 {
				err = errors.Join(err, fmt.Errorf("%s has ended: %w", x.JID, errors.Join(why, client.ErrEnded)))
			}
		}
	}
	r.set("ended", ended)
	l.closeAll(s.sessions) // nothing more comes
	count, took := sum(s.arrived)
	r.quantiles("latency", took)
	return errors.Join(err, count.report(r, sent))
}

// talk has the busy ones write, and samples the server's memory.
func (s *soaking) talk(ctx context.Context) (memory []int64, err error) {
	l := s.load
	ctx, stop := context.WithTimeout(ctx, s.length)
	defer stop()
	sampled := make(chan struct{})
	go func() { // ends with ctx
		defer close(sampled)
		tick := time.NewTicker(s.sample)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				now := used(l.pid)
				if memory = append(memory, now.rss); len(memory)%6 != 0 {
					continue
				}
				fmt.Fprintf(l.log, "%8v  %7.1f MiB, %v CPU\n", time.Since(l.start).Round(time.Second), float64(now.rss)/(1<<20), now.cpu)
			case <-ctx.Done():
				return
			}
		}
	}()
	err = each(context.Background(), s.busy, s.busy, func(i int) error { return s.write(ctx, i) })
	if s.busy == 0 {
		<-ctx.Done()
	}
	<-sampled
	return memory, err
}

// write has one of the busy ones write to its partner until ctx ends.
func (s *soaking) write(ctx context.Context, i int) error {
	x, to := s.sessions[i], s.sessions[i^1].JID
	period := time.Duration(float64(time.Second) / s.rate)
	pause := time.NewTimer(period * time.Duration(i) / time.Duration(s.busy)) // they don't write all at once
	defer pause.Stop()
	for next := time.Now(); ; {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
		s.sent[i]++
		if err := x.Send(s.load.message(to, i, s.sent[i]), 1, s.sent[i]%5 == 0); err != nil {
			return err
		}
		next = next.Add(period)
		pause.Reset(time.Until(next))
	}
}

// await waits until everything has come and is acknowledged.
func (s *soaking) await(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, s.load.limit)
	defer stop()
	for i, x := range s.sessions[:s.busy] {
		if err := errors.Join(x.Ask(), x.AwaitUnacked(0, ctx.Done())); err != nil {
			return fmt.Errorf("%s: %w", s.load.user(i), err)
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := 0
		for i, a := range s.arrived {
			missing += s.sent[i^1] - a.progress()
		}
		if missing <= 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d messages have not come", missing)
		}
	}
}

// flat notes how memory went, and fails if it grew. The first fifth is left out: a
// server that has given back what a storm of logins took needs some of it again.
func (s *soaking) flat(r *result, memory []int64, empty int64) error {
	memory = memory[len(memory)/5:]
	third := max(1, len(memory)/3)
	mean := func(part []int64) (m float64) {
		for _, n := range part {
			m += float64(n) / float64(len(part))
		}
		return m / (1 << 20)
	}
	before, after := mean(memory[:third]), mean(memory[len(memory)-third:])
	r.set("rss_first_third_mib", before)
	r.set("rss_last_third_mib", after)
	r.set("rss_max_mib", float64(slices.Max(memory))/(1<<20))
	r.set("rss_kib_a_session", (after-float64(empty)/(1<<20))*1024/float64(max(1, len(s.sessions))))
	grown := (after - before) / before * 100
	r.set("grown_pct", grown)
	if s.growth >= 0 && grown > s.growth {
		return fmt.Errorf("memory grew by %.1f%%", grown)
	}
	return nil
}
