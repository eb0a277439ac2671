package sql

import (
	"github.com/lib/pq"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// The rows of a whole group of jobs are appended by a few statements where each
// is a round trip.
const (
	keys    = `unnest(CAST(? AS text[]), CAST(? AS text[]), CAST(? AS text[])) WITH ORDINALITY AS k (domain, local, space, n)`
	ownKeys = `unnest(CAST(? AS text[]), CAST(? AS text[])) WITH ORDINALITY AS k (space, name, n)`

	// A statement of its own, so that the next one sees what was committed by
	// whoever had the locks. All nodes lock in the same order.
	lockArchives = `
		SELECT k.n, a.id FROM ` + keys + `
		JOIN accounts u ON u.domain = k.domain AND u.local = k.local JOIN archives a ON a.owner = u.id AND a.space = k.space
		ORDER BY a.id FOR NO KEY UPDATE OF a`
	lockOwnArchives = `
		SELECT k.n, a.id FROM ` + ownKeys + `
		JOIN archives a ON a.space = k.space AND a.name = k.name
		ORDER BY a.id FOR NO KEY UPDATE OF a`
	insertArchives = `
		INSERT INTO archives (owner, space) SELECT u.id, k.space FROM ` + keys + `
		JOIN accounts u ON u.domain = k.domain AND u.local = k.local
		ORDER BY u.id FOR NO KEY UPDATE OF u
		ON CONFLICT (owner, space) DO NOTHING`
	insertOwnArchives = `
		INSERT INTO archives (space, name) SELECT k.space, k.name FROM ` + ownKeys + `
		ORDER BY k.space, k.name
		ON CONFLICT (space, name) WHERE name IS NOT NULL DO NOTHING`
	insertRows = `
		INSERT INTO archived_messages (archive, id, stamp, contact, resource, resource_hash, xml)
		SELECT * FROM unnest(CAST(? AS bigint[]), CAST(? AS bigint[]), CAST(? AS bigint[]),
			CAST(? AS text[]), CAST(? AS text[]), CAST(? AS bigint[]), CAST(? AS text[]))
			AS r (archive, id, stamp, contact, resource, resource_hash, xml)
		WHERE NOT EXISTS (SELECT 1 FROM archived_messages m WHERE m.archive = r.archive AND m.id >= r.id)`
)

// appendRows appends the rows of many jobs. ok is false if one of them came too
// late: then the transaction has to begin anew, and each job appends its own.
func (t *tx) appendRows(rows []storage.Row) (ok bool, err error) {
	archives := make(map[archiveKey]int64)
	var accounts, own []archiveKey
	for i := range rows {
		k := archiveKey(rows[i].Archive())
		if _, twice := archives[k]; twice {
			continue
		}
		archives[k] = 0
		if k.Own {
			own = append(own, k)
		} else {
			accounts = append(accounts, k)
		}
	}
	if _, err := t.findArchives(accounts, archives, lockArchives, insertArchives); err != nil {
		return false, err
	}
	if missing, err := t.findArchives(own, archives, lockOwnArchives, insertOwnArchives); err != nil || len(missing) > 0 {
		return false, err // removed by another node, which had made it meanwhile
	}
	var c rowColumns
	if !c.add(rows, archives) {
		return false, nil
	}
	if len(c.id) == 0 { // all of accounts that are not there
		return true, nil
	}
	n, err := t.exec(insertRows, pq.Array(c.archive), pq.Array(c.id), pq.Array(c.stamp),
		pq.Array(c.contact), pq.Array(c.resource), pq.Array(c.resourceHash), pq.Array(c.xml))
	return err == nil && n == int64(len(c.id)), err
}

// findArchives locks archives, makes those that aren't there, and enters their ids.
// missing are those that can't be made.
func (t *tx) findArchives(list []archiveKey, ids map[archiveKey]int64, lock, insert string) (missing []archiveKey, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	if missing, err = t.lockArchives(lock, list, ids); err != nil || len(missing) == 0 {
		return nil, err
	}
	if _, err := t.exec(insert, keyColumns(missing)...); err != nil {
		return nil, err
	}
	// Also those that another node has made meanwhile.
	return t.lockArchives(lock, missing, ids)
}

// lockArchives locks archives and enters their ids; missing are those that
// aren't there.
func (t *tx) lockArchives(lock string, list []archiveKey, ids map[archiveKey]int64) (missing []archiveKey, err error) {
	var n, id int64
	err = t.each(lock, keyColumns(list), func() { ids[list[n-1]] = id }, &n, &id)
	for _, k := range list {
		if ids[k] == 0 {
			missing = append(missing, k)
		}
	}
	return missing, err
}

// keyColumns are the parameters of keys, or of ownKeys.
func keyColumns(list []archiveKey) (columns []any) {
	parts := make([][]any, len(list))
	for i, k := range list {
		parts[i] = k.args()
	}
	for i := range parts[0] {
		column := make([]string, len(list))
		for n, p := range parts {
			column[n] = p[i].(string)
		}
		columns = append(columns, pq.Array(column))
	}
	return columns
}

// rowColumns are rows by columns.
type rowColumns struct {
	archive, id, stamp, resourceHash []int64
	contact, resource, xml           []string
}

// add leaves out rows of archives that are not there. It is false if rows of one
// archive are not in order.
func (c *rowColumns) add(rows []storage.Row, archives map[archiveKey]int64) bool {
	last := make(map[int64]uint64, len(archives))
	for i := range rows {
		r := &rows[i]
		archive := archives[archiveKey(r.Archive())]
		if archive == 0 {
			continue
		}
		if r.ID <= last[archive] {
			return false
		}
		last[archive] = r.ID
		resource := r.With.Resource()
		c.archive, c.id, c.stamp = append(c.archive, archive), append(c.id, int64(r.ID)), append(c.stamp, r.Stamp.UnixMicro())
		c.contact, c.resource = append(c.contact, r.With.Bare().String()), append(c.resource, resource)
		c.resourceHash, c.xml = append(c.resourceHash, resourceHash(resource)), append(c.xml, r.XML)
	}
	return true
}
