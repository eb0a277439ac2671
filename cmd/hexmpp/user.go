package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hexmpp/hexmpp/adapters/adminapi"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/cmd/internal/wire"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

type userCmd struct {
	Add    userAddCmd    `cmd:"" help:"Make an account."`
	Passwd userPasswdCmd `cmd:"" help:"Change the password of an account. Clients that are logged in stay so until their connection ends, or the server restarts; behind that they need the new one."`
	Remove userRemoveCmd `cmd:"" help:"Remove an account with all its data, and end its sessions."`
	List   userListCmd   `cmd:"" help:"List accounts."`
	Show   userShowCmd   `cmd:"" help:"Show one account, and its sessions if the server runs."`
}

// accountArg is the account that a command is about.
type accountArg struct {
	configFlag
	JID string `arg:"" name:"address" help:"The account, such as romeo@example.org."`
}

func (a accountArg) load() (*config.Config, jid.JID, error) {
	cfg, err := a.configFlag.load()
	if err != nil {
		return nil, jid.JID{}, err
	}
	user, err := jid.Parse(a.JID)
	if err != nil {
		return nil, jid.JID{}, fmt.Errorf("%q is no account: before the @ it has letters, digits and signs, but no space and none of \" & ' / : < > @, "+
			"and behind it a domain; such as romeo@%s", a.JID, cfg.Domains[0])
	}
	if user.Local() == "" || !user.IsBare() {
		return nil, jid.JID{}, fmt.Errorf("%q is no account: want an address such as romeo@%s", a.JID, cfg.Domains[0])
	}
	if !cfg.Hosts(user) {
		return nil, jid.JID{}, fmt.Errorf("the domain %s is not hosted here: the key domains has %v; is --config the right file?", user.Domain(), cfg.Domains)
	}
	return cfg, user, nil
}

// passwordFlags say where a new password comes from.
type passwordFlags struct {
	Password *string `xor:"password" placeholder:"PW" help:"The password. Others on this machine may see it in the list of processes; without it, it is asked for, or read as one line of standard input."`
	Generate bool    `xor:"password" help:"Make up a password and print it."`
}

// get returns the password, and what to print once it is in use.
func (f passwordFlags) get(e *env) (password, print string, err error) {
	switch {
	case f.Password != nil:
		return *f.Password, "", nil
	case f.Generate:
		password = rand.Text()
		return password, password, nil
	case e.prompt != nil:
		password, err = e.prompt.password()
	default:
		password, err = readLine(e.in)
	}
	return password, "", err
}

type userAddCmd struct {
	accountArg
	passwordFlags
}

func (c *userAddCmd) Run(ctx context.Context, e *env) error {
	return setPassword(ctx, e, c.accountArg, c.passwordFlags, makes, func(u admin.Users, user jid.JID, password string) error {
		err := u.AddUser(ctx, user, password)
		if errors.Is(err, auth.ErrExists) {
			return fmt.Errorf("there is an account %s already; hexmpp user passwd changes its password", user)
		}
		return err
	}, "the account %s was made %s")
}

type userPasswdCmd struct {
	accountArg
	passwordFlags
}

func (c *userPasswdCmd) Run(ctx context.Context, e *env) error {
	return setPassword(ctx, e, c.accountArg, c.passwordFlags, wants, func(u admin.Users, user jid.JID, password string) error {
		return explain(user, u.SetPassword(ctx, user, password))
	}, "the password of %s was changed %s")
}

// setPassword calls set with the password that the flags give, and says done, a
// format for account and place.
func setPassword(ctx context.Context, e *env, a accountArg, f passwordFlags, create bool, set func(admin.Users, jid.JID, string) error, done string) error {
	cfg, user, err := a.load()
	if err != nil {
		return err
	}
	password, print, err := f.get(e)
	if err != nil {
		return err
	}
	var place string
	err = withUsers(ctx, cfg, create, func(u admin.Users) error {
		place = placeOf(u, cfg)
		return set(u, user, password)
	})
	if errors.Is(err, auth.ErrPassword) {
		return errors.New("this password can't be used: it must not be empty, nor longer than 1,023 bytes, nor have control characters, and it must be UTF-8")
	}
	if err != nil {
		return err
	}
	if !create && strings.HasPrefix(place, runningServer) {
		place += "; clients that are logged in stay so"
	}
	// The password alone is on standard output, for scripts.
	fmt.Fprintf(e.err, done+"\n", user, place)
	if print != "" {
		_, err = fmt.Fprintln(e.out, print)
	}
	return err
}

