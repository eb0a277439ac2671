package sql

import "github.com/hexmpp/hexmpp/ports/storage"

const (
	editOwn = `UPDATE archived_messages SET xml = ?
		WHERE archive = (SELECT a.id FROM archives a WHERE a.space = ? AND a.name = ?) AND id = ?`
	editAccount = `UPDATE archived_messages SET xml = ?
		WHERE archive = (SELECT a.id FROM archives a JOIN accounts u ON u.id = a.owner WHERE u.domain = ? AND u.local = ? AND a.space = ?) AND id = ?`
)

// edit replaces what rows say, if they are there.
func (t *tx) edit(list []storage.Edit) error {
	for i := range list {
		e := &list[i]
		query := editAccount
		if e.Own {
			query = editOwn
		}
		args := append([]any{e.XML}, archiveKey(e.ArchiveKey).args()...)
		if _, err := t.exec(query, append(args, int64(e.ID))...); err != nil {
			return err
		}
	}
	return nil
}
