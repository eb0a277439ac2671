// Command load puts a load on an XMPP server, which it sees as a black box at an
// address, and measures what that costs: CPU time of the server's process, rates,
// latencies, memory; and whether each message arrived once and in order. All of its
// sessions have stream management (XEP-0198).
//
//	go run ./test/load register -n 200 -addr 127.0.0.1:5222 -domain example.test
//	go run ./test/load chat     -pairs 50 -messages 1000 -pid 1234 ...
//	go run ./test/load offline  -senders 50 -recipients 200 -messages 400 -pid 1234 ...
//	go run ./test/load soak     -idle 5000 -busy 200 -for 10m -pid 1234 ...
//	go run ./test/load plugins  -what own -rate 20000 -for 10s -pid 1234 ...
//
// The server must have no limits on rates, open registration for register, and
// enough file descriptors; so must the shell that this runs in. The accounts are
// load0, load1 and so on.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/test/load/client"
)

// load is one run.
type load struct {
	client.Server
	pid      int
	users    string
	password string
	limit    time.Duration
	size     int
	logins   int
	log      io.Writer

	run   string // in each message: those of other runs don't count
	start time.Time
}

// cases by name. Each declares its flags, and returns what runs it.
var cases = map[string]func(l *load, f *flag.FlagSet) func(ctx context.Context, r *result) error{
	"register": registration, "chat": chat, "offline": offlineMessages, "soak": soak,
	"plugins": plugins,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run runs a case. What it measured goes to out, also if not all is well.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 || cases[args[0]] == nil {
		return errors.New("usage: load register|chat|offline|soak|plugins -addr HOST:PORT -domain DOMAIN [flags]")
	}
	l := &load{log: log, run: strings.ToLower(rand.Text()[:8]), start: time.Now()}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&l.Addr, "addr", "127.0.0.1:5222", "address of the server")
	f.StringVar(&l.Domain, "domain", "localhost", "its domain")
	f.StringVar(&l.TLS, "tls", "none", "none, starttls or direct")
	f.IntVar(&l.Sources, "sources", 0, "connect from so many addresses, 127.0.0.1 and on; 0: as the system likes")
	f.StringVar(&l.users, "users", "load%d", "names of the accounts")
	f.StringVar(&l.password, "password", "loadpass", "of each account")
	f.IntVar(&l.pid, "pid", 0, "process of the server, for CPU time and memory")
	f.IntVar(&l.size, "size", 100, "bytes of text in a message")
	f.IntVar(&l.logins, "logins", 32, "logins at a time")
	f.DurationVar(&l.limit, "limit", 5*time.Minute, "longest time to wait for anything")
	label := f.String("label", "server", "name of the server in the results")
	file := f.String("json", "", "file to append the result to")
	begin := cases[args[0]](l, f)
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if l.Server.Limit == 0 {
		l.Server.Limit = 2 * l.limit
	}
	r := newResult(args[0])
	err := begin(ctx, r)
	return errors.Join(err, r.show(out, *label, *file))
}

// each runs f for 0 to n-1, some at a time, until one fails.
func each(ctx context.Context, n, atOnce int, f func(i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan int)
	var all sync.WaitGroup
	for range min(n, atOnce) {
		all.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					stop(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

func (l *load) user(i int) string { return fmt.Sprintf(l.users, i) }

// bare is an account's address.
func (l *load) bare(i int) string { return l.user(i) + "@" + l.Domain }

// online logs an account in, and makes it available.
func (l *load) online(i int, handle func([]byte)) (*client.Session, error) {
	x, err := l.Login(l.user(i), l.password, "load", handle)
	if err != nil {
		return nil, err
	}
	return x, x.Send([]byte("<presence/>"), 1, false)
}

// closeAll ends sessions in order.
func (l *load) closeAll(all []*client.Session) {
	each(context.Background(), len(all), l.logins, func(i int) error {
		if all[i] != nil {
			all[i].Close()
		}
		return nil
	})
}

// registration makes accounts; those that are there stay.
func registration(l *load, f *flag.FlagSet) func(context.Context, *result) error {
	n := f.Int("n", 100, "accounts")
	return func(ctx context.Context, r *result) error {
		began := time.Now()
		var mu sync.Mutex
		there := 0
		err := each(ctx, *n, l.logins, func(i int) error {
			err := l.Register(l.user(i), l.password)
			if errors.Is(err, client.ErrExists) {
				mu.Lock()
				defer mu.Unlock()
				there++
				return nil
			}
			return err
		})
		r.set("accounts", *n)
		r.set("there_before", there)
		r.set("wall_s", time.Since(began).Seconds())
		return err
	}
}

// meter measures what a server uses in between.
type meter struct {
	l     *load
	began time.Time
	was   usage
	own   time.Duration
}

func (l *load) measure() meter { return meter{l, time.Now(), used(l.pid), own()} }

// note notes what was used since, for n messages.
func (m meter) note(r *result, n int) {
	wall, now := time.Since(m.began), used(m.l.pid)
	r.set("per_s", float64(n)/wall.Seconds())
	if m.l.pid != 0 {
		r.set("cpu_us", float64(now.cpu-m.was.cpu)/float64(time.Microsecond)/float64(n))
		if rest := now.rest - m.was.rest; rest > 0 {
			r.set("plugins_cpu_us", float64(rest)/float64(time.Microsecond)/float64(n))
		}
		r.set("cpu_s", (now.cpu - m.was.cpu).Seconds())
		r.set("rss_mib", float64(now.rss)/(1<<20))
	}
	r.set("client_cpu_s", (own() - m.own).Seconds())
	r.set("wall_s", wall.Seconds())
}
