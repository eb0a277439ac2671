package codec

import (
	"context"
	"errors"
	"math"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Call sends a request and returns its response, or an error if none comes. It adds the
// request's id, and the event that is being handled.
type Call func(ctx context.Context, q *pluginv1.Request) (*pluginv1.Response, error)

// Reads asks the kernel for what a Host reads. Its methods are those of the parts of
// extension.Host that read; handlers' own effects are not in what they return.
type Reads struct{ Call Call }

// do returns the response, or its error.
func (r Reads) do(ctx context.Context, q *pluginv1.Request) (*pluginv1.Response, error) {
	p, err := r.Call(ctx, q)
	if err != nil {
		return nil, err
	}
	return p, ResponseError(p)
}

// remoteError is an error of the kernel: its text, and what errors.Is finds in it.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// ResponseError returns the error of a response, nil if there is none.
func ResponseError(p *pluginv1.Response) error {
	if p.GetError() == "" {
		return nil
	}
	e := &remoteError{text: p.Error}
	for _, k := range kinds {
		if k.kind == p.ErrorKind {
			e.is = errors.Join(e.is, k.err) // NotFound is of auth and of storage
		}
	}
	return e
}

// Get is extension.Store.Get.
func (r Reads) Get(ctx context.Context, owner jid.JID, key string) (extension.Entry, bool, error) {
	if err := text("get.key", key); err != nil {
		return extension.Entry{}, false, err
	}
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_Get{Get: &pluginv1.GetEntry{Owner: owner.String(), Key: key}}})
	if err != nil || p.GetEntry() == nil {
		return extension.Entry{}, false, err
	}
	return ReadEntry(p.GetEntry()), true, nil
}

// Scan is extension.Store.Scan.
func (r Reads) Scan(ctx context.Context, owner jid.JID, prefix, after string, limit int) ([]extension.Entry, error) {
	if err := texts("scan", []string{prefix, after}); err != nil {
		return nil, err
	}
	return pages(limit, func(rest int, last *extension.Entry) ([]extension.Entry, bool, error) {
		if last != nil {
			after = last.Key
		}
		p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_Scan{Scan: &pluginv1.ScanEntries{
			Owner: owner.String(), Prefix: prefix, After: after, Limit: small(rest),
		}}})
		return readEntries(p), p.GetEntries().GetMore(), err
	})
}

func readEntries(p *pluginv1.Response) (out []extension.Entry) {
	for _, e := range p.GetEntries().GetEntries() {
		out = append(out, ReadEntry(e))
	}
	return out
}

// pages asks for one response after the other until there are limit elements, or no more.
func pages[T any](limit int, ask func(rest int, last *T) (list []T, more bool, err error)) ([]T, error) {
	var out []T
	for len(out) < limit {
		var last *T
		if len(out) > 0 {
			last = &out[len(out)-1]
		}
		list, more, err := ask(limit-len(out), last)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
		if !more || len(list) == 0 {
			break
		}
	}
	return out[:min(max(0, limit), len(out))], nil
}

func archiveRows(owner jid.JID, f *storage.Filter, p storage.Page) *pluginv1.ArchiveRows {
	return &pluginv1.ArchiveRows{
		Owner: owner.String(),
		Filter: &pluginv1.ArchiveFilter{
			With: f.With.String(), StartUs: micros(f.Start), EndUs: micros(f.End), After: f.After, Before: f.Before, Ids: f.IDs, OnlyIds: f.IDs != nil,
		},
		Page: &pluginv1.ArchivePage{Backwards: p.Backwards, Limit: small(p.Limit), Bytes: uint64(max(0, p.Bytes))},
	}
}

// Rows is extension.Archive.Rows.
func (r Reads) Rows(ctx context.Context, owner jid.JID, f storage.Filter, page storage.Page) (rows []storage.Row, more bool, err error) {
	bytes := 0
	for {
		p := page
		if p.Limit -= len(rows); p.Bytes > 0 {
			p.Bytes -= bytes
		}
		some, more, err := r.rows(ctx, owner, f, p)
		if err != nil {
			return nil, false, err
		}
		for i := range some {
			bytes += len(some[i].XML)
		}
		if page.Backwards {
			rows = append(some, rows...)
		} else {
			rows = append(rows, some...)
		}
		if !more || len(some) == 0 || len(rows) >= page.Limit || page.Bytes > 0 && bytes >= page.Bytes {
			return rows, more, nil
		}
		if page.Backwards {
			f.Before = rows[0].ID
		} else {
			f.After = rows[len(rows)-1].ID
		}
	}
}

