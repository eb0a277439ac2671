package sql

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// How many messages one statement deletes.
const deletedAtOnce = 64

const (
	selectOffline = `
		SELECT id, stamp, xml FROM offline_messages
		WHERE owner = (SELECT id FROM accounts WHERE domain = ? AND local = ?) AND id > ? ORDER BY id LIMIT ?`
	// That the account is there, and the quota, are part of the statement; only if
	// nothing was inserted is it asked what was wrong.
	insertOffline = `
		INSERT INTO offline_messages (owner, stamp, xml) SELECT a.id, ?, ? FROM accounts a
		WHERE a.domain = ? AND a.local = ?
			AND (SELECT count(*) FROM (SELECT 1 FROM offline_messages WHERE owner = a.id LIMIT ?) AS stored) < ?`
	insertOfflineLocked = `
		INSERT INTO offline_messages (owner, stamp, xml) SELECT ?, ?, ?
		WHERE (SELECT count(*) FROM (SELECT 1 FROM offline_messages WHERE owner = ? LIMIT ?) AS stored) < ?
		RETURNING id`
	countOffline = `SELECT count(*) FROM (SELECT 1 FROM offline_messages WHERE owner = ? LIMIT ?) AS stored`
	selectRoom   = `
		SELECT a.id, (SELECT count(*) FROM (SELECT 1 FROM offline_messages WHERE owner = a.id LIMIT ?) AS stored)
		FROM accounts a WHERE a.domain = ? AND a.local = ?`
)

var insertOfflines = newInserts(`INSERT INTO offline_messages (owner, stamp, xml) VALUES `, 3)

var deleteOffline = `
	DELETE FROM offline_messages
	WHERE owner = (SELECT id FROM accounts WHERE domain = ? AND local = ?) AND id IN (?` + strings.Repeat(", ?", deletedAtOnce-1) + `)`

// AddOffline implements storage.Offline. The quota is counted in the index, by
// the statement that inserts.
func (s *Store) AddOffline(ctx context.Context, owner jid.JID, m storage.OfflineMessage, quota int) (uint64, error) {
	op := "store a message for " + owner.String()
	if err := storage.CheckOffline(owner, m); err != nil {
		return 0, s.dialect.wrap(op, err)
	}
	stamp, xml := m.Stamp.UnixMicro(), bytes.Clone(m.XML)
	var kept int64 // not a result of this call: the job may still run when it has given up
	err := s.writer.do(ctx, &job{single: true, do: func(t *tx) (err error) {
		kept, err = t.addOffline(owner, stamp, xml, quota)
		return err
	}})
	if err != nil {
		return 0, s.dialect.wrap(op, err)
	}
	return uint64(kept), nil
}

