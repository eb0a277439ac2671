package host

import (
	"context"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What a handler elsewhere does with its Host comes here in two parts: what it reads,
// while it runs, by a reader; what it asks for, with its outcome, by a writer.

var (
	errReadOnly  = errors.New("host: effects go with the outcome of an event")
	errWriteOnly = errors.New("host: an outcome reads nothing")
)

// writer returns a Host that takes effects, and waits for nothing. Calls of Accounts,
// Rosters, Secrets and Certificates panic, which fails the outcome.
func (t *tx) writer() *extension.Host {
	h := t.host()
	h.Store, h.Archive = writeStore{store{t}}, writeArchive{archive{t}}
	h.Rosters, h.Accounts, h.Secrets, h.Certificates = nil, nil, nil, nil
	return h
}

type writeStore struct{ store }

func (writeStore) Get(context.Context, jid.JID, string) (extension.Entry, bool, error) {
	return extension.Entry{}, false, errWriteOnly
}

func (writeStore) Scan(context.Context, jid.JID, string, string, int) ([]extension.Entry, error) {
	return nil, errWriteOnly
}

type writeArchive struct{ archive }

func (writeArchive) Rows(context.Context, jid.JID, storage.Filter, storage.Page) ([]storage.Row, bool, error) {
	return nil, false, errWriteOnly
}

func (writeArchive) Count(context.Context, jid.JID, storage.Filter, int) (int, bool, error) {
	return 0, false, errWriteOnly
}

func (writeArchive) Expire(context.Context, time.Time, int) (int, error) { return 0, errWriteOnly }

// reader returns a Host without effects.
func (g *Guest) reader() *extension.Host {
	t := &tx{g: g}
	h := t.host()
	h.Stanzas, h.Timers = readOnly{}, readOnly{}
	h.Store, h.Archive, h.Sessions = readStore{store{t}}, readArchive{archive{t}}, readSessions{sessions{t}}
	h.Memory, h.Groups, h.Rosters = readMemory{memoryOf{t}}, readGroups{groupsOf{t}}, readRosters{rosters{t}}
	return h
}

type readOnly struct{}

func (readOnly) Send(*stanza.Stanza) error                           { return errReadOnly }
func (readOnly) Precede(*stanza.Stanza) error                        { return errReadOnly }
func (readOnly) SendAs(jid.JID, *stanza.Stanza) error                { return errReadOnly }
func (readOnly) Request(*stanza.Stanza, time.Duration, []byte) error { return errReadOnly }
func (readOnly) RequestFor(string, *stanza.Stanza, time.Duration, []byte) error {
	return errReadOnly
}
func (readOnly) SetFor(string, string, time.Duration, []byte) error { return errReadOnly }
func (readOnly) Set(string, time.Duration, []byte) error            { return errReadOnly }
func (readOnly) Cancel(string)                                      {}

type readStore struct{ store }

func (readStore) Put(jid.JID, string, []byte)          {}
func (readStore) Delete(jid.JID, string)               {}
func (readStore) Swap(jid.JID, string, []byte, uint64) {}

type readArchive struct{ archive }

func (readArchive) Append(storage.Row)              {}
func (readArchive) Remove(jid.JID)                  {}
func (readArchive) Replace(jid.JID, uint64, string) {}

type readSessions struct{ sessions }

func (readSessions) End(jid.JID, string, string) error            { return errReadOnly }
func (readSessions) Mark(jid.JID, string, bool) error             { return errReadOnly }
func (readSessions) Release(jid.JID)                              {}
func (readSessions) Withdraw(jid.JID, []jid.JID, []jid.JID) error { return errReadOnly }
func (readSessions) Announce(jid.JID, []jid.JID) error            { return errReadOnly }

type readMemory struct{ memoryOf }

func (readMemory) Put(string, []byte) error { return errReadOnly }
func (readMemory) Delete(string)            {}

type readGroups struct{ groupsOf }

func (readGroups) Join(string, extension.Member) error { return errReadOnly }
func (readGroups) Leave(string, jid.JID)               {}
func (readGroups) Remove(string)                       {}
func (readGroups) Send(string, extension.Cast) error   { return errReadOnly }

// readRosters has the rosters of all accounts that have the entry: which one an event is
// about only its handler knows.
type readRosters struct{ rosters }

func (x readRosters) Listed(account, contact jid.JID) (bool, error) {
	g := x.t.g
	if g.Reg.ResidentRoster == "" {
		return x.rosters.Listed(account, contact)
	}
	if err := g.permit(extension.ReadRosters); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(g.hosts.ctx, maxWorkTime)
	defer cancel()
	account = account.Bare()
	r, err := g.hosts.LoadResident(ctx, account) // it has just been there
	if err != nil {
		return false, err
	}
	return rosters{&tx{g: g, view: view{about: &About{Account: account, Resident: r}}}}.Listed(account, contact)
}
