package codec

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// throughMessages is a Host whose effects become messages, and whose reads are asked of
// another one by messages.
func throughMessages(x *Effects, r Reads) *extension.Host {
	return &extension.Host{
		Stanzas: x, Store: struct {
			*Effects
			Reads
		}{x, r},
		Archive: archiveOf{x, r}, Timers: x, Memory: memoryOf{x, r}, Groups: groupsOf{x, r},
		Sessions: sessionsOf{x, r}, Rosters: rostersOf{r}, Accounts: Accounts{r}, Secrets: r, Certificates: r,
	}
}

type archiveOf struct {
	*Effects
	Reads
}

func (a archiveOf) Remove(owner jid.JID) { a.ArchiveRemove(owner) }

func (a archiveOf) NewID() uint64 {
	list, err := a.NewIDs(context.Background(), 1)
	if err != nil {
		panic(err)
	}
	return list[0]
}

func (a archiveOf) Between(start, end time.Time) (after, before uint64) {
	after, before, err := a.Reads.Between(context.Background(), start, end)
	if err != nil {
		panic(err)
	}
	return after, before
}

type memoryOf struct {
	x *Effects
	r Reads
}

func (m memoryOf) Get(ctx context.Context, key string) (extension.Entry, bool, error) {
	return m.r.MemoryGet(ctx, key)
}

func (m memoryOf) Scan(ctx context.Context, prefix, after string, limit int) ([]extension.Entry, error) {
	return m.r.MemoryScan(ctx, prefix, after, limit)
}
func (m memoryOf) Put(key string, value []byte) error { return m.x.Remember(key, value) }
func (m memoryOf) Delete(key string)                  { m.x.Forget(key) }

type groupsOf struct {
	x *Effects
	r Reads
}

func (g groupsOf) Join(group string, m extension.Member) error { return g.x.Join(group, m) }
func (g groupsOf) Leave(group string, member jid.JID)          { g.x.Leave(group, member) }
func (g groupsOf) Remove(group string)                         { g.x.RemoveGroup(group) }
func (g groupsOf) Send(group string, c extension.Cast) error   { return g.x.Cast(group, c) }
func (g groupsOf) Size(ctx context.Context, group string) (int, error) {
	return g.r.GroupSize(ctx, group)
}

func (g groupsOf) Members(ctx context.Context, group string, after jid.JID, limit int) ([]extension.Member, error) {
	return g.r.GroupMembers(ctx, group, after, limit)
}

type sessionsOf struct {
	*Effects
	r Reads
}

func (s sessionsOf) Of(account jid.JID) []extension.Session {
	list, err := s.r.SessionsOf(context.Background(), account)
	if err != nil {
		panic(err)
	}
	return list
}

func (s sessionsOf) Room(session jid.JID) int {
	n, err := s.r.Room(context.Background(), session)
	if err != nil {
		panic(err)
	}
	return n
}

type rostersOf struct{ r Reads }

func (o rostersOf) Subscribed(ctx context.Context, account, contact jid.JID) (bool, error) {
	return o.r.Subscribed(ctx, account, contact)
}

func (o rostersOf) Known(account, contact jid.JID) (bool, error) {
	return o.r.Known(context.Background(), account, contact)
}

func (o rostersOf) Listed(account, contact jid.JID) (bool, error) {
	return o.r.Listed(context.Background(), account, contact)
}

// recorder writes down what is asked of it, and answers with what it is full of.
type recorder struct {
	calls []string
	err   error // of all calls that may fail

	entries  []extension.Entry
	rows     []storage.Row
	members  []extension.Member
	accounts []auth.Account
	sessions []extension.Session
}

func (r *recorder) host() *extension.Host {
	return &extension.Host{
		Stanzas: recStanzas{r}, Store: recStore{r}, Archive: recArchive{r}, Timers: recTimers{r}, Memory: recMemory{r}, Groups: recGroups{r},
		Sessions: recSessions{r}, Rosters: recRosters{r}, Accounts: recAccounts{r}, Secrets: recSecrets{r}, Certificates: recCertificates{r},
	}
}

func (r *recorder) note(name string, args ...any) error {
	var b strings.Builder
	b.WriteString(name)
	for _, a := range args {
		switch a := a.(type) {
		case time.Time:
			fmt.Fprintf(&b, " %s", a.UTC())
		case fmt.Stringer:
			fmt.Fprintf(&b, " %s", a)
		default:
			fmt.Fprintf(&b, " %+v", a)
		}
	}
	r.calls = append(r.calls, b.String())
	return r.err
}

type (
	recStanzas      struct{ *recorder }
	recStore        struct{ *recorder }
	recArchive      struct{ *recorder }
	recTimers       struct{ *recorder }
	recMemory       struct{ *recorder }
	recGroups       struct{ *recorder }
	recSessions     struct{ *recorder }
	recRosters      struct{ *recorder }
	recAccounts     struct{ *recorder }
	recSecrets      struct{ *recorder }
	recCertificates struct{ *recorder }
)

func shown(list []extension.Entry, prefix, after string, limit int) (out []extension.Entry) {
	for _, e := range list {
		if strings.HasPrefix(e.Key, prefix) && e.Key > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out
}

func got(list []extension.Entry, key string) (extension.Entry, bool) {
	for _, e := range list {
		if e.Key == key {
			return e, true
		}
	}
	return extension.Entry{}, false
}
