package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/adapters/adminapi"
)

type statusCmd struct{ configFlag }

func (c *statusCmd) Run(ctx context.Context, e *env) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	return withServer(cfg, func(server *adminapi.Client) error {
		s, err := server.Status(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.out, "version: %s\nstarted: %s (%s ago)\ndomains: %s\nsessions: %d\nstreams: %d\ngoroutines: %d\nlive heap: %.1f MiB\n",
			s.Version, moment(s.Started), time.Since(s.Started).Round(time.Second), strings.Join(s.Domains, ", "),
			s.Sessions, s.Streams, s.Goroutines, float64(s.HeapBytes)/(1<<20))
		return err
	})
}

type reloadCmd struct{ configFlag }

func (c *reloadCmd) Run(ctx context.Context, e *env) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	return withServer(cfg, func(server *adminapi.Client) error {
		if err := server.Reload(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(e.out, "certificates were read again")
		return err
	})
}
