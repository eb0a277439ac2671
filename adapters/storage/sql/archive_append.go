package sql

import (
	"hash/crc32"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Where an archive is, by archiveKey.args.
const (
	ofAccount = `a.owner = (SELECT id FROM accounts WHERE domain = ? AND local = ?) AND a.space = ?`
	ofName    = `a.space = ? AND a.name = ?`
)

const (
	// That the archive is there and that the row has its place in it is part of
	// the statement; only if nothing was inserted is it asked what was wrong.
	insertRow    = insertRowWhere + ofAccount + insertRowLast
	insertOwnRow = insertRowWhere + ofName + insertRowLast

	insertRowWhere = `
		INSERT INTO archived_messages (archive, id, stamp, contact, resource, resource_hash, xml)
		SELECT a.id, ?, ?, ?, ?, ?, ? FROM archives a WHERE `
	insertRowLast = `
			AND NOT EXISTS (SELECT 1 FROM archived_messages m WHERE m.archive = a.id AND m.id >= ?)`
	selectArchive    = `SELECT id FROM archives WHERE owner = ? AND space = ?`
	selectOwnArchive = `SELECT a.id FROM archives a WHERE ` + ofName
	insertOwnArchive = `INSERT INTO archives (space, name) VALUES (?, ?) ON CONFLICT (space, name) WHERE name IS NOT NULL DO NOTHING`
)

const (
	selectLastWhere = `
		SELECT a.id, coalesce((SELECT max(m.id) FROM archived_messages m WHERE m.archive = a.id), 0) FROM archives a WHERE `
	selectLast    = selectLastWhere + ofAccount
	selectOwnLast = selectLastWhere + ofName
)

var insertMany = newInserts(`INSERT INTO archived_messages (archive, id, stamp, contact, resource, resource_hash, xml) VALUES `, 7)

// appendMany appends the rows of one job, where nobody else writes meanwhile: each
// archive is looked up once. storage.ErrConflict if one came too late.
func (t *tx) appendMany(rows []storage.Row) error {
	type archive struct{ id, last int64 }
	archives := make(map[archiveKey]*archive, len(rows))
	args := make([]any, 0, 7*len(rows))
	for i := range rows {
		r := &rows[i]
		key := archiveKey(r.Archive())
		a := archives[key]
		if a == nil {
			a = &archive{}
			archives[key] = a
			if err := t.findArchive(key, &a.id, &a.last); err != nil {
				return err
			}
		}
		switch {
		case a.id == 0: // of an account that is not there
			continue
		case int64(r.ID) <= a.last:
			return storage.ErrConflict
		}
		a.last = int64(r.ID)
		resource := r.With.Resource()
		args = append(args, a.id, int64(r.ID), r.Stamp.UnixMicro(), r.With.Bare().String(), resource, resourceHash(resource), r.XML)
	}
	return t.insertMany(insertMany, args)
}

// findArchive returns an archive, which it makes if there is none, and its last ID; an id
// of 0 if its owner is not there.
func (t *tx) findArchive(key archiveKey, id, last *int64) error {
	query := selectLast
	if key.Own {
		query = selectOwnLast
	}
	found, err := t.first(query, key.args(), id, last)
	if err != nil || found {
		return err
	}
	if there, err := t.makeArchive(key); err != nil || !there {
		return err
	}
	_, err = t.first(query, key.args(), id, last)
	return err
}

// makeArchive makes an archive that is not there, where nobody else writes meanwhile. It
// is false if its owner isn't there, either.
func (t *tx) makeArchive(key archiveKey) (bool, error) {
	if key.Own {
		_, err := t.exec(insertOwnArchive, key.args()...)
		return err == nil, err
	}
	owner, err := t.findOwner(key.Owner)
	if err != nil || owner == 0 {
		return false, err
	}
	_, err = t.exec(insertArchive(""), key.Space, owner)
	return err == nil, err
}

// insertArchive makes an archive unless it is there, or its owner is not. lock
// keeps the owner from being removed meanwhile.
func insertArchive(lock string) string {
	return `INSERT INTO archives (owner, space) SELECT id, ? FROM accounts WHERE id = ?` + lock + ` ON CONFLICT (owner, space) DO NOTHING`
}

// resourceHash is what stands for a resourcepart in the index: a database may
// have no room for a whole one there.
func resourceHash(resource string) int64 { return int64(crc32.ChecksumIEEE([]byte(resource))) }

// appendRow appends one row: storage.ErrConflict if it came too late.
func (t *tx) appendRow(r *storage.Row) error {
	if t.dialect.lockRow != "" { // other nodes append, too
		return t.appendLocked(r)
	}
	n, err := t.insertRow(r)
	if err != nil || n > 0 {
		return err
	}
	if there, err := t.makeArchive(archiveKey(r.Archive())); err != nil || !there {
		return err // left out
	}
	return t.insertOrConflict(r)
}

// appendLocked locks the archive first, so that its order is that of commits.
func (t *tx) appendLocked(r *storage.Row) error {
	if r.Own {
		return t.appendOwn(r)
	}
	lock := t.dialect.lockRow
	owner, err := t.findOwner(r.Owner)
	if err != nil || owner == 0 {
		return err // left out
	}
	find := func() (there bool, err error) {
		var id int64
		return t.first(selectArchive+lock, []any{owner, r.Space}, &id)
	}
	there, err := find()
	if err == nil && !there {
		if _, err = t.exec(insertArchive(lock), r.Space, owner); err == nil {
			there, err = find()
		}
	}
	if err != nil || !there { // removed meanwhile
		return err
	}
	return t.insertOrConflict(r)
}

// appendOwn is appendLocked to an archive that is an extension's own.
func (t *tx) appendOwn(r *storage.Row) error {
	args := archiveKey(r.Archive()).args()
	find := func() (there bool, err error) {
		var id int64
		return t.first(selectOwnArchive+t.dialect.lockRow, args, &id)
	}
	there, err := find()
	if err == nil && !there {
		if _, err = t.exec(insertOwnArchive, args...); err == nil {
			there, err = find()
		}
	}
	switch {
	case err != nil:
		return err
	case !there: // another node has made it and removed it meanwhile
		return storage.ErrConflict
	}
	return t.insertOrConflict(r)
}

func (t *tx) insertOrConflict(r *storage.Row) error {
	n, err := t.insertRow(r)
	if err == nil && n == 0 {
		err = storage.ErrConflict
	}
	return err
}

func (t *tx) insertRow(r *storage.Row) (int64, error) {
	resource := r.With.Resource()
	if r.Own {
		return t.exec(insertOwnRow, int64(r.ID), r.Stamp.UnixMicro(), r.With.Bare().String(), resource, resourceHash(resource), r.XML,
			r.Space, r.Owner.String(), int64(r.ID))
	}
	return t.exec(insertRow, int64(r.ID), r.Stamp.UnixMicro(), r.With.Bare().String(), resource, resourceHash(resource), r.XML,
		r.Owner.Domain(), r.Owner.Local(), r.Space, int64(r.ID))
}

// findOwner returns the id of an account, 0 if it is not there.
func (t *tx) findOwner(user jid.JID) (id int64, err error) {
	_, err = t.first(selectAccountID, []any{user.Domain(), user.Local()}, &id)
	return id, err
}
