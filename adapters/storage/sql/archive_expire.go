package sql

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/storage"
)

const (
	selectExpired = `
		SELECT a.id FROM archives a
		WHERE a.space = ? AND (a.owner IS NOT NULL OR a.name IS NOT NULL) AND (SELECT min(m.id) FROM archived_messages m WHERE m.archive = a.id) <= ?
		LIMIT ?`
	deleteRows = `
		DELETE FROM archived_messages WHERE archive = ?
			AND id IN (SELECT m.id FROM archived_messages m WHERE m.archive = ? AND m.id <= ? ORDER BY m.id LIMIT ?)`
	removeArchive = `UPDATE archives SET name = NULL WHERE space = ? AND name = ? RETURNING id`
	deleteArchive = `DELETE FROM archives WHERE id = ?`
)

func selectAbandoned(d *dialect) string {
	return `SELECT id FROM archives` + d.useIndex("archives_removed") + ` WHERE owner IS NULL AND name IS NULL LIMIT ?`
}

// ExpireRows implements storage.Archive. The archives are looked for by a reader,
// so that nobody who writes waits for that.
func (s *Store) ExpireRows(ctx context.Context, space string, below uint64, limit int) (n int, err error) {
	op := "expire archives of " + space
	if err := s.read(ctx); err != nil {
		return 0, s.dialect.wrap(op, err)
	}
	if limit < 1 {
		return 0, nil
	}
	purged, err := s.purge(ctx, limit)
	if limit -= purged; err != nil || limit == 0 || below == 0 {
		return purged, err
	}
	last := int64(min(below-1, storage.MaxID))
	var archives []int64
	if err := s.readers.SelectContext(ctx, &archives, s.readers.Rebind(selectExpired), space, last, limit); err != nil {
		return 0, s.dialect.wrap(op, err)
	}
	if len(archives) == 0 {
		return purged, nil
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
	return purged + deleted, nil
}

// deleteRows deletes the oldest rows of an archive.
func (t *tx) deleteRows(archive, last int64, limit int) (int, error) {
	n, err := t.exec(deleteRows, archive, archive, last, limit)
	return int(n), err
}

// purgedAtOnce is how many rows the removal of an account deletes of its archives, and a
// transaction of those that it removes: most have no more, and nobody waits for the rest.
const purgedAtOnce = 1000

// removeArchives removes archives that are extensions' own, if they are there. What can't be
// deleted at once loses its name, so that a new one of that name is another.
func (t *tx) removeArchives(list []storage.ArchiveKey) error {
	for _, a := range list {
		var id int64
		there, err := t.insert(removeArchive, archiveKey(a).args(), &id)
		if err != nil {
			return err
		}
		if !there || t.purged == purgedAtOnce {
			continue
		}
		n, err := t.deleteRows(id, storage.MaxID, purgedAtOnce-t.purged)
		if err != nil {
			return err
		}
		if t.purged += n; t.purged == purgedAtOnce {
			continue
		}
		if _, err := t.exec(deleteArchive, id); err != nil {
			return err
		}
	}
	return nil
}

// purge deletes what there is of removed archives, with accounts or without, at most limit
// rows by one transaction, which others wait for, and returns how many; limit if there may
// be more. Nothing is appended to them any more: whoever appends holds a lock on the archive
// before its owner, or its name, is gone.
func (s *Store) purge(ctx context.Context, limit int) (n int, err error) {
	const op = "delete removed archives"
	var archives []int64
	if err := s.readers.SelectContext(ctx, &archives, s.readers.Rebind(selectAbandoned(&s.dialect)), limit); err != nil {
		return 0, s.dialect.wrap(op, err)
	}
	if len(archives) == 0 {
		return 0, nil
	}
	deleted := 0 // as in ExpireRows
	if err := s.write(ctx, op, func(t *tx) error {
		deleted = 0
		for _, archive := range archives {
			n, err := t.deleteRows(archive, storage.MaxID, limit-deleted)
			if err != nil {
				return err
			}
			if deleted += n; deleted == limit {
				return nil
			}
			if _, err := t.exec(deleteArchive, archive); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return 0, err
	}
	if len(archives) == limit {
		return limit, nil
	}
	return deleted, nil
}
