package codec

import (
	"context"
	"errors"
	"fmt"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Bounds of one response. Reads asks again for the rest.
const (
	maxEntries = 250     // entries of a Map, each of at most storage.MaxValue
	maxList    = 1000    // rows, members, accounts
	maxBytes   = 1 << 20 // behind which nothing is added
	maxIDs     = 10_000
	maxExpired = 10_000
	maxCounted = 1 << 30
)

// kinds are what errors of requests are called in the contract; the first that is in
// the chain of an error counts.
var kinds = []struct {
	err  error
	kind pluginv1.ErrorKind
}{
	{extension.ErrPermission, pluginv1.ErrorKind_ERROR_KIND_PERMISSION},
	{extension.ErrBound, pluginv1.ErrorKind_ERROR_KIND_BOUND},
	{extension.ErrUnavailable, pluginv1.ErrorKind_ERROR_KIND_UNAVAILABLE},
	{auth.ErrDenied, pluginv1.ErrorKind_ERROR_KIND_DENIED},
	{auth.ErrExists, pluginv1.ErrorKind_ERROR_KIND_EXISTS},
	{auth.ErrNotFound, pluginv1.ErrorKind_ERROR_KIND_NOT_FOUND},
	{auth.ErrPassword, pluginv1.ErrorKind_ERROR_KIND_PASSWORD},
	{extension.ErrNotServed, pluginv1.ErrorKind_ERROR_KIND_NOT_FOUND},
	{storage.ErrNotFound, pluginv1.ErrorKind_ERROR_KIND_NOT_FOUND},
	{storage.ErrUnavailable, pluginv1.ErrorKind_ERROR_KIND_UNAVAILABLE},
	{storage.ErrConflict, pluginv1.ErrorKind_ERROR_KIND_CONFLICT},
	{storage.ErrInvalid, pluginv1.ErrorKind_ERROR_KIND_INVALID},
}

var errRequest = errors.New("a request of an unknown kind")

// Answer reads what a plugin asks for. It may wait, as calls of a Host do; whoever calls
// it bounds how many wait. newIDs is extension.Kernel.NewIDs. The Response has the
// request's id, whatever went wrong.
func Answer(ctx context.Context, h *extension.Host, newIDs func(n int) []uint64, q *pluginv1.Request) *pluginv1.Response {
	p := &pluginv1.Response{Id: q.GetId()}
	err := answer(ctx, h, newIDs, q, p)
	if err == nil {
		return p
	}
	p.What = nil
	p.Error = valid(err.Error())
	if p.Error == "" {
		p.Error = "it failed"
	}
	var malformed *Error
	switch {
	case errors.Is(err, errRequest):
		p.ErrorKind = pluginv1.ErrorKind_ERROR_KIND_UNKNOWN_REQUEST
		return p
	case errors.As(err, &malformed):
		p.ErrorKind = pluginv1.ErrorKind_ERROR_KIND_INVALID
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			p.ErrorKind = k.kind
			break
		}
	}
	return p
}