// AddOfflineEach implements storage.Offline. Those that are not stored leave nothing
// behind: the job fails as a whole or not at all.
func (s *Store) AddOfflineEach(ctx context.Context, all []storage.OfflineAdd, quota int) ([]error, error) {
	const op = "store messages"
	stamps, xml, owners := make([]int64, len(all)), make([][]byte, len(all)), make([]jid.JID, len(all))
	checked := make([]error, len(all))
	for i := range all {
		if checked[i] = storage.CheckOffline(all[i].Owner, all[i].Message); checked[i] == nil {
			owners[i], stamps[i], xml[i] = all[i].Owner, all[i].Message.Stamp.UnixMicro(), bytes.Clone(all[i].Message.XML)
		}
	}
	var kept []error // not a result of this call: the job may still run when it has given up
	err := s.write(ctx, op, func(t *tx) (err error) {
		kept, err = t.addEach(owners, stamps, xml, checked, quota)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range kept {
		if kept[i] != nil {
			kept[i] = s.dialect.wrap("store a message for "+owners[i].String(), kept[i])
		}
	}
	return kept, nil
}

// addEach stores messages, but for those that were not in order. What an account has is
// looked up once: nobody else writes meanwhile, or has the account's lock.
func (t *tx) addEach(owners []jid.JID, stamps []int64, xml [][]byte, checked []error, quota int) ([]error, error) {
	type account struct {
		id     int64
		stored int
	}
	accounts := map[jid.JID]*account{}
	results := make([]error, len(owners))
	args := make([]any, 0, 3*len(owners))
	for i, owner := range owners {
		if results[i] = checked[i]; results[i] != nil {
			continue
		}
		a := accounts[owner]
		if a == nil {
			a = &account{}
			accounts[owner] = a
			if err := t.room(owner, quota, &a.id, &a.stored); err != nil {
				return nil, err
			}
		}
		switch {
		case a.id == 0:
			results[i] = storage.ErrNotFound
		case a.stored >= quota:
			results[i] = storage.ErrQuota
		default:
			a.stored++
			args = append(args, a.id, stamps[i], xml[i])
		}
	}
	return results, t.insertMany(insertOfflines, args)
}

// room tells the id of an account, 0 if it is not there, and how many messages it has, or
// that there are as many as the quota. On a database that others write to it locks the
// account.
func (t *tx) room(owner jid.JID, quota int, id *int64, stored *int) error {
	if t.dialect.lockRow == "" {
		_, err := t.first(selectRoom, []any{max(quota, 0), owner.Domain(), owner.Local()}, id, stored)
		return err
	}
	found, err := t.lockAccount(owner)
	if err != nil {
		if errors.Is(err, storage.ErrNotFound) {
			err = nil
		}
		return err
	}
	*id = found
	_, err = t.first(countOffline, []any{found, max(quota, 0)}, stored)
	return err
}

func (t *tx) addOffline(owner jid.JID, stamp int64, xml []byte, quota int) (id int64, err error) {
	if t.dialect.lockRow != "" { // other nodes count, too
		return t.addOfflineLocked(owner, stamp, xml, quota)
	}
	id, err = t.add(insertOffline, stamp, xml, owner.Domain(), owner.Local(), max(quota, 0), quota)
	if err != nil || id != 0 {
		return id, err
	}
	if _, err := t.accountID(owner); err != nil {
		return 0, err
	}
	return 0, storage.ErrQuota
}

// addOfflineLocked locks the account first.
func (t *tx) addOfflineLocked(owner jid.JID, stamp int64, xml []byte, quota int) (id int64, err error) {
	account, err := t.lockAccount(owner)
	if err != nil {
		return 0, err
	}
	added, err := t.insert(insertOfflineLocked, []any{account, stamp, xml, account, max(quota, 0), quota}, &id)
	if err == nil && !added {
		err = storage.ErrQuota
	}
	return id, err
}

// AddOfflineAll implements storage.Offline.
func (s *Store) AddOfflineAll(ctx context.Context, owner jid.JID, all []storage.OfflineMessage) error {
	op := "store messages for " + owner.String()
	stamps, xml := make([]int64, len(all)), make([][]byte, len(all))
	for i, m := range all {
		if err := storage.CheckOffline(owner, m); err != nil {
			return s.dialect.wrap(op, err)
		}
		stamps[i], xml[i] = m.Stamp.UnixMicro(), bytes.Clone(m.XML) // the job may still run when this call has given up
	}
	return s.write(ctx, op, func(t *tx) error {
		id, err := t.lockAccount(owner)
		if err != nil {
			return err
		}
		args := make([]any, 0, 3*len(stamps))
		for i := range stamps {
			args = append(args, id, stamps[i], xml[i])
		}
		return t.insertMany(insertOfflines, args)
	})
}

// OfflineMessages implements storage.Offline.
func (s *Store) OfflineMessages(ctx context.Context, owner jid.JID, after uint64, limit int) ([]storage.OfflineMessage, error) {
	page, err := s.offlineMessages(ctx, owner, after, limit)
	if err != nil {
		return nil, s.dialect.wrap("read messages of "+owner.String(), err)
	}
	return page, nil
}

func (s *Store) offlineMessages(ctx context.Context, owner jid.JID, after uint64, limit int) ([]storage.OfflineMessage, error) {
	if err := s.read(ctx); err != nil || !owner.IsBare() || after >= math.MaxInt64 {
		return nil, err
	}
	rows, err := s.queries.offline.QueryContext(ctx, owner.Domain(), owner.Local(), int64(after), max(limit, 0))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []storage.OfflineMessage
	for rows.Next() {
		var m storage.OfflineMessage
		var stamp int64
		if err := rows.Scan(&m.ID, &stamp, &m.XML); err != nil {
			return nil, err
		}
		m.Stamp = unixMicro(stamp)
		page = append(page, m)
	}
	return page, rows.Err()
}

// DeleteOffline implements storage.Offline.
func (s *Store) DeleteOffline(ctx context.Context, owner jid.JID, ids []uint64) error {
	op := "delete messages of " + owner.String()
	there := make([]int64, 0, len(ids))
	for _, id := range ids {
		if id <= math.MaxInt64 {
			there = append(there, int64(id))
		}
	}
	if len(there) == 0 || !owner.IsBare() {
		return s.dialect.wrap(op, s.read(ctx))
	}
	return s.write(ctx, op, func(t *tx) error {
		for from := 0; from < len(there); from += deletedAtOnce {
			args := make([]any, 2+deletedAtOnce)
			args[0], args[1] = owner.Domain(), owner.Local()
			for i := range deletedAtOnce {
				args[2+i] = 0 // names no message
				if from+i < len(there) {
					args[2+i] = there[from+i]
				}
			}
			if _, err := t.exec(deleteOffline, args...); err != nil {
				return err
			}
		}
		return nil
	})
}
