package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/cmd/internal/wire"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Tell everything that is wrong in the configuration. Plugins are started, asked what they are, and ended; nothing else is started."`
	Show  configShowCmd  `cmd:"" help:"Print each value that holds, and where it came from."`
}

// fileArg takes the file as an argument too, since nothing else is meant.
type fileArg struct {
	configFlag
	File string `arg:"" optional:"" help:"Configuration file; the same as --config."`
}

func (a fileArg) flag() (configFlag, error) {
	if a.File != "" && a.Config != "" && a.File != a.Config {
		return configFlag{}, errors.New("two files are named: " + a.File + " and " + a.Config)
	}
	if a.File != "" {
		return configFlag{a.File}, nil
	}
	return a.configFlag, nil
}

type configCheckCmd struct {
	fileArg
	Plugins bool `default:"true" negatable:"" help:"Start the plugins that run in processes of their own, ask them what they are, and compare that with the configuration."`
}

func (c *configCheckCmd) Run(ctx context.Context, e *env) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	flag, err := c.flag()
	if err != nil {
		return err
	}
	cfg, err := flag.load()
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintln(e.err, "warning:", w)
	}
	err = wire.Check(cfg)
	if c.Plugins {
		err = config.Join(err, wire.CheckProcesses(ctx, cfg, version()))
	}
	if err != nil {
		return err
	}
	what := cfg.File
	if what == "" {
		what = "no configuration file; the defaults"
	}
	_, err = fmt.Fprintln(e.out, what+": ok")
	return err
}

type configShowCmd struct{ fileArg }

func (c *configShowCmd) Run(e *env) error {
	flag, err := c.flag()
	if err != nil {
		return err
	}
	cfg, err := flag.load()
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(e.out, cfg.Show())
	return err
}
