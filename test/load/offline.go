package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/hexmpp/hexmpp/test/load/client"
)

// offlineMessages has senders write to accounts that are not online, and measures
// until the server has acknowledged all of it; then everybody comes and gets it,
// which is not measured.
func offlineMessages(l *load, f *flag.FlagSet) func(context.Context, *result) error {
	senders := f.Int("senders", 50, "senders; the accounts behind them are the recipients")
	recipients := f.Int("recipients", 200, "accounts that are not online; each gets senders times messages by recipients")
	messages := f.Int("messages", 200, "messages of each sender")
	window := f.Int("window", 8, "messages of a sender that are not acknowledged")
	ask := f.Int("ask", 4, "messages between two requests to acknowledge")
	return func(ctx context.Context, r *result) error {
		ctx, stop := context.WithTimeout(ctx, l.limit)
		defer stop()
		from := make([]*client.Session, *senders)
		back := make([]*arrivals, *senders)
		defer func() { l.closeAll(from) }()
		err := each(ctx, *senders, l.logins, func(i int) (err error) {
			back[i] = l.arrivals(nil)
			if from[i], err = l.online(i, back[i].handle); err != nil {
				return err
			}
			return errors.Join(from[i].Ask(), from[i].AwaitUnacked(0, ctx.Done()))
		})
		if err != nil {
			return err
		}
		m := l.measure()
		err = each(ctx, *senders, *senders, func(i int) error {
			counts := map[int]int{}
			for n := range *messages {
				to := (i + n**senders) % *recipients
				counts[to]++
				if err := from[i].AwaitUnacked(*window-1, ctx.Done()); err != nil {
					return err
				}
				xml := l.message(l.bare(*senders+to), i, counts[to])
				if err := from[i].Send(xml, 1, (n+1)%*ask == 0 || n == *messages-1); err != nil {
					return err
				}
			}
			return from[i].AwaitUnacked(0, ctx.Done())
		})
		sent := *senders * *messages
		m.note(r, sent)
		if err != nil {
			return fmt.Errorf("not everything was acknowledged: %w", err)
		}
		refused, _ := sum(back)
		got, err := l.fetch(ctx, *senders, *recipients, sent-refused.refused)
		got.refused += refused.refused
		return errors.Join(err, got.report(r, sent))
	}
}

// fetch has recipients come online and take the messages that wait for them.
func (l *load) fetch(ctx context.Context, first, n, messages int) (got tally, err error) {
	all := make([]*arrivals, n)
	sessions := make([]*client.Session, n)
	news := make(chan struct{}, 1)
	err = each(ctx, n, l.logins, func(i int) (err error) {
		all[i] = l.arrivals(func(int) {
			select {
			case news <- struct{}{}:
			default:
			}
		})
		sessions[i], err = l.online(first+i, all[i].handle)
		return err
	})
	defer l.closeAll(sessions)
	if err != nil {
		return got, err
	}
	for got.got < messages && err == nil {
		select {
		case <-news:
			got, _ = sum(all)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	l.closeAll(sessions) // nothing more comes
	got, _ = sum(all)
	return got, err
}