func answer(ctx context.Context, h *extension.Host, newIDs func(n int) []uint64, q *pluginv1.Request, p *pluginv1.Response) error {
	switch w := q.GetWhat().(type) {
	case *pluginv1.Request_Get:
		owner, err := address("get.owner", w.Get.GetOwner())
		if err != nil {
			return err
		}
		e, ok, err := h.Store.Get(ctx, owner, w.Get.GetKey())
		if ok && err == nil {
			p.What = &pluginv1.Response_Entry{Entry: Entry(e)}
		}
		return err
	case *pluginv1.Request_Scan:
		owner, err := address("scan.owner", w.Scan.GetOwner())
		if err != nil {
			return err
		}
		limit := w.Scan.GetLimit()
		list, err := h.Store.Scan(ctx, owner, w.Scan.GetPrefix(), w.Scan.GetAfter(), number(limit, maxEntries))
		p.What = entries(list, limit)
		return err
	case *pluginv1.Request_ArchiveRows:
		owner, f, page, err := archiveQuery("archive_rows", w.ArchiveRows)
		if err != nil {
			return err
		}
		page.Limit = min(page.Limit, maxList)
		if page.Bytes == 0 || page.Bytes > maxBytes {
			page.Bytes = maxBytes
		}
		rows, more, err := h.Archive.Rows(ctx, owner, f, page)
		list := make([]*pluginv1.ArchiveRow, len(rows))
		for i := range rows {
			list[i] = Row(&rows[i])
		}
		p.What = &pluginv1.Response_Rows{Rows: &pluginv1.Rows{Rows: list, More: more}}
		return err
	case *pluginv1.Request_ArchiveCount:
		owner, f, page, err := archiveQuery("archive_count", w.ArchiveCount)
		if err != nil {
			return err
		}
		n, all, err := h.Archive.Count(ctx, owner, f, page.Limit)
		p.What = &pluginv1.Response_Count{Count: &pluginv1.Count{N: uint64(max(0, n)), All: all}}
		return err
	case *pluginv1.Request_ArchiveExpire:
		n, err := h.Archive.Expire(ctx, moment(w.ArchiveExpire.GetBeforeUs()), number(w.ArchiveExpire.GetLimit(), maxExpired))
		p.What = &pluginv1.Response_Number{Number: uint64(max(0, n))}
		return err
	case *pluginv1.Request_ArchiveBetween:
		after, before := h.Archive.Between(moment(w.ArchiveBetween.GetStartUs()), moment(w.ArchiveBetween.GetEndUs()))
		p.What = &pluginv1.Response_Between{Between: &pluginv1.Between{After: after, Before: before}}
		return nil
	case *pluginv1.Request_NewIds:
		n := w.NewIds.GetN()
		if n == 0 || n > maxIDs {
			return fmt.Errorf("%w: IDs come in blocks of 1 to %d", extension.ErrBound, maxIDs)
		}
		p.What = &pluginv1.Response_Ids{Ids: &pluginv1.Ids{Ids: newIDs(int(n))}}
		return nil
	case *pluginv1.Request_SessionsOf:
		account, err := somebody("sessions_of.account", w.SessionsOf.GetAccount())
		if err != nil {
			return err
		}
		p.What = &pluginv1.Response_Sessions{Sessions: sessionList(h.Sessions.Of(account))}
		return nil
	case *pluginv1.Request_Room:
		session, err := somebody("room.session", w.Room.GetSession())
		if err != nil {
			return err
		}
		p.What = &pluginv1.Response_Number{Number: uint64(max(0, h.Sessions.Room(session)))}
		return nil
	case *pluginv1.Request_Subscribed:
		yes, err := subscribed(ctx, h, w.Subscribed)
		p.What = &pluginv1.Response_Yes{Yes: yes}
		return in("subscribed", err)
	case *pluginv1.Request_Secret:
		secret, err := h.Secrets.Secret(ctx, w.Secret.GetName())
		p.What = &pluginv1.Response_Secret{Secret: secret}
		return err
	case *pluginv1.Request_Certificates:
		list, err := certificates(ctx, h, w.Certificates.GetDomains())
		p.What = &pluginv1.Response_Certificates{Certificates: list}
		return in("certificates", err)
	case *pluginv1.Request_Account:
		list, err := account(ctx, h, w.Account)
		p.What = &pluginv1.Response_Account{Account: list}
		return err
	case *pluginv1.Request_MemoryGet:
		e, ok, err := h.Memory.Get(ctx, w.MemoryGet.GetKey())
		if ok && err == nil {
			p.What = &pluginv1.Response_Entry{Entry: Entry(e)}
		}
		return err
	case *pluginv1.Request_MemoryScan:
		limit := w.MemoryScan.GetLimit()
		list, err := h.Memory.Scan(ctx, w.MemoryScan.GetPrefix(), w.MemoryScan.GetAfter(), number(limit, maxEntries))
		p.What = entries(list, limit)
		return err
	case *pluginv1.Request_GroupMembers:
		list, err := groupMembers(ctx, h, w.GroupMembers)
		p.What = &pluginv1.Response_Members{Members: list}
		return in("group_members", err)
	}
	return errRequest
}

// entries makes the response of those that were read, when limit were asked for.
func entries(list []extension.Entry, limit uint32) *pluginv1.Response_Entries {
	m := &pluginv1.Entries{More: len(list) == maxEntries && limit > maxEntries}
	size := 0
	for _, e := range list {
		if size >= maxBytes {
			m.More = true
			break
		}
		size += len(e.Key) + len(e.Value)
		m.Entries = append(m.Entries, Entry(e))
	}
	return &pluginv1.Response_Entries{Entries: m}
}

