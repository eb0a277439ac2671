package wire

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/storage/sql"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// openStore opens the database that the configuration names, for this process
// alone. The caller holds the lock of the data folder; that of the database is
// against servers and commands whose data folder is another one.
func openStore(ctx context.Context, c *config.Config, watch observe.Storage, log *zap.Logger) (storage.Store, error) {
	o, err := storeOptions(c)
	if err != nil {
		return nil, err
	}
	return open(ctx, o, watch, log)
}

func open(ctx context.Context, o sql.Options, watch observe.Storage, log *zap.Logger) (storage.Store, error) {
	o.Observe, o.Exclusive = watch, true
	s, err := sql.New(ctx, o, log.Named("storage"))
	if err != nil {
		return nil, err
	}
	return s, nil
}

func storeOptions(c *config.Config) (sql.Options, error) {
	switch c.Storage.Driver {
	case config.DriverSQLite:
		return sql.Options{Driver: sql.SQLite, Path: c.Storage.DSN}, nil
	case config.DriverPostgres:
		return sql.Options{Driver: sql.Postgres, DSN: c.Storage.DSN}, nil
	}
	return sql.Options{}, fmt.Errorf("storage.driver: there is no %q", c.Storage.Driver) // config refuses it
}

// lost returns a channel that gets an error if another process takes the
// database; nil for a store that is nobody else's.
func lost(store storage.Store) <-chan error {
	if s, ok := store.(interface{ Lost() <-chan error }); ok {
		return s.Lost()
	}
	return nil
}

// failed returns a channel that is closed when the store stops writing by
// itself; nil for one that never does.
func failed(store storage.Store) <-chan struct{} {
	if s, ok := store.(interface{ Stopped() <-chan struct{} }); ok {
		return s.Stopped()
	}
	return nil
}
