package wire

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/auth/local"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Auth is the source of accounts.
var Auth = fx.Module("auth", fx.Provide(newAuth))

func newAuth(store storage.Store, log *zap.Logger) (*local.Source, error) {
	return local.New(local.Options{}, local.Deps{Accounts: store, Secrets: store, Log: log.Named("auth")})
}

// lookForOthers warns of accounts that nobody can log in to, since their domain
// is not hosted (any more).
func (p *parts) lookForOthers(ctx context.Context) error {
	s, ok := p.Store.(interface {
		Domains(context.Context) (map[string]int, error)
	})
	if !ok {
		return nil
	}
	all, err := s.Domains(ctx)
	if err != nil {
		return fmt.Errorf("look for accounts of other domains: %w", err)
	}
	for _, domain := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(p.Config.Domains, domain) {
			p.Log.Warn("there are accounts of a domain that is not hosted: they are kept, and nobody can log in to them",
				zap.String("domain", domain), zap.Int("accounts", all[domain]), zap.String("fix", "add it to the key domains"))
		}
	}
	return nil
}

// firstAccount helps whoever starts a server that has no account. Without a
// configuration file it makes one and prints its password, this one time.
func (p *parts) firstAccount(ctx context.Context) error {
	for _, domain := range p.Config.Domains {
		some, err := p.Auth.List(ctx, domain, "", 1)
		if err != nil {
			return fmt.Errorf("look for accounts: %w", err)
		}
		if len(some) > 0 {
			return nil
		}
	}
	first, err := jid.New("admin", p.Config.Domains[0], "")
	if err != nil {
		return err
	}
	if p.Config.File != "" {
		p.Log.Info(fmt.Sprintf("there is no account yet; make one with: hexmpp user add %s --config %s", first, p.Config.File))
		return nil
	}
	password := rand.Text()
	if err := p.Auth.Create(ctx, first, password); err != nil {
		return fmt.Errorf("first account: %w", err)
	}
	_, err = fmt.Fprintf(p.Options.Stdout, `
There was no account, so here is a first one:

    address   %s
    password  %s
%s
The password is shown this once. Change it with: hexmpp user passwd %s

`, first, password, p.chatLine(), first)
	return err
}
