// Command far is a plugin for tests: it claims far domains, and is what is there. Its argument is a file
// into which it writes what it is given and what it answers; its processes share it.
//
//   - A message comes back from whom it was for, with its content and <n/>, which has the
//     process that answered. That is noted in memory of the kernel together with the last
//     event that came back, so that what is given again comes back once.
//   - A message whose body begins with "refuse" is answered with an error, and so is an iq.
//   - Whatever else it is given it takes.
//
// It answers after a while, those of a domain that it has at that moment in no order.
//
// test/chaos starts it; it is no example of how a plugin is written.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// ns is of all that the test plugins say.
const ns = "urn:hexmpp:test"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: far FILE")
		os.Exit(2)
	}
	p := plugin.Plugin{Version: "test", New: func([]byte) (extension.Registration, error) {
		w := &world{path: os.Args[1], peers: map[string]*peer{}}
		return extension.Registration{
			Name: "far", Permissions: []extension.Permission{extension.FarDomains},
			Far: &extension.Far{Take: w.take}, Start: w.start, Stop: w.stop,
		}, nil
	}}
	os.Exit(plugin.Main(p, os.Args[2:]))
}

// world is all that is far.
type world struct {
	path string

	file   *os.File
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu    sync.Mutex // guards what follows
	peers map[string]*peer
}

// peer is a far domain.
type peer struct {
	queue []*extension.FarEvent
	runs  bool
}

func (w *world) start(ctx context.Context, _ *extension.Host) (err error) {
	w.ctx, w.cancel = context.WithCancel(plugin.Background(ctx))
	w.file, err = os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}

func (w *world) stop(context.Context) error {
	w.cancel()
	w.all.Wait()
	return w.file.Close()
}

// note writes a line; in one piece, so that it is there when the process is killed.
func (w *world) note(what string, e *extension.FarEvent) {
	id := e.Stanza.ID
	if id == "" {
		id = "-"
	}
	if _, err := fmt.Fprintf(w.file, "%s %d %s %d %d %s\n", what, os.Getpid(), e.Domain, e.ID, e.Attempt, id); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func (w *world) take(_ context.Context, e *extension.FarEvent) {
	w.note("given", e)
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peers[e.Domain]
	if p == nil {
		p = &peer{}
		w.peers[e.Domain] = p
	}
	if p.queue = append(p.queue, e); !p.runs {
		p.runs = true
		w.all.Go(func() { w.serve(e.Domain, p) })
	}
}

// serve answers what a peer is sent, until there is nothing.
func (w *world) serve(domain string, p *peer) {
	for {
		select {
		case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
		case <-w.ctx.Done():
			return
		}
		w.mu.Lock()
		list := p.queue
		p.queue = nil
		p.runs = len(list) > 0
		w.mu.Unlock()
		if len(list) == 0 {
			return
		}
		if err := plugin.Do(w.ctx, "in "+domain, func(h *extension.Host) error { return echo(w.ctx, h, domain, list) }); err != nil {
			return // another process has them
		}
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, e := range list {
			w.note("done", e)
			e.Done(refusal(e.Stanza))
		}
	}
}

func refusal(s *stanza.Stanza) error {
	switch {
	case s.Kind == stanza.IQ:
		return stanza.Err(stanza.ServiceUnavailable, "")
	case s.Kind == stanza.Message && strings.HasPrefix(body(s), "refuse"):
		return stanza.Err(stanza.RemoteServerTimeout, "")
	}
	return nil
}

func body(s *stanza.Stanza) string {
	if e := s.Find("", "body"); e != nil {
		return e.Text()
	}
	return ""
}

// echo sends messages back that did not come back yet.
func echo(ctx context.Context, h *extension.Host, domain string, list []*extension.FarEvent) error {
	last, err := lastOf(ctx, h, domain)
	if err != nil {
		return err
	}
	for _, e := range list {
		s := e.Stanza
		if e.ID <= last || s.Kind != stanza.Message || s.Type == stanza.TypeError || refusal(s) != nil {
			continue
		}
		last = e.ID
		to := e.Recipients
		if len(to) == 0 {
			to = []jid.JID{s.To}
		}
		for _, from := range to {
			head := stanza.Header{Kind: s.Kind, Type: s.Type, ID: s.ID, From: from, To: s.From}
			if err := h.Stanzas.Send(s.With(head).Patch(nil, stanza.El(ns, "n", stanza.At("pid", strconv.Itoa(os.Getpid()))))); err != nil {
				return err
			}
		}
	}
	return h.Memory.Put("last "+domain, strconv.AppendUint(nil, last, 10))
}

func lastOf(ctx context.Context, h *extension.Host, domain string) (uint64, error) {
	entry, there, err := h.Memory.Get(ctx, "last "+domain)
	if err != nil || !there {
		return 0, err
	}
	return strconv.ParseUint(string(entry.Value), 10, 64)
}
