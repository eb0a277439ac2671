package wire

import (
	"context"
	"sync"
	"time"

	"go.uber.org/fx"

	"github.com/hexmpp/hexmpp/adapters/auth/local"
	"github.com/hexmpp/hexmpp/adapters/certs"
	"github.com/hexmpp/hexmpp/adapters/cluster/memory"
	"github.com/hexmpp/hexmpp/adapters/metrics"
	"github.com/hexmpp/hexmpp/adapters/sessionfile"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/core/roster"
	"github.com/hexmpp/hexmpp/core/throttle"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// Core is the kernel, and the session registry that it stands on.
var Core = fx.Module("core", fx.Provide(
	func() cluster.Registry { return memory.New() },
	func(c *config.Config) storage.SavedSessions { return sessionfile.New(c.Data) },
	func(c *config.Config) storage.SavedExtensions { return sessionfile.NewExtensions(c.Data) },
	newKernel,
))

// kernel is the kernel, with a Shutdown that may be called twice: by the
// listeners, and, if they never started, at the end.
type kernel struct {
	*core.Kernel
	once sync.Once
	err  error
}

// Shutdown calls the kernel's once.
func (k *kernel) Shutdown(ctx context.Context) error {
	k.once.Do(func() { k.err = k.Kernel.Shutdown(ctx) })
	return k.err
}

func newKernel(o Options, store storage.Store, sp storage.Spool, saved storage.SavedSessions, states storage.SavedExtensions, accounts *local.Source, sessions cluster.Registry, x extensions, certificates *certs.Store, m *metrics.Metrics) (*kernel, error) {
	k, err := core.New(kernelOptions(o.Config, o.Version), core.Ports{
		Credentials:     accounts,
		Verifier:        accounts,
		Accounts:        accounts,
		Store:           store,
		Spool:           sp,
		Saved:           saved,
		SavedExtensions: states,
		Sessions:        sessions,
		Extensions:      x.Registrations,
		Order:           x.Order,
		LoggedIn:        accounts.LoggedIn,
		Certificates:    certificates.Certificate,
		Observe:         m.Kernel(),
		Remote:          m.Remote(),
		Log:             o.Log.Named("core"),
	})
	if err != nil {
		return nil, err
	}
	return &kernel{Kernel: k}, nil
}

func kernelOptions(c *config.Config, version string) core.Options {
	l := c.Limits
	return core.Options{
		Domains:     c.Domains,
		TLSRequired: c.TLS.Required,
		Version:     version,
		Limits: core.Limits{
			StanzaBytes:          l.StanzaBytes,
			StanzaBytesBefore:    l.StanzaBytesUnauthenticated,
			Depth:                l.Depth,
			Attributes:           l.Attributes,
			UnauthenticatedTime:  l.UnauthenticatedTime,
			UnauthenticatedBytes: l.UnauthenticatedBytes,
			SASLAttempts:         l.SASLAttempts,
			BindAttempts:         l.BindAttempts,
			OutboxBytes:          l.OutboxBytes,
			SessionsPerAccount:   l.SessionsPerAccount,
			Unacknowledged:       l.Unacknowledged,
			ResumeTime:           resumeTime(l.ResumeTime),
			PastSessions:         l.Connections,
		},
		RefuseStrangers: c.Privacy.Strangers == config.StrangersRefuse,

		Rosters:  roster.Limits{Items: l.RosterItems, Requests: l.RosterRequests},
		Offline:  offline.Options{Messages: offlineMessages(l.OfflineMessages)},
		Throttle: throttle.Options{Disabled: !l.Rates},
		Rates: throttle.RateOptions{
			Disabled: !l.Rates,
			Bytes:    unlimited(l.BytesPerSecond), BytesBurst: l.BytesBurst,
			Stanzas: unlimited(l.StanzasPerSecond), StanzasBurst: l.StanzasBurst,
			Requests: unlimited(l.SubscriptionRequestsPerHour),
		},
		Extensions: extensionLimits(c),
	}
}

// extensionLimits bound what the kernel keeps in memory for each plugin, inside or not.
func extensionLimits(c *config.Config) map[string]core.ExtensionLimits {
	all := map[string]core.ExtensionLimits{}
	for name, p := range c.Plugins {
		l := p.Limits
		all[name] = core.ExtensionLimits{Memory: int64(l.Kept), Groups: l.Groups, Members: l.Members, GroupMembers: l.GroupMembers}
	}
	return all
}

// unlimited maps the configuration's "no limit" to the kernel's.
func unlimited(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// resumeTime maps the configuration's "never" to the kernel's.
func resumeTime(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// offlineMessages maps the configuration's "none" to the kernel's.
func offlineMessages(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
