package wire

import (
	"context"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/adminapi"
	"github.com/hexmpp/hexmpp/adapters/certs"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/ports/admin"
)

// Admin is the admin socket, and what answers on it.
var Admin = fx.Module("admin", fx.Provide(newAdminPort, newSocket))

// adminPort joins what the kernel can tell and what others can do.
type adminPort struct {
	*kernel
	certs *certs.Store
	procs *processes
	log   *zap.Logger
}

var (
	_ admin.Users  = (*adminPort)(nil)
	_ admin.Server = (*adminPort)(nil)
	_ admin.Calls  = (*adminPort)(nil)
)

func newAdminPort(k *kernel, c *certs.Store, procs *processes, log *zap.Logger) *adminPort {
	return &adminPort{k, c, procs, log}
}

// Reload implements admin.Server: certificates, and options of what runs in processes of its own.
func (a *adminPort) Reload(ctx context.Context) error {
	if err := a.certs.Reload(); err != nil {
		return err
	}
	a.log.Info("certificates were read again")
	if a.procs.host == nil {
		return nil
	}
	names, err := a.procs.host.ReloadChanged(ctx)
	if len(names) > 0 {
		a.log.Info("plugins whose options have changed were reloaded", zap.Strings("plugins", names))
	}
	return err
}

func newSocket(c *config.Config, a *adminPort, procs *processes, log *zap.Logger) (*adminapi.Server, error) {
	socket, err := adminapi.SocketPath(c.Data)
	if err != nil {
		return nil, err
	}
	d := adminapi.Deps{Users: a, Server: a, Calls: a, Log: log.Named("admin")}
	if procs.host != nil {
		d.Plugins = procs.host
	}
	return adminapi.New(adminapi.Options{Socket: socket}, d)
}
