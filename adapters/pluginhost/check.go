package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// Check starts each plugin as a server would, asks it what it is, and compares that with what is
// configured for it: name, permissions, domains, and options by their schema. What
// the plugin itself would find wrong with options it is not asked. The error joins a *ConfigError for each
// plugin with which something is wrong. Nothing is made but the folder for sockets, and nothing runs any more.
func Check(ctx context.Context, o Options, log *zap.Logger) (err error) {
	h, err := newHost(o, log, usual)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	errs := make([]error, len(h.plugins))
	var wg sync.WaitGroup
	turns := make(chan struct{}, maxChecks)
	for i, p := range h.plugins {
		wg.Go(func() {
			turns <- struct{}{}
			errs[i] = p.check(ctx)
			<-turns
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// maxChecks is how many plugins are checked at a time: a machine may have fewer processors
// than plugins, and each has the time that a start may take.
const maxChecks = 4

func (p *plugin) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.conf.Limits.StartTime)
	defer cancel()
	in, err := p.start(ctx, p.configured())
	if err == nil {
		in.kill()
		return nil
	}
	var config *ConfigError
	if errors.As(err, &config) {
		return config
	}
	if !errors.As(err, new(*lie)) {
		err = fmt.Errorf("it can't be started: %w", err)
	}
	return &ConfigError{p.conf.Key, err}
}
