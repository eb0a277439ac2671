package sql

import (
	"math"
	"strings"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// archiveQuery tells the statements that read archives apart. Each is prepared
// by itself, so that its plan does not depend on what a filter leaves open.
type archiveQuery struct {
	own       bool // of an archive that is an extension's own
	with      withWhom
	timed     bool // by stamp
	byID      bool // by a list of IDs, and nothing else
	backwards bool
	count     bool // or, byID, everything but the messages
}

type withWhom uint8

const (
	withAnybody withWhom = iota
	withContact
	withResource
)

// archiveQueries are all that there are.
func archiveQueries() (all []archiveQuery) {
	for _, own := range []bool{false, true} {
		for _, q := range queriesOfOne() {
			q.own = own
			all = append(all, q)
		}
	}
	return all
}

func queriesOfOne() (all []archiveQuery) {
	for with := withAnybody; with <= withResource; with++ {
		for _, timed := range []bool{false, true} {
			all = append(all, archiveQuery{with: with, timed: timed}, archiveQuery{with: with, timed: timed, backwards: true},
				archiveQuery{with: with, timed: timed, count: true})
		}
	}
	return append(all, archiveQuery{byID: true}, archiveQuery{byID: true, backwards: true}, archiveQuery{byID: true, count: true})
}

// idsAtOnce is the number of IDs that one statement looks up.
const idsAtOnce = 64

// text returns the statement, which takes what args returns. The index is named
// where that is possible: a guess by statistics may be a walk through everything.
func (q archiveQuery) text(d *dialect) string {
	index := `archived_messages_id`
	if q.with >= withContact {
		index = `archived_messages_contact`
	}
	where := ` FROM archived_messages` + d.useIndex(index) + `
		WHERE archive = (SELECT a.id FROM archives a`
	if q.own {
		where += ` WHERE a.space = ? AND a.name = ?)`
	} else {
		where += ` JOIN accounts u ON u.id = a.owner WHERE u.domain = ? AND u.local = ? AND a.space = ?)`
	}
	if q.byID {
		where += ` AND id IN (?` + strings.Repeat(`, ?`, idsAtOnce-1) + `)`
	} else {
		where += ` AND id > ? AND id <= ?`
	}
	if q.with >= withContact {
		where += ` AND contact = ?`
	}
	if q.with == withResource {
		where += ` AND resource_hash = ? AND resource = ?`
	}
	if q.timed {
		where += ` AND stamp >= ? AND stamp <= ?`
	}
	if q.count && !q.byID {
		return `SELECT count(*) FROM (SELECT 1` + where + ` LIMIT ?) AS selected`
	}
	xml, order := `xml`, ` ORDER BY id`
	if q.count {
		xml = `''`
	}
	if q.backwards {
		order += ` DESC`
	}
	return `SELECT id, stamp, contact, resource, ` + xml + where + order + ` LIMIT ?`
}

// query returns what a filter needs, but for its IDs.
func (a archiveKey) query(f *storage.Filter) archiveQuery {
	q := archiveQuery{own: a.Own, timed: !f.Start.IsZero() || !f.End.IsZero()}
	switch {
	case f.With.IsZero():
	case f.With.IsBare():
		q.with = withContact
	default:
		q.with = withResource
	}
	return q
}

// args returns the parameters of a statement that is not byID.
func (q archiveQuery) args(a archiveKey, f *storage.Filter, limit int) []any {
	last := uint64(storage.MaxID)
	if f.Before != 0 {
		last = min(last, f.Before-1)
	}
	args := append(a.args(), int64(min(f.After, storage.MaxID)), int64(last))
	if q.with >= withContact {
		args = append(args, f.With.Bare().String())
	}
	if q.with == withResource {
		args = append(args, resourceHash(f.With.Resource()), f.With.Resource())
	}
	if q.timed {
		start, end := int64(math.MinInt64), int64(math.MaxInt64)
		if !f.Start.IsZero() {
			start = f.Start.UnixMicro()
		}
		if !f.End.IsZero() {
			end = f.End.UnixMicro()
		}
		args = append(args, start, end)
	}
	return append(args, limit)
}

// argsByID returns the parameters of a statement that is byID; at most idsAtOnce
// IDs.
func argsByID(a archiveKey, ids []int64) []any {
	args := a.args()
	for i := range idsAtOnce {
		id := int64(0) // which is none
		if i < len(ids) {
			id = ids[i]
		}
		args = append(args, id)
	}
	return append(args, idsAtOnce)
}

// archiveKey is how statements name an archive. Those of accounts and those of extensions'
// own are not the same.
type archiveKey storage.ArchiveKey

func (a archiveKey) args() []any {
	if a.Own {
		return []any{a.Space, a.Owner.String()}
	}
	return []any{a.Owner.Domain(), a.Owner.Local(), a.Space}
}

// there says whether there can be such an archive.
func (a archiveKey) there() bool { return a.Owner.IsBare() && storage.CheckName(a.Space) == nil }
