package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/hexmpp/hexmpp/test/load/client"
)

// chat has pairs talk: a sender has some messages under way that have not arrived,
// and asks the server for acknowledgements now and then.
func chat(l *load, f *flag.FlagSet) func(context.Context, *result) error {
	pairs := f.Int("pairs", 50, "senders, and as many recipients")
	messages := f.Int("messages", 1000, "messages of each sender that are measured; a tenth as many come before")
	window := f.Int("window", 8, "messages of a sender that have not arrived")
	ask := f.Int("ask", 8, "messages between two requests to acknowledge")
	return func(ctx context.Context, r *result) error {
		ctx, stop := context.WithTimeout(ctx, l.limit)
		defer stop()
		all, arrived := make([]*talker, *pairs), make([]*arrivals, *pairs)
		sessions := make([]*client.Session, 2**pairs)
		err := each(ctx, *pairs, l.logins, func(i int) (err error) {
			t := &talker{load: l, number: i, room: make(chan struct{}, *window), ask: *ask}
			t.arrivals = l.arrivals(func(int) { <-t.room })
			all[i], arrived[i] = t, t.arrivals
			if sessions[2*i], err = l.online(2*i, func([]byte) {}); err != nil {
				return err
			}
			sessions[2*i+1], err = l.online(2*i+1, t.arrivals.handle)
			t.from, t.to = sessions[2*i], sessions[2*i+1]
			return err
		})
		defer l.closeAll(sessions)
		if err != nil {
			return err
		}
		if err := talk(ctx, all, *messages/10); err != nil {
			return fmt.Errorf("before: %w", err)
		}
		sum(arrived) // not their latencies
		m := l.measure()
		err = talk(ctx, all, *messages)
		m.note(r, *pairs**messages)
		l.closeAll(sessions) // nothing more comes
		count, took := sum(arrived)
		r.quantiles("latency", took)
		return errors.Join(err, count.report(r, *pairs*(*messages+*messages/10)))
	}
}

// talker is a pair.
type talker struct {
	load     *load
	number   int
	from, to *client.Session
	arrivals *arrivals
	room     chan struct{} // holds what is under way
	ask      int
	sent     int
}

// talk has all pairs send so many messages, and waits until all have arrived and are
// acknowledged.
func talk(ctx context.Context, all []*talker, n int) error {
	return each(ctx, len(all), len(all), func(i int) error { return all[i].talk(ctx, n) })
}

func (t *talker) talk(ctx context.Context, n int) error {
	for range n {
		if err := t.enter(ctx); err != nil {
			return err
		}
		t.sent++
		if err := t.from.Send(t.load.message(t.to.JID, t.number, t.sent), 1, t.sent%t.ask == 0); err != nil {
			return err
		}
	}
	for range cap(t.room) { // all of it is free when everything has arrived
		if err := t.enter(ctx); err != nil {
			return err
		}
	}
	for range cap(t.room) {
		<-t.room
	}
	if err := t.from.Ask(); err != nil {
		return err
	}
	return t.from.AwaitUnacked(0, ctx.Done())
}

// enter waits for room.
func (t *talker) enter(ctx context.Context) error {
	select {
	case t.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