// rows is one response.
func (r Reads) rows(ctx context.Context, owner jid.JID, f storage.Filter, page storage.Page) ([]storage.Row, bool, error) {
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_ArchiveRows{ArchiveRows: archiveRows(owner, &f, page)}})
	if err != nil {
		return nil, false, err
	}
	var rows []storage.Row
	for i, m := range p.GetRows().GetRows() {
		row, err := readRow(m, func(xml []byte) (string, error) { return stringOf(xml), nil })
		if err != nil {
			return nil, false, at("rows.rows", i, err)
		}
		rows = append(rows, row)
	}
	return rows, p.GetRows().GetMore(), nil
}

// Count is extension.Archive.Count.
func (r Reads) Count(ctx context.Context, owner jid.JID, f storage.Filter, most int) (int, bool, error) {
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_ArchiveCount{ArchiveCount: archiveRows(owner, &f, storage.Page{Limit: most})}})
	return number(p.GetCount().GetN(), math.MaxInt), p.GetCount().GetAll(), err
}

// NewIDs returns a block of IDs.
func (r Reads) NewIDs(ctx context.Context, n int) ([]uint64, error) {
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_NewIds{NewIds: &pluginv1.NewIds{N: small(n)}}})
	return p.GetIds().GetIds(), err
}

// SessionsOf is extension.Sessions.Of, which can't tell an error.
func (r Reads) SessionsOf(ctx context.Context, account jid.JID) ([]extension.Session, error) {
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_SessionsOf{SessionsOf: &pluginv1.SessionsOf{Account: account.String()}}})
	if err != nil {
		return nil, err
	}
	var out []extension.Session
	for i, m := range p.GetSessions().GetSessions() {
		s := extension.Session{Available: m.GetAvailable(), Priority: int8(m.GetPriority()), Marks: m.GetMarks()}
		if s.JID, err = somebody("jid", m.GetJid()); err != nil {
			return nil, at("sessions.sessions", i, err)
		}
		if m.FeaturesKnown {
			s.Features = append([]string{}, m.Features...)
		}
		out = append(out, s)
	}
	return out, nil
}

// Room is extension.Sessions.Room, which can't tell an error.
func (r Reads) Room(ctx context.Context, session jid.JID) (int, error) {
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_Room{Room: &pluginv1.Room{Session: session.String()}}})
	return number(p.GetNumber(), math.MaxInt), err
}

// Between is extension.Archive.Between, which can't tell an error.
func (r Reads) Between(ctx context.Context, start, end time.Time) (after, before uint64, err error) {
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_ArchiveBetween{ArchiveBetween: &pluginv1.ArchiveBetween{
		StartUs: micros(start), EndUs: micros(end),
	}}})
	return p.GetBetween().GetAfter(), p.GetBetween().GetBefore(), err
}

// Expire is extension.Archive.Expire.
func (r Reads) Expire(ctx context.Context, before time.Time, limit int) (int, error) {
	n := 0
	for n < limit {
		most := min(limit-n, maxExpired)
		p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_ArchiveExpire{ArchiveExpire: &pluginv1.ArchiveExpire{
			BeforeUs: micros(before), Limit: small(most),
		}}})
		if err != nil {
			return n, err
		}
		some := number(p.GetNumber(), most)
		if n += some; some < most {
			break
		}
	}
	return n, nil
}

func (r Reads) subscribed(ctx context.Context, account, contact jid.JID, how pluginv1.SubscribedHow) (bool, error) {
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_Subscribed{Subscribed: &pluginv1.Subscribed{
		Account: account.String(), Contact: contact.String(), How: how,
	}}})
	return p.GetYes(), err
}

// Subscribed is extension.Rosters.Subscribed.
func (r Reads) Subscribed(ctx context.Context, account, contact jid.JID) (bool, error) {
	return r.subscribed(ctx, account, contact, pluginv1.SubscribedHow_SUBSCRIBED_HOW_UNSPECIFIED)
}

