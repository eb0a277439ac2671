package sql

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"go.uber.org/zap"
)

// migrate brings the schema to the version of this binary, under a lock that
// keeps other processes out. A database that a newer binary has migrated is
// refused: nobody knows what this one would break in it. With existing, one that
// has no schema at all is ErrMissing.
func migrate(ctx context.Context, d dialect, existing bool, log *zap.Logger) (err error) {
	db, err := d.openSchema(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return migrateOn(ctx, d, db, existing, log)
}

func migrateOn(ctx context.Context, d dialect, db *sqlx.DB, existing bool, log *zap.Logger) (err error) {
	unlock, err := d.lockSchema(ctx)
	if err != nil {
		return fmt.Errorf("lock the schema: %w", err)
	}
	defer func() {
		if e := unlock(); e != nil && err == nil {
			err = fmt.Errorf("unlock the schema: %w", e)
		}
	}()
	p, err := goose.NewProvider(d.goose, db.DB, d.migrations,
		goose.WithTableName("schema_version"),
		goose.WithLogger(goose.NopLogger()),
		goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the schema: %w", err)
	}
	if has == 0 && existing {
		return ErrMissing
	}
	if has > knows {
		return fmt.Errorf("the database has schema version %d, this hexmpp knows versions up to %d: "+
			"run the newer hexmpp, or restore the backup from before its first start", has, knows)
	}
	if has == knows {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the schema from version %d to %d: %w", has, knows, err)
	}
	log.Info("database schema migrated", zap.String("database", d.where), zap.Int64("from", has), zap.Int64("to", knows))
	return nil
}
