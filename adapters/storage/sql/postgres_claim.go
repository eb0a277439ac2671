package sql

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap"
)

const (
	// serverLock is the upper half of the key of the advisory lock that is the
	// claim; the lower half is the schema. It must never change.
	serverLock = 0x68657865

	// claimTime is how long New waits for a claim that another process has: the
	// end of one that was killed may not have come to the server yet.
	claimTime = 5 * time.Second

	// claimRetry is how often it is tried meanwhile.
	claimRetry = 100 * time.Millisecond

	// claimCheck is how often a connection that holds a claim is looked at.
	claimCheck = 2 * time.Second

	// claimCall is how long a statement about the claim may take.
	claimCall = 10 * time.Second
)

// keepAliveOfServer has PostgreSQL notice within a minute that our machine is
// gone; by default the claim would stay for two hours.
var keepAliveOfServer = map[string]string{"tcp_keepalives_idle": "20", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "4"}

const (
	tryClaim = `SELECT pg_try_advisory_lock($1::bigint << 32 | (SELECT oid::bigint FROM pg_namespace WHERE nspname = current_schema()))`

	// A backend is known by its process id and its start, for ids come again.
	ownBackend = `SELECT pid, backend_start::text AS start FROM pg_stat_activity WHERE pid = pg_backend_pid()`

	// Those of another user have neither start nor address for us.
	claimHolder = `SELECT l.pid, coalesce(a.backend_start::text, '') AS start, coalesce(host(a.client_addr), 'this machine of PostgreSQL') AS address
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid::bigint = $1
AND l.objid = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`
)

// errLingers: the next try may do.
var errLingers = errors.New("the lock of the database is held by a connection that is ending")

// backend is a session of PostgreSQL, as PostgreSQL tells of it.
type backend struct {
	PID     int
	Start   string
	Address string
}

// postgresClaim holds an advisory lock on a connection of its own, and takes it
// again when that breaks. Meanwhile the store works on: each transaction is
// right by itself, whoever else writes.
type postgresClaim struct {
	db  *sqlx.DB
	log *zap.Logger

	lost   chan error // one place
	cancel context.CancelFunc
	ended  sync.WaitGroup

	// Of New, then of the goroutine:
	conn *sqlx.Conn // nil: to be opened
	own  backend    // that has, or had, the lock
}

func (p *postgres) claim(ctx context.Context) (_ *claim, err error) {
	db, err := p.open(ctx, 1, claimCall, keepAliveOfServer)
	if err != nil {
		return nil, err
	}
	c := &postgresClaim{db: db, log: p.log, lost: make(chan error, 1)}
	if err := c.await(ctx); err != nil {
		c.drop()
		return nil, errors.Join(err, db.Close())
	}
	watching, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.ended.Go(func() { c.watch(watching) })
	return &claim{lost: c.lost, release: c.release}, nil
}

// await takes the lock, and waits some time for one that is held.
func (c *postgresClaim) await(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	tick := time.NewTicker(claimRetry)
	defer tick.Stop()
	for {
		err := c.take(ctx)
		if !errors.Is(err, ErrInUse) && !errors.Is(err, errLingers) {
			return err
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			return err
		}
	}
}

// take takes the lock on a connection, a new one if need be; the error wraps
// ErrInUse if somebody else has it.
func (c *postgresClaim) take(ctx context.Context) (err error) {
	if c.conn == nil {
		if c.conn, err = c.db.Connx(ctx); err != nil {
			c.conn = nil
			return err
		}
	}
	var got bool
	if err := c.conn.GetContext(ctx, &got, tryClaim, serverLock); err != nil {
		return err
	}
	if got {
		return c.conn.GetContext(ctx, &c.own, ownBackend)
	}
	var holders []backend
	if err := c.conn.SelectContext(ctx, &holders, claimHolder, serverLock); err != nil {
		return err
	}
	if len(holders) == 0 {
		return errLingers
	}
	h := holders[0]
	if h.PID == c.own.PID && h.Start == c.own.Start {
		// Our connection before, whose end PostgreSQL hasn't noticed.
		var ended bool
		if err := c.conn.GetContext(ctx, &ended, "SELECT pg_terminate_backend($1)", h.PID); err != nil {
			return err
		}
		return errLingers
	}
	return fmt.Errorf("%w; it is connected from %s, since %s", ErrInUse, h.Address, h.Start)
}

// watch looks after the lock until ctx ends or another process has it.
func (c *postgresClaim) watch(ctx context.Context) {
	tick := time.NewTicker(claimCheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if c.conn != nil {
			if c.conn.PingContext(ctx) == nil {
				continue
			}
			c.drop()
		}
		switch err := c.take(ctx); {
		case err == nil:
			c.log.Info("the lock of the database was lost with its connection, and is taken again")
		case errors.Is(err, ErrInUse):
			c.lost <- err
			return
		case ctx.Err() == nil:
			// The writer tells that the database is away; here is nothing to add.
			c.log.Debug("the lock of the database is not held", zap.Error(err))
			c.drop()
		}
	}
}

// drop closes the connection for good.
func (c *postgresClaim) drop() {
	if c.conn == nil {
		return
	}
	closeForGood(c.conn)
	c.conn = nil
}

func (c *postgresClaim) release() error {
	c.cancel()
	c.ended.Wait()
	c.drop()
	return c.db.Close()
}
