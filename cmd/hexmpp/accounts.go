package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/adminapi"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/cmd/internal/datadir"
	"github.com/hexmpp/hexmpp/cmd/internal/wire"
	"github.com/hexmpp/hexmpp/ports/admin"
)

// How long a command waits for a server that starts or stops at this moment,
// and how often it looks.
const (
	busyTime  = 20 * time.Second
	busyRetry = 20 * time.Millisecond
)

// A command on accounts either makes the database that it needs, or wants one
// that is there: whoever lists accounts in the wrong folder is not helped by an
// empty list.
const (
	makes = true
	wants = false
)

// withUsers calls do with the accounts: those of the running server if there
// is one, which answers on the admin socket; else it opens the storage itself,
// under the lock of the data folder. A server that is starting or stopping
// holds the lock and does not answer: then both are tried again. do may be
// called again if it failed with adminapi.ErrNotRunning. create is makes or wants.
func withUsers(ctx context.Context, cfg *config.Config, create bool, do func(admin.Users) error) error {
	socket, err := adminapi.SocketPath(cfg.Data)
	if err != nil {
		return err
	}
	client := adminapi.NewClient(socket)
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	tick := time.NewTicker(busyRetry)
	defer tick.Stop()
	for {
		err := do(client)
		if !errors.Is(err, adminapi.ErrNotRunning) {
			return err
		}
		var held *datadir.Held
		if err = withStorage(ctx, cfg, create, do); !errors.As(err, &held) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// withStorage calls do with the accounts in the storage; the error is a
// *datadir.Held if a server has it.
func withStorage(ctx context.Context, cfg *config.Config, create bool, do func(admin.Users) error) (err error) {
	if _, err := os.Stat(cfg.Data); !create && errors.Is(err, fs.ErrNotExist) {
		return noData(cfg, cfg.Data)
	}
	lock, err := datadir.Acquire(ctx, cfg.Data, datadir.User)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	users, closeUsers, err := wire.OpenUsers(ctx, cfg, create, zap.NewNop())
	if errors.Is(err, wire.ErrNoData) {
		return noData(cfg, wire.Database(cfg))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeUsers()) }()
	return do(users)
}

// noData says what to do where no server has ever run.
func noData(cfg *config.Config, where string) error {
	if cfg.File == "" {
		return fmt.Errorf("there is no hexmpp data in %s: run this in the folder where the server was started, or name its configuration with --config", where)
	}
	return fmt.Errorf("there is no hexmpp data in %s: is %s the right configuration? hexmpp serve and hexmpp user add make what is missing", where, cfg.File)
}

// withServer calls do with the running server.
func withServer(cfg *config.Config, do func(*adminapi.Client) error) error {
	socket, err := adminapi.SocketPath(cfg.Data)
	if err != nil {
		return err
	}
	client := adminapi.NewClient(socket)
	err = do(client)
	if errors.Is(err, adminapi.ErrNotRunning) {
		return errors.New("no server is running on the data folder " + cfg.Data + ": start it with hexmpp serve, or name its configuration with --config")
	}
	return err
}
