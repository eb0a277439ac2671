package pluginhost

import (
	"context"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// maxAnswering is how many requests of a plugin are answered at once.
const maxAnswering = 32

// answers answers what a plugin asks for: reads, which may wait for storage. The
// machine bounds how many requests there are at a time (wire.MaxRequests for a Session).
type answers struct {
	mu      sync.Mutex // guards what follows
	waiting []question
	running int
	work    sync.WaitGroup // of those that run; only added to while mu is held
}

type question struct {
	ticket  wire.Ticket
	request *pluginv1.Request
}

// add takes a request. It never waits.
func (a *answers) add(p *plugin, t wire.Ticket, q *pluginv1.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = append(a.waiting, question{t, q})
	if a.running < maxAnswering {
		a.running++
		a.work.Go(func() { a.run(p) })
	}
}

// run answers until nothing waits.
func (a *answers) run(p *plugin) {
	for {
		a.mu.Lock()
		if len(a.waiting) == 0 {
			a.running--
			a.waiting = nil
			a.mu.Unlock()
			return
		}
		q := a.waiting[0]
		a.waiting[0] = question{}
		a.waiting = a.waiting[1:]
		a.mu.Unlock()
		r := p.answer(q.request)
		p.call(func(time.Time) { p.machine.Respond(q.ticket, r) })
	}
}

func (p *plugin) answer(q *pluginv1.Request) *pluginv1.Response {
	ctx, cancel := context.WithTimeout(p.kernel.Context(), p.host.times.request)
	defer cancel()
	return codec.Answer(ctx, p.kernel.Reader(), p.kernel.NewIDs, q)
}
