package sql

import (
	"context"
	"crypto/rand"
	dbsql "database/sql"
	"errors"

	"github.com/hexmpp/hexmpp/ports/storage"
)

const (
	selectSecret = `SELECT value FROM secrets WHERE name = ?`
	insertSecret = `INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`
)

// Secret implements storage.Secrets.
func (s *Store) Secret(ctx context.Context, name string) ([]byte, error) {
	op := "secret " + name
	err := storage.CheckName(name)
	if err == nil {
		err = s.read(ctx)
	}
	if err != nil {
		return nil, s.dialect.wrap(op, err)
	}
	var secret []byte
	err = s.queries.secret.QueryRowContext(ctx, name).Scan(&secret)
	if err == nil {
		return secret, nil
	}
	if !errors.Is(err, dbsql.ErrNoRows) {
		return nil, s.dialect.wrap(op, err)
	}
	// Everybody who found none offers one; who was first has made it.
	offer := make([]byte, 32)
	rand.Read(offer) // never fails: crypto/rand ends the process instead
	var kept []byte  // not secret: the job may still run when this call has given up
	err = s.write(ctx, op, func(t *tx) error {
		if _, err := t.exec(insertSecret, name, offer); err != nil {
			return err
		}
		_, err := t.first(selectSecret, []any{name}, &kept)
		return err
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}
