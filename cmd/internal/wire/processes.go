package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hexmpp/hexmpp/adapters/pluginhost"
	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/plugins/s2s"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// GuardCommand is the argument with which this program is the guard of the processes of
// plugins, see runner.Guard.
const GuardCommand = "plugin-guard"

// processes are extensions and plugins that run in processes of their own. They are
// started before the kernel is made, which is told what they claim.
type processes struct {
	host          *pluginhost.Host
	registrations []extension.Registration
}

// startProcesses starts what is configured to run in a process of its own. What the
// configuration would have to change is a config.Errors.
func startProcesses(ctx context.Context, o Options) (*processes, error) {
	list, err := plugins(o.Config)
	if err != nil || len(list) == 0 {
		return &processes{}, err
	}
	host, err := pluginhost.New(hostOptions(o.Config, o.Version, list), o.Log.Named("plugins"))
	if err != nil {
		return nil, err
	}
	regs, err := host.Start(ctx)
	if err != nil {
		return nil, located(o.Config, err)
	}
	return &processes{host, regs}, nil
}

func hostOptions(c *config.Config, version string, list []pluginhost.Plugin) pluginhost.Options {
	return pluginhost.Options{
		Domains: c.Domains, Version: version, Data: filepath.Join(c.Data, "plugins"), Plugins: list,
		Guard: runner.Command{Self: true, Args: []string{GuardCommand}}, XML: pluginXML(c.Limits),
		Now: func(name string) (pluginhost.Configured, error) { return configuredNow(c, name) },
	}
}

// configuredNow reads the file of the configuration again, for what a reload may change of a plugin.
func configuredNow(c *config.Config, name string) (now pluginhost.Configured, err error) {
	if c.File != "" {
		if c, err = config.Load(c.File); err != nil {
			return now, fmt.Errorf("the configuration is read again, and can't be: %w", err)
		}
	}
	list, err := plugins(c)
	if err != nil {
		return now, err
	}
	for _, p := range list {
		if p.Name == name {
			return pluginhost.Configured{Files: p.Files, Options: p.Options}, nil
		}
	}
	return now, fmt.Errorf("the configuration %s has no process of %s any more: disable it, or restart the server", c.File, name)
}

// CheckProcesses starts what is configured to run in a process of its own, asks it what it is,
// and compares that with the configuration. What is wrong is a config.Errors.
func CheckProcesses(ctx context.Context, c *config.Config, version string) error {
	list, err := plugins(c)
	if err != nil || len(list) == 0 {
		return err
	}
	return located(c, pluginhost.Check(ctx, hostOptions(c, version, list), zap.NewNop()))
}

// failed returns the plugins that are part of hexmpp and have failed.
func (p *processes) failed(ctx context.Context) (names []string) {
	if p.host == nil {
		return nil
	}
	list, err := p.host.Plugins(ctx)
	for _, plugin := range list {
		if err == nil && plugin.Bundled && plugin.State == admin.PluginFailed {
			names = append(names, plugin.Name)
		}
	}
	return names
}

// pluginXML bounds what plugins send: what a client sent, with what a plugin adds to it,
// and what is stored. An element that is written anew may have to declare the namespace
// of each of its attributes.
func pluginXML(l config.Limits) xmlstream.Limits {
	return xmlstream.Limits{StanzaBytes: storage.MaxValue + 128<<10, Depth: l.Depth + 16, Attributes: 2*l.Attributes + 16}
}

// stop ends all processes.
func (p *processes) stop() error {
	if p.host == nil {
		return nil
	}
	return p.host.Close()
}

// located gives errors about the configuration their lines; others stay as they are.
func located(c *config.Config, err error) error {
	var wrong config.Errors
	var rest []error
	var walk func(err error)
	walk = func(err error) {
		if several, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range several.Unwrap() {
				walk(e)
			}
			return
		}
		var bad *pluginhost.ConfigError
		if errors.As(err, &bad) {
			wrong = append(wrong, c.Wrong(bad.Key, bad.Err))
			return
		}
		rest = append(rest, err)
	}
	walk(err)
	if len(wrong) > 0 && len(rest) == 0 {
		wrong.Sort()
		return wrong
	}
	if len(wrong) > 0 {
		rest = append(rest, wrong)
	}
	return errors.Join(rest...)
}

