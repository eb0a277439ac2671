package main

import (
	"context"
	"errors"

	"github.com/hexmpp/hexmpp/ports/admin"
)

// s2sPlugin is the plugin that federation is, and that these commands ask.
const s2sPlugin = "s2s"

// s2sCmd has what administrators do with streams to and from other servers: calls of the plugin s2s.
type s2sCmd struct {
	List  s2sListCmd  `cmd:"" help:"List the streams with other servers, and what waits for them."`
	Probe s2sProbeCmd `cmd:"" help:"Open a stream to another server, and tell each step. No stanza is sent."`
	Close s2sCloseCmd `cmd:"" help:"End the streams with a domain. What waits for it goes out on the next one."`
}

type s2sListCmd struct{ callFlags }

func (c *s2sListCmd) Run(ctx context.Context, e *env) error { return c.askS2S(ctx, e, "list") }

type s2sProbeCmd struct {
	callFlags
	From string `placeholder:"DOMAIN" help:"The domain of this server that asks; without it the first one."`
	Far  string `arg:"" help:"The domain that is asked."`
}

func (c *s2sProbeCmd) Run(ctx context.Context, e *env) error {
	if c.From == "" {
		return c.askS2S(ctx, e, "probe", c.Far)
	}
	return c.askS2S(ctx, e, "probe", c.Far, c.From)
}

type s2sCloseCmd struct {
	callFlags
	Far string `arg:"" help:"The domain."`
}

func (c *s2sCloseCmd) Run(ctx context.Context, e *env) error {
	return c.askS2S(ctx, e, "close", c.Far)
}

// askS2S asks the plugin.
func (f callFlags) askS2S(ctx context.Context, e *env, call string, args ...string) error {
	err := f.ask(ctx, e, s2sPlugin, call, args...)
	if errors.Is(err, admin.ErrNoPlugin) {
		return errors.New("the server that runs has no federation: see s2s in its configuration")
	}
	return err
}
