package sql

import (
	"context"
	dbsql "database/sql"
	"errors"

	"github.com/hexmpp/hexmpp/ports/storage"
)

const (
	selectExpired = `
		SELECT a.id FROM archives a
		WHERE a.space = ? AND a.owner IS NOT NULL AND (SELECT min(m.id) FROM archived_messages m WHERE m.archive = a.id) <= ?
		LIMIT ?`
	deleteRows = `
		DELETE FROM archived_messages WHERE archive = ?
			AND id IN (SELECT m.id FROM archived_messages m WHERE m.archive = ? AND m.id <= ? ORDER BY m.id LIMIT ?)`
	selectAbandoned = `SELECT id FROM archives WHERE owner IS NULL LIMIT ?`
	deleteArchive   = `DELETE FROM archives WHERE id = ?`
)

// ExpireRows implements storage.Archive. The archives are looked for by a reader,
// so that nobody who writes waits for that.
func (s *Store) ExpireRows(ctx context.Context, space string, below uint64, limit int) (n int, err error) {
	op := "expire archives of " + space
	if err := s.read(ctx); err != nil {
		return 0, s.dialect.wrap(op, err)
	}
	if err := s.purge(ctx); err != nil {
		return 0, err
	}
	if below == 0 || limit < 1 {
		return 0, nil
	}
	last := int64(min(below-1, storage.MaxID))
	var archives []int64
	if err := s.readers.SelectContext(ctx, &archives, s.readers.Rebind(selectExpired), space, last, limit); err != nil {
		return 0, s.dialect.wrap(op, err)
	}
	if len(archives) == 0 {
		return 0, nil
	}
	deleted := 0 // not the result of this call: the job may still run when it has given up
	err = s.write(ctx, op, func(t *tx) error {
		deleted = 0
		for _, archive := range archives {
			if deleted == limit {
				break
			}
			n, err := t.deleteRows(archive, last, limit-deleted)
			if err != nil {
				return err
			}
			deleted += n
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}

// deleteRows deletes the oldest rows of an archive.
func (t *tx) deleteRows(archive, last int64, limit int) (int, error) {
	n, err := t.exec(deleteRows, archive, archive, last, limit)
	return int(n), err
}

// purgedAtOnce is how many rows of an archive whose owner was removed one
// transaction deletes: others wait for it.
const purgedAtOnce = 1000

// purge deletes the archives of removed accounts. Nothing is appended to them any
// more: whoever appends holds a lock on the archive before its owner is gone. What
// is left when it is cut short, the next call deletes.
func (s *Store) purge(ctx context.Context) error {
	for {
		var archive int64
		err := s.readers.GetContext(ctx, &archive, s.readers.Rebind(selectAbandoned), 1)
		if errors.Is(err, dbsql.ErrNoRows) {
			return nil
		}
		const op = "delete the archive of a removed account"
		if err != nil {
			return s.dialect.wrap(op, err)
		}
		if err := s.write(ctx, op, func(t *tx) error {
			n, err := t.deleteRows(archive, storage.MaxID, purgedAtOnce)
			if err == nil && n < purgedAtOnce {
				_, err = t.exec(deleteArchive, archive)
			}
			return err
		}); err != nil {
			return err
		}
	}
}
