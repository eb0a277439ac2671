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

// openStore opens the database that the configuration names. The caller holds
// the lock of the data folder.
func openStore(ctx context.Context, c *config.Config, watch observe.Storage, log *zap.Logger) (storage.Store, error) {
	switch c.Storage.Driver {
	case config.DriverSQLite:
		return sql.New(ctx, sql.Options{Driver: sql.SQLite, Path: c.Storage.DSN, Observe: watch}, log.Named("storage"))
	case config.DriverPostgres:
		return sql.New(ctx, sql.Options{Driver: sql.Postgres, DSN: c.Storage.DSN, Observe: watch}, log.Named("storage"))
	}
	return nil, fmt.Errorf("storage.driver: there is no %q", c.Storage.Driver) // config refuses it
}

// failed returns a channel that is closed when the store stops writing by
// itself; nil for one that never does.
func failed(store storage.Store) <-chan struct{} {
	if s, ok := store.(interface{ Stopped() <-chan struct{} }); ok {
		return s.Stopped()
	}
	return nil
}
