package sql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// retryConnect is how long no connection is tried after one that failed, so
// that a lost database costs a look at the clock for each call, not a dial.
const retryConnect = 250 * time.Millisecond

// gate refuses to connect shortly after a failure. All pools of a store share
// one.
type gate struct {
	mu     sync.Mutex // guards below
	failed error      // the last time; nil: it worked
	at     time.Time
}

func (g *gate) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed != nil && time.Since(g.at) < retryConnect {
		return fmt.Errorf("not tried again so soon: %w", g.failed)
	}
	return nil
}

func (g *gate) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed, g.at = err, time.Now()
}

// gatedConnector connects through a gate.
type gatedConnector struct {
	*pq.Connector
	gate *gate
}

// Connect implements driver.Connector.
func (c *gatedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.gate.check(); err != nil {
		return nil, err
	}
	conn, err := c.Connector.Connect(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, err // it was the caller who gave up
	}
	c.gate.note(err)
	return conn, err
}

// dialer makes network connections on which no call waits for ever: a server
// that vanished without a word is noticed after the time call, or by the
// probes of TCP.
type dialer struct {
	call time.Duration // 0: no limit
}

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4}

// DialContext implements pq.DialerContext.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	c, err := dialer.DialContext(ctx, network, address)
	if err != nil || d.call == 0 {
		return c, err
	}
	return &timedConn{Conn: c, call: d.call}, nil
}

// Dial and DialTimeout implement pq.Dialer, which asks for them but doesn't
// call them.

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// timedConn gives each call a deadline: the driver writes a request and reads
// its answer, and nothing else.
type timedConn struct {
	net.Conn
	call  time.Duration
	outer atomic.Bool // the driver has set a deadline of its own, for the login
}

// SetDeadline implements net.Conn. Without a deadline of the driver ours count.
func (c *timedConn) SetDeadline(t time.Time) error {
	c.outer.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

// Write implements net.Conn.
func (c *timedConn) Write(b []byte) (int, error) {
	if !c.outer.Load() {
		if err := c.Conn.SetDeadline(time.Now().Add(c.call)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}