const runningServer = "by the running server, whose data is in "

// placeOf says where what was done is stored.
func placeOf(u admin.Users, cfg *config.Config) string {
	if _, running := u.(*adminapi.Client); running {
		return runningServer + cfg.Data
	}
	return "in " + wire.Database(cfg)
}

type userRemoveCmd struct {
	accountArg
}

func (c *userRemoveCmd) Run(ctx context.Context, e *env) error {
	cfg, user, err := c.load()
	if err != nil {
		return err
	}
	var place string
	err = withUsers(ctx, cfg, wants, func(u admin.Users) error {
		place = placeOf(u, cfg)
		return explain(user, u.RemoveUser(ctx, user))
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.err, "the account %s was removed with all its data %s\n", user, place)
	return err
}

type userListCmd struct {
	configFlag
	Domain string `placeholder:"DOMAIN" help:"Only accounts of this domain."`
}

// page is how many accounts are asked for at a time; tests change it.
var page = 500

func (c *userListCmd) Run(ctx context.Context, e *env) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	domains := cfg.Domains
	if c.Domain != "" {
		d, err := jid.Parse(c.Domain)
		if err != nil || !cfg.Hosts(d) {
			return fmt.Errorf("the domain %q is not a hosted domain: the key domains has %v", c.Domain, cfg.Domains)
		}
		domains = []string{d.Domain()}
	}
	var all []auth.Account
	err = withUsers(ctx, cfg, wants, func(u admin.Users) error {
		all = nil
		for _, domain := range domains {
			for after := ""; ; {
				some, err := u.ListUsers(ctx, domain, after, page)
				if err != nil {
					return err
				}
				if len(some) == 0 {
					break
				}
				all = append(all, some...)
				after = some[len(some)-1].User.Local()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	for _, a := range all {
		fmt.Fprintf(w, "%s\tcreated %s\tlast login %s%s\n", a.User, moment(a.Created), moment(a.LastLogin), disabled(a))
	}
	return w.Flush()
}

type userShowCmd struct {
	accountArg
}

func (c *userShowCmd) Run(ctx context.Context, e *env) error {
	cfg, user, err := c.load()
	if err != nil {
		return err
	}
	var a auth.Account
	var sessions []admin.Session
	running := false
	err = withUsers(ctx, cfg, wants, func(u admin.Users) error {
		var err error
		if a, err = u.User(ctx, user); err != nil {
			return explain(user, err)
		}
		if server, ok := u.(*adminapi.Client); ok {
			running = true
			sessions, err = server.Sessions(ctx, user)
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "address: %s\ncreated: %s\nlast login: %s%s\n", a.User, moment(a.Created), moment(a.LastLogin), disabled(a))
	if !running {
		_, err = fmt.Fprintln(e.out, "sessions: the server is not running")
		return err
	}
	fmt.Fprintf(e.out, "sessions: %d\n", len(sessions))
	for _, s := range sessions {
		presence := "not available"
		if s.Available {
			presence = fmt.Sprintf("available, priority %d", s.Priority)
		}
		fmt.Fprintf(e.out, "  %s (%s)\n", s.JID, presence)
	}
	return nil
}

// explain says of which account it is that there is none.
func explain(user jid.JID, err error) error {
	if errors.Is(err, auth.ErrNotFound) {
		return fmt.Errorf("there is no account %s; hexmpp user add makes it", user)
	}
	return err
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

func disabled(a auth.Account) string {
	if a.Disabled {
		return " (disabled)"
	}
	return ""
}