// plugins returns what is configured to run in a process of its own, extensions first.
func plugins(c *config.Config) ([]pluginhost.Plugin, error) {
	var list []pluginhost.Plugin
	// Of a configuration without a file it is the current folder.
	base, err := filepath.Abs(filepath.Dir(c.File))
	if err != nil {
		return nil, err
	}
	for _, known := range config.Known {
		e := c.Extensions[known.Name]
		if !e.Enabled || e.Run != config.RunProcess {
			continue
		}
		options, err := extensionOptions(c, known.Name)
		if err != nil {
			return nil, err
		}
		list = append(list, pluginhost.Plugin{
			Name: known.Name, Key: "extensions." + known.Name, Bundled: true, Command: ourselves(known.Name), Folder: base,
			Options: options, Limits: processLimits(config.DefaultPluginLimits()),
		})
	}
	names := make([]string, 0, len(c.Plugins))
	for name, p := range c.Plugins {
		if p.Enabled && p.Run == config.RunProcess {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p := c.Plugins[name]
		options, err := p.OptionsJSON()
		if err != nil {
			return nil, err
		}
		if p.Options == nil {
			options = nil
		}
		out := pluginhost.Plugin{
			Name: name, Key: "plugins." + name, Bundled: p.Bundled, Folder: base, Files: p.Files, Domains: p.Domains,
			Permissions: p.Permissions, Options: options, Limits: processLimits(p.Limits), Command: ourselves(name),
			MemoryKey: "plugins." + name + ".limits.memory",
		}
		if name == "s2s" {
			out.Listen = federationListens(c)
		}
		for _, listener := range slices.Sorted(maps.Keys(p.Listen)) {
			out.Listen = append(out.Listen, pluginhost.Listen{Name: listener, Key: out.Key + ".listen." + listener, Addresses: []string{p.Listen[listener]}})
		}
		if len(p.Command) > 0 {
			out.Command = runner.Command{Path: p.Command[0], Args: p.Command[1:]}
		}
		list = append(list, out)
	}
	return list, nil
}

// federationListens is where other servers connect.
func federationListens(c *config.Config) (list []pluginhost.Listen) {
	for _, l := range []pluginhost.Listen{
		{Name: s2s.Listener, Key: "listen.s2s", Addresses: c.Listen.S2S}, {Name: s2s.ListenerTLS, Key: "listen.s2s-tls", Addresses: c.Listen.S2STLS},
	} {
		if len(l.Addresses) > 0 {
			list = append(list, l)
		}
	}
	return list
}

// ourselves is the command of a plugin that is part of hexmpp.
func ourselves(name string) runner.Command {
	return runner.Command{Self: true, Args: []string{"plugin", name}}
}

// extensionOptions are the options of an extension, as JSON.
func extensionOptions(c *config.Config, name string) ([]byte, error) {
	switch name {
	case "vcard":
		return json.Marshal(map[string]any{"max-bytes": c.VCard.MaxBytes})
	case "private":
		return json.Marshal(map[string]any{"max-bytes": c.Private.MaxBytes, "max-elements": c.Private.MaxElements})
	case "blocking":
		return json.Marshal(map[string]any{"max-items": c.Blocking.MaxItems})
	}
	return nil, nil
}

func processLimits(l config.PluginLimits) pluginhost.Limits {
	grace := l.GraceTime
	if grace == 0 {
		grace = -1
	}
	drain := l.DrainTime
	if drain == 0 {
		drain = -1
	}
	return pluginhost.Limits{
		DrainTime: drain, Memory: int64(l.Memory), Queue: l.Queue, QueueBytes: l.QueueBytes, InFlight: l.InFlight, InFlightBytes: l.InFlightBytes,
		GraceTime: grace, StartTime: l.StartTime, DecideTime: l.DecideTime, LogLines: l.LogLines,
	}
}

// Describe starts a program as a plugin, or a plugin that is part of hexmpp by its name,
// and returns what it says of itself, as JSON. What it logs goes to log.
func Describe(ctx context.Context, command []string, version string, log io.Writer) ([]byte, error) {
	if len(command) == 0 {
		return nil, errors.New("no command")
	}
	folder, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	c := runner.Command{Path: command[0], Args: command[1:]}
	if len(command) == 1 && isServed(command[0]) {
		c = ourselves(command[0])
	} else if filepath.Base(c.Path) == c.Path {
		return nil, fmt.Errorf("%q is neither the name of a plugin that is part of hexmpp nor the path of a program: write ./%s for one in this folder", c.Path, c.Path)
	}
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "m", LevelKey: "l", EncodeLevel: zapcore.LowercaseLevelEncoder})
	core := zapcore.NewCore(encoder, zapcore.AddSync(log), zapcore.InfoLevel)
	return pluginhost.Describe(ctx, c, folder, version, zap.New(core))
}
