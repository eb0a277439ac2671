package sql

import (
	"context"
	dbsql "database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
	"go.uber.org/zap"
)

//go:embed migrations/postgres/*.sql
var postgresMigrations embed.FS

const (
	// schemaLock is the key of the advisory lock that is held during a
	// migration. It means nothing but must never change.
	schemaLock = 0x6865786d7070

	// maxIdle is how long a connection for reading is kept without use.
	maxIdle = 5 * time.Minute

	// maxTransaction is how long the server lets a transaction of ours wait
	// for its next statement: it frees the locks of a process that hangs.
	maxTransaction = time.Minute
)

// newPostgres returns the dialect for the database that o.DSN names. Nothing
// of the DSN is in errors, since it may have a password.
//
// Many nodes may share the database. A transaction sees what was committed
// before each of its statements, and what must not change meanwhile is locked
// by its row. Two nodes that lock in opposite order get a deadlock, which the
// server ends by failing one; its jobs are then run each alone.
func newPostgres(o Options, log *zap.Logger) (dialect, error) {
	config, err := postgresConfig(o)
	if err != nil {
		return dialect{}, fmt.Errorf("storage/sql: DSN of PostgreSQL: %w", err)
	}
	migrations, err := fs.Sub(postgresMigrations, "migrations/postgres")
	if err != nil {
		return dialect{}, fmt.Errorf("storage/sql: %w", err)
	}
	p := &postgres{options: o, config: config, log: log, gate: new(gate)}
	const revision = "nextval('entry_revisions')"
	return dialect{
		name:       "PostgreSQL",
		where:      databaseName(config),
		goose:      goose.DialectPostgres,
		migrations: migrations,
		begin:      "BEGIN",
		lockRow:    " FOR NO KEY UPDATE", // which the foreign keys of other writers don't wait for
		// The second one is drawn with the old row locked, so that it is
		// greater than the old row's.
		revisions:   revisions{inserted: revision, replaced: revision},
		useIndex:    func(string) string { return "" },
		remote:      true,
		openWriter:  p.openWriter,
		openReaders: p.openReaders,
		openSchema:  p.openSchema,
		claim:       p.claim,
		lockSchema:  p.lockSchema,
		diagnose:    diagnosePostgres,
		result:      resultOfPostgres,
	}, nil
}

func postgresConfig(o Options) (pq.Config, error) {
	config, err := pq.NewConfig(o.DSN)
	if err != nil {
		// The error repeats what it could not read, which may be the password.
		return config, errors.New(`it can't be read: it must be a URL, with special characters of the password percent-encoded, ` +
			`or name=value pairs, with values in '' that have spaces; and the environment variables PG... must be right`)
	}
	switch config.SSLMode {
	case pq.SSLModeDisable, pq.SSLModeRequire, pq.SSLModeVerifyCA, pq.SSLModeVerifyFull:
	case "":
		return config, errors.New("over TCP sslmode must be named: disable, require, verify-ca or verify-full")
	default:
		return config, fmt.Errorf("sslmode=%s would fall back to a connection without TLS: use disable, require, verify-ca or verify-full", config.SSLMode)
	}
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = o.ConnectTimeout
	}
	if config.ApplicationName == "" {
		config.ApplicationName = "hexmpp" // in pg_stat_activity
	}
	config.BinaryParameters = true // bytes needn't be written in hex
	return config, nil
}

// databaseName is how messages name a database: without user and password.
func databaseName(c pq.Config) string {
	place := func(host string, addr netip.Addr, port uint16) string {
		if addr.IsValid() {
			host = addr.String()
		}
		if filepath.IsAbs(host) {
			return filepath.Join(host, ".s.PGSQL."+strconv.Itoa(int(port)))
		}
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	places := []string{place(c.Host, c.Hostaddr, c.Port)}
	for _, m := range c.Multi {
		places = append(places, place(m.Host, m.Hostaddr, m.Port))
	}
	database := c.Database
	if database == "" {
		database = c.User // as the server has it
	}
	return strings.Join(places, ",") + "/" + database
}

// postgres opens connections to one database.
type postgres struct {
	options Options
	config  pq.Config
	log     *zap.Logger
	gate    *gate
}

// open opens a pool of at most n connections with these settings of the
// session, over those of the DSN. A call may take as long as a statement may;
// 0 is no limit.
func (p *postgres) open(ctx context.Context, n int, statement time.Duration, settings map[string]string) (*sqlx.DB, error) {
	config := p.config.Clone()
	maps.Copy(config.Runtime, settings)
	config.Runtime["statement_timeout"] = strconv.FormatInt(statement.Milliseconds(), 10)
	config.Runtime["idle_in_transaction_session_timeout"] = strconv.FormatInt(maxTransaction.Milliseconds(), 10)
	config.Runtime["default_transaction_isolation"] = "read committed"
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, err
	}
	var call time.Duration
	if statement > 0 {
		call = statement + p.options.ConnectTimeout // first the server may say that it took too long
	}
	connector.Dialer(&dialer{call: call})
	db := sqlx.NewDb(dbsql.OpenDB(&gatedConnector{connector, p.gate}), "postgres")
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxIdleTime(maxIdle)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func (p *postgres) openReaders(ctx context.Context) (*sqlx.DB, error) {
	return p.open(ctx, p.options.Readers, p.options.StatementTimeout, map[string]string{"default_transaction_read_only": "on"})
}

// openSchema opens a connection without limit of time, since a migration may
// rewrite big tables.
func (p *postgres) openSchema(ctx context.Context) (*sqlx.DB, error) {
	db, err := p.open(ctx, 1, 0, nil)
	if err != nil {
		return nil, err
	}
	var encoding string
	if err = db.GetContext(ctx, &encoding, "SHOW server_encoding"); err == nil && encoding != "UTF8" {
		err = fmt.Errorf("the encoding of the database is %s, it must be UTF8: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// openWriter makes sure that a COMMIT waits for the disk, whatever the server
// is set to; settings that wait for more than that are left as they are.
func (p *postgres) openWriter(ctx context.Context) (*sqlx.DB, error) {
	db, err := p.open(ctx, 1, p.options.StatementTimeout, nil)
	if err != nil {
		return nil, err
	}
	var commit, fsync string
	err = db.GetContext(ctx, &commit, "SHOW synchronous_commit")
	if err == nil {
		err = db.GetContext(ctx, &fsync, "SHOW fsync")
	}
	if err != nil || commit == "off" {
		db.Close()
	}
	if err != nil {
		return nil, err
	}
	if fsync == "off" {
		p.log.Warn("PostgreSQL runs with fsync = off: a crash of its machine can destroy the database", zap.String("database", databaseName(p.config)))
	}
	if commit == "off" {
		return p.open(ctx, 1, p.options.StatementTimeout, map[string]string{"synchronous_commit": "on"})
	}
	return db, nil
}

// lockSchema takes an advisory lock on a connection of its own, whose end is
// the end of the lock, whatever happens.
func (p *postgres) lockSchema(ctx context.Context) (func() error, error) {
	db, err := p.open(ctx, 1, 0, map[string]string{"lock_timeout": strconv.FormatInt(p.options.BusyTimeout.Milliseconds(), 10)})
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, "SELECT pg_advisory_lock($1)", schemaLock); err != nil {
		db.Close()
		return nil, err
	}
	return db.Close, nil
}
