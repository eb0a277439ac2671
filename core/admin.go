package core

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var _ admin.Users = (*Kernel)(nil)

// hosted checks that user can be an account here.
func (k *Kernel) hosted(user jid.JID) error {
	if !k.registry.Hosted(user.Domain()) || user.Local() == "" || !user.IsBare() {
		return fmt.Errorf("%q is not an address user@domain of a hosted domain %v", user, k.options.Domains)
	}
	return nil
}

// AddUser implements admin.Users.
func (k *Kernel) AddUser(ctx context.Context, user jid.JID, password string) error {
	if err := k.hosted(user); err != nil {
		return err
	}
	return k.ports.Accounts.Create(ctx, user, password)
}

// SetPassword implements admin.Users.
func (k *Kernel) SetPassword(ctx context.Context, user jid.JID, password string) error {
	return k.ports.Accounts.SetPassword(ctx, user, password)
}

// RemoveUser implements admin.Users.
func (k *Kernel) RemoveUser(ctx context.Context, user jid.JID) error {
	if err := k.accounts.Remove(ctx, user); err != nil {
		return err
	}
	k.accounts.end(user)
	return nil
}

// User implements admin.Users.
func (k *Kernel) User(ctx context.Context, user jid.JID) (auth.Account, error) {
	return k.ports.Accounts.Get(ctx, user)
}

// ListUsers implements admin.Users.
func (k *Kernel) ListUsers(ctx context.Context, domain, after string, limit int) ([]auth.Account, error) {
	if !k.registry.Hosted(domain) {
		return nil, fmt.Errorf("%q is not a hosted domain %v", domain, k.options.Domains)
	}
	return k.ports.Accounts.List(ctx, domain, after, limit)
}

// Sessions implements half of admin.Server.
func (k *Kernel) Sessions(_ context.Context, user jid.JID) ([]admin.Session, error) {
	if err := k.hosted(user); err != nil {
		return nil, err
	}
	entries := k.ports.Sessions.Sessions(user.Bare())
	out := make([]admin.Session, len(entries))
	for i, e := range entries {
		out[i] = admin.Session{JID: e.JID, Available: e.Available, Priority: e.Priority}
	}
	return out, nil
}

// Gauges returns what metrics ask for.
func (k *Kernel) Gauges() observe.Gauges {
	k.mu.Lock()
	streams := len(k.streams)
	k.mu.Unlock()
	g := observe.Gauges{
		Streams: streams, Sessions: k.ports.Sessions.Len(), Resumable: k.c2s.Resumables.Len(), Resting: k.c2s.Resting(), Tasks: k.hosts.Tasks(),
		Underway: k.hosts.Underway().Len(),
	}
	if k.ports.Spool != nil {
		g.SpoolRecords, g.SpoolBytes = k.ports.Spool.Size()
	}
	for _, guest := range k.registry.Guests() {
		if has := guest.Holdings(); has.Used {
			g.Extensions = append(g.Extensions, observe.Extension{
				Name: guest.Reg.Name, Groups: has.Groups, Members: has.Members, MemoryEntries: has.Entries, MemoryBytes: has.MemoryBytes, Timers: has.Timers,
			})
		}
	}
	return g
}

// Status implements half of admin.Server.
func (k *Kernel) Status(context.Context) (admin.Status, error) {
	k.mu.Lock()
	streams := len(k.streams)
	k.mu.Unlock()
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	bytes := heap[0].Value.Uint64()
	if bytes == 0 { // nothing was collected yet
		bytes = heap[1].Value.Uint64()
	}
	return admin.Status{
		Version: k.options.Version, Started: k.started, Domains: k.options.Domains,
		Sessions: k.ports.Sessions.Len(), Streams: streams,
		Goroutines: runtime.NumGoroutine(), HeapBytes: bytes,
	}, nil
}

var _ admin.Calls = (*Kernel)(nil)

// ListCalls implements admin.Calls.
func (k *Kernel) ListCalls(_ context.Context, extension string) ([]admin.Call, error) {
	g, err := k.guest(extension)
	if err != nil {
		return nil, err
	}
	list := make([]admin.Call, len(g.Reg.Calls))
	for i, c := range g.Reg.Calls {
		list[i] = admin.Call{Name: c.Name, Help: c.Help}
		for _, a := range c.Args {
			list[i].Args = append(list[i].Args, admin.CallArg(a))
		}
	}
	return list, nil
}

// Call implements admin.Calls.
func (k *Kernel) Call(ctx context.Context, extension, call string, args []string, yield func(text string) error) error {
	g, err := k.guest(extension)
	if err != nil {
		return err
	}
	return g.AdminCall(ctx, call, args, yield)
}

// guest finds an extension by its name. The error names those that have calls.
func (k *Kernel) guest(name string) (*host.Guest, error) {
	var others []string
	for _, g := range k.registry.Guests() {
		if g.Reg.Name == name {
			return g, nil
		}
		if len(g.Reg.Calls) > 0 {
			others = append(others, g.Reg.Name)
		}
	}
	if len(others) == 0 {
		others = []string{"none"}
	}
	return nil, fmt.Errorf("%w: %q; those that can be asked something are: %s", admin.ErrNoPlugin, name, strings.Join(others, ", "))
}