// Known is extension.Rosters.Known.
func (r Reads) Known(ctx context.Context, account, contact jid.JID) (bool, error) {
	return r.subscribed(ctx, account, contact, pluginv1.SubscribedHow_SUBSCRIBED_HOW_KNOWN)
}

// Listed is extension.Rosters.Listed.
func (r Reads) Listed(ctx context.Context, account, contact jid.JID) (bool, error) {
	return r.subscribed(ctx, account, contact, pluginv1.SubscribedHow_SUBSCRIBED_HOW_LISTED)
}

// Secret is extension.Secrets.Secret.
func (r Reads) Secret(ctx context.Context, name string) ([]byte, error) {
	if err := text("secret.name", name); err != nil {
		return nil, err
	}
	p, err := r.do(ctx, &pluginv1.Request{What: &pluginv1.Request_Secret{Secret: &pluginv1.GetSecret{Name: name}}})
	return p.GetSecret(), err
}

// Accounts is extension.Accounts.
type Accounts struct{ Reads }

func (a Accounts) call(ctx context.Context, c *pluginv1.AccountCall) ([]auth.Account, error) {
	if err := texts("account", []string{c.Password, c.Domain, c.After}); err != nil {
		return nil, err
	}
	p, err := a.do(ctx, &pluginv1.Request{What: &pluginv1.Request_Account{Account: c}})
	if err != nil {
		return nil, err
	}
	var list []auth.Account
	for i, m := range p.GetAccount().GetAccounts() {
		user, err := somebody("account", m.GetAccount())
		if err != nil {
			return nil, at("account.accounts", i, err)
		}
		list = append(list, auth.Account{User: user, Created: moment(m.CreatedUs), LastLogin: moment(m.LastLoginUs), Disabled: m.Disabled})
	}
	return list, nil
}

// VerifyPassword is auth.Verifier's.
func (a Accounts) VerifyPassword(ctx context.Context, user jid.JID, password string) error {
	_, err := a.call(ctx, &pluginv1.AccountCall{Action: pluginv1.AccountAction_ACCOUNT_ACTION_VERIFY, Account: user.String(), Password: password})
	return err
}

// Create is auth.Accounts'.
func (a Accounts) Create(ctx context.Context, user jid.JID, password string) error {
	_, err := a.call(ctx, &pluginv1.AccountCall{Action: pluginv1.AccountAction_ACCOUNT_ACTION_CREATE, Account: user.String(), Password: password})
	return err
}

// SetPassword is auth.Accounts'.
func (a Accounts) SetPassword(ctx context.Context, user jid.JID, password string) error {
	_, err := a.call(ctx, &pluginv1.AccountCall{Action: pluginv1.AccountAction_ACCOUNT_ACTION_SET_PASSWORD, Account: user.String(), Password: password})
	return err
}

// Remove is auth.Accounts'.
func (a Accounts) Remove(ctx context.Context, user jid.JID) error {
	_, err := a.call(ctx, &pluginv1.AccountCall{Action: pluginv1.AccountAction_ACCOUNT_ACTION_DELETE, Account: user.String()})
	return err
}

// Get is auth.Accounts'.
func (a Accounts) Get(ctx context.Context, user jid.JID) (auth.Account, error) {
	list, err := a.call(ctx, &pluginv1.AccountCall{Action: pluginv1.AccountAction_ACCOUNT_ACTION_GET, Account: user.String()})
	if err != nil {
		return auth.Account{}, err
	}
	if len(list) != 1 {
		return auth.Account{}, wrong("account.accounts", "one was asked for, %d came", len(list))
	}
	return list[0], nil
}

// List is auth.Accounts'.
func (a Accounts) List(ctx context.Context, domain, after string, limit int) ([]auth.Account, error) {
	return pages(limit, func(rest int, last *auth.Account) ([]auth.Account, bool, error) {
		if last != nil {
			after = last.User.Local()
		}
		list, err := a.call(ctx, &pluginv1.AccountCall{
			Action: pluginv1.AccountAction_ACCOUNT_ACTION_LIST, Domain: domain, After: after, Limit: small(min(rest, maxList)),
		})
		return list, len(list) == maxList, err
	})
}

var _ extension.Accounts = Accounts{}