func archiveQuery(field string, m *pluginv1.ArchiveRows) (owner jid.JID, f storage.Filter, p storage.Page, err error) {
	if owner, err = somebody(field+".owner", m.GetOwner()); err != nil {
		return owner, f, p, err
	}
	if q := m.GetFilter(); q != nil {
		f = storage.Filter{Start: moment(q.StartUs), End: moment(q.EndUs), After: q.After, Before: q.Before}
		if q.OnlyIds || len(q.Ids) > 0 {
			f.IDs = append([]uint64{}, q.Ids...)
		}
		if err = storage.CheckFilter(&f); err != nil {
			return owner, f, p, in(field+".filter", err)
		}
		if f.With, err = address(field+".filter.with", q.With); err != nil {
			return owner, f, p, err
		}
	}
	p = storage.Page{
		Backwards: m.GetPage().GetBackwards(), Limit: number(m.GetPage().GetLimit(), maxCounted), Bytes: number(m.GetPage().GetBytes(), maxCounted),
	}
	return owner, f, p, nil
}

func sessionList(list []extension.Session) *pluginv1.SessionList {
	m := &pluginv1.SessionList{}
	for i := range list {
		s := &list[i]
		m.Sessions = append(m.Sessions, &pluginv1.SessionInfo{
			Jid: s.JID.String(), Available: s.Available, Priority: int32(s.Priority), Marks: s.Marks, Features: s.Features, FeaturesKnown: s.Features != nil,
		})
	}
	return m
}

func subscribed(ctx context.Context, h *extension.Host, m *pluginv1.Subscribed) (bool, error) {
	account, err := somebody("account", m.GetAccount())
	if err != nil {
		return false, err
	}
	contact, err := somebody("contact", m.GetContact())
	if err != nil {
		return false, err
	}
	switch m.How {
	case pluginv1.SubscribedHow_SUBSCRIBED_HOW_UNSPECIFIED:
		return h.Rosters.Subscribed(ctx, account, contact)
	case pluginv1.SubscribedHow_SUBSCRIBED_HOW_KNOWN:
		return h.Rosters.Known(account, contact)
	case pluginv1.SubscribedHow_SUBSCRIBED_HOW_LISTED:
		return h.Rosters.Listed(account, contact)
	}
	return false, wrong("how", "%d is no way to ask", m.How)
}

func account(ctx context.Context, h *extension.Host, m *pluginv1.AccountCall) (*pluginv1.AccountAnswer, error) {
	if m.GetAction() == pluginv1.AccountAction_ACCOUNT_ACTION_LIST {
		list, err := h.Accounts.List(ctx, m.Domain, m.After, number(m.Limit, maxList))
		out := &pluginv1.AccountAnswer{}
		for i := range list {
			out.Accounts = append(out.Accounts, accountInfo(&list[i]))
		}
		return out, err
	}
	user, err := somebody("account.account", m.GetAccount())
	if err != nil {
		return nil, err
	}
	switch m.Action {
	case pluginv1.AccountAction_ACCOUNT_ACTION_GET:
		a, err := h.Accounts.Get(ctx, user)
		return &pluginv1.AccountAnswer{Accounts: []*pluginv1.AccountInfo{accountInfo(&a)}}, err
	case pluginv1.AccountAction_ACCOUNT_ACTION_CREATE:
		return nil, h.Accounts.Create(ctx, user, m.Password)
	case pluginv1.AccountAction_ACCOUNT_ACTION_SET_PASSWORD:
		return nil, h.Accounts.SetPassword(ctx, user, m.Password)
	case pluginv1.AccountAction_ACCOUNT_ACTION_DELETE:
		return nil, h.Accounts.Remove(ctx, user)
	case pluginv1.AccountAction_ACCOUNT_ACTION_VERIFY:
		return nil, h.Accounts.VerifyPassword(ctx, user, m.Password)
	}
	return nil, wrong("account.action", "%d is none", m.Action)
}

func accountInfo(a *auth.Account) *pluginv1.AccountInfo {
	return &pluginv1.AccountInfo{Account: a.User.String(), CreatedUs: micros(a.Created), LastLoginUs: micros(a.LastLogin), Disabled: a.Disabled}
}
