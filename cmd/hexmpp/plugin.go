package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/hexmpp/hexmpp/adapters/adminapi"
	"github.com/hexmpp/hexmpp/cmd/internal/wire"
	"github.com/hexmpp/hexmpp/ports/admin"
)

// pluginCmd has what administrators do with plugins. What a process of a bundled plugin
// runs, `hexmpp plugin NAME`, is not here: see main.
type pluginCmd struct {
	List     pluginListCmd     `cmd:"" help:"List the plugins that run in processes of their own, and how they are."`
	Info     pluginInfoCmd     `cmd:"" help:"Tell all that is known of a plugin."`
	Describe pluginDescribeCmd `cmd:"" help:"Start a plugin, ask it what it is and wants, and print that as JSON. It needs no running server."`
	Reload   pluginReloadCmd   `cmd:"" help:"Put a new process in the place of a plugin's, of the program that is on the disk now. Nothing is lost."`
	Enable   pluginEnableCmd   `cmd:"" help:"Start a plugin that is disabled or has failed."`
	Disable  pluginDisableCmd  `cmd:"" help:"Stop a plugin, until it is enabled or the server is started again."`
	Logs     pluginLogsCmd     `cmd:"" help:"Print what a plugin logged last."`
	Call     pluginCallCmd     `cmd:"" help:"Ask a plugin something, or list what it can be asked."`
}

type jsonFlag struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type pluginListCmd struct {
	configFlag
	jsonFlag
}

func (c *pluginListCmd) Run(ctx context.Context, e *env) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	return withServer(cfg, func(server *adminapi.Client) error {
		list, err := server.Plugins(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			out := make([]pluginJSON, len(list))
			for i, p := range list {
				out[i] = pluginAsJSON(p)
			}
			return printJSON(e.out, out)
		}
		return printPlugins(e.out, list, time.Now())
	})
}

func printPlugins(out io.Writer, list []admin.Plugin, now time.Time) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "no plugin runs in a process of its own")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tVERSION\tGENERATION\tPID\tUPTIME\tRESTARTS\tQUEUE\tEVENTS/S\tTIME\tMEMORY")
	for _, p := range list {
		pid, uptime, memory, mean := "-", "-", "-", "-"
		if p.PID != 0 {
			pid, uptime = strconv.Itoa(p.PID), lasted(p.Started, now)
		}
		if p.Memory != 0 {
			memory = mebibytes(p.Memory)
		}
		if p.OutcomeTime != 0 {
			mean = p.OutcomeTime.Round(time.Microsecond).String()
		}
		version := p.Version
		if version == "" {
			version = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\t%.1f\t%s\t%s\n", p.Name, p.State, version, p.Generation, pid, uptime, p.Restarts, p.Queue+p.InFlight, p.EventsPerSecond, mean, memory)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range list {
		if p.Detail != "" {
			if _, err := fmt.Fprintf(out, "%s: %s\n", p.Name, p.Detail); err != nil {
				return err
			}
		}
	}
	return nil
}

// lasted is for how long a process runs; one that has just ended has no start any more.
func lasted(started, now time.Time) string {
	if started.IsZero() {
		return "-"
	}
	return now.Sub(started).Truncate(time.Second).String()
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// pluginJSON is what other programs read: its names stay.
type pluginJSON struct {
	Name            string            `json:"name"`
	Version         string            `json:"version,omitempty"`
	Bundled         bool              `json:"bundled"`
	State           admin.PluginState `json:"state"`
	Detail          string            `json:"detail,omitempty"`
	Generation      uint64            `json:"generation"`
	PID             int               `json:"pid,omitempty"`
	Started         time.Time         `json:"started,omitzero"`
	Draining        []int             `json:"draining,omitempty"`
	Restarts        int               `json:"restarts"`
	Queue           int               `json:"queue"`
	InFlight        int               `json:"inFlight"`
	Events          uint64            `json:"events"`
	EventsPerSecond float64           `json:"eventsPerSecond"`
	OutcomeSeconds  float64           `json:"outcomeSeconds"`
	MemoryBytes     uint64            `json:"memoryBytes,omitempty"`
}

func pluginAsJSON(p admin.Plugin) pluginJSON {
	return pluginJSON{p.Name, p.Version, p.Bundled, p.State, p.Detail, p.Generation, p.PID, p.Started, p.Draining, p.Restarts,
		p.Queue, p.InFlight, p.Events, p.EventsPerSecond, p.OutcomeTime.Seconds(), p.Memory}
}

func printJSON(out io.Writer, v any) error {
	w := json.NewEncoder(out)
	w.SetIndent("", "  ")
	w.SetEscapeHTML(false)
	return w.Encode(v)
}

// pluginArg is the plugin that a command is about.
type pluginArg struct {
	configFlag
	Name string `arg:"" help:"The plugin, as the configuration calls it."`
}

// do calls f with the running server, and says what to do if there is no such plugin.
func (a pluginArg) do(ctx context.Context, f func(*adminapi.Client) error) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	return withServer(cfg, func(server *adminapi.Client) error {
		err := f(server)
		if !errors.Is(err, admin.ErrNoPlugin) {
			return err
		}
		list, err := server.Plugins(ctx)
		if err != nil {
			return err
		}
		names := make([]string, len(list))
		for i, p := range list {
			names[i] = p.Name
		}
		there := strings.Join(names, ", ")
		if there == "" {
			there = "none"
		}
		return fmt.Errorf("no plugin %q runs in a process of its own; there are: %s", a.Name, there)
	})
}

type pluginInfoCmd struct {
	pluginArg
	jsonFlag
}

func (c *pluginInfoCmd) Run(ctx context.Context, e *env) error {
	return c.do(ctx, func(server *adminapi.Client) error {
		p, err := server.PluginInfo(ctx, c.Name)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(e.out, pluginInfoAsJSON(p))
		}
		return printPlugin(e.out, p, time.Now())
	})
}

type pluginInfoJSON struct {
	pluginJSON
	Description string          `json:"description,omitempty"`
	Command     []string        `json:"command"`
	Domains     []string        `json:"domains"`
	Permissions []string        `json:"permissions"`
	Dropped     uint64          `json:"dropped"`
	Refused     uint64          `json:"refused"`
	Poisoned    uint64          `json:"poisoned"`
	LastExit    string          `json:"lastExit,omitempty"`
	Manifest    json.RawMessage `json:"manifest,omitempty"`
}

func pluginInfoAsJSON(p admin.PluginInfo) pluginInfoJSON {
	return pluginInfoJSON{pluginAsJSON(p.Plugin), p.Description, p.Command, p.Domains, p.Granted, p.Dropped, p.Refused, p.Poisoned, p.LastExit, p.Manifest}
}

func printPlugin(out io.Writer, p admin.PluginInfo, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(key, format string, args ...any) { fmt.Fprintf(w, "%s:\t%s\n", key, fmt.Sprintf(format, args...)) }
	optional := func(key, text string) {
		if text != "" {
			line(key, "%s", text)
		}
	}
	line("name", "%s", p.Name)
	optional("version", p.Version)
	optional("description", p.Description)
	optional("command", strings.Join(p.Command, " "))
	line("state", "%s", p.State)
	optional("detail", p.Detail)
	optional("domains", strings.Join(p.Domains, ", "))
	granted := strings.Join(p.Granted, ", ")
	if granted == "" {
		granted = "none"
	}
	line("permissions", "%s", granted)
	line("generation", "%d", p.Generation)
	if p.PID != 0 {
		line("process", "%d, for %s", p.PID, lasted(p.Started, now))
	}
	if len(p.Draining) > 0 {
		line("draining", "%s", strings.Trim(fmt.Sprint(p.Draining), "[]"))
	}
	if p.Memory != 0 {
		line("memory", "%s", mebibytes(p.Memory))
	}
	line("restarts", "%d", p.Restarts)
	optional("last end", p.LastExit)
	line("waiting", "%d, and %d that it is handling", p.Queue, p.InFlight)
	line("events", "%d, %.1f a second of late, %s each", p.Events, p.EventsPerSecond, p.OutcomeTime.Round(time.Microsecond))
	line("refused", "%d", p.Refused)
	line("dropped", "%d", p.Dropped)
	line("given up", "%d", p.Poisoned)
	return w.Flush()
}

type pluginReloadCmd struct{ pluginArg }

func (c *pluginReloadCmd) Run(ctx context.Context, e *env) error {
	return c.change(ctx, e, (*adminapi.Client).ReloadPlugin)
}

type pluginEnableCmd struct{ pluginArg }

func (c *pluginEnableCmd) Run(ctx context.Context, e *env) error {
	return c.change(ctx, e, (*adminapi.Client).EnablePlugin)
}

type pluginDisableCmd struct{ pluginArg }

func (c *pluginDisableCmd) Run(ctx context.Context, e *env) error {
	return c.change(ctx, e, (*adminapi.Client).DisablePlugin)
}

// change does something with a plugin, and says what came of it.
func (a pluginArg) change(ctx context.Context, e *env, do func(*adminapi.Client, context.Context, string) error) error {
	return a.do(ctx, func(server *adminapi.Client) error {
		if err := do(server, ctx, a.Name); err != nil {
			return err
		}
		p, err := server.PluginInfo(ctx, a.Name)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%s is %s", a.Name, p.State)
		if p.PID != 0 {
			text += fmt.Sprintf(": generation %d, process %d, version %s", p.Generation, p.PID, p.Version)
		}
		_, err = fmt.Fprintln(e.out, text)
		return err
	})
}

type pluginLogsCmd struct {
	pluginArg
	jsonFlag
	Lines  int  `short:"n" default:"50" help:"How many entries, at most 200."`
	Follow bool `short:"f" help:"Go on with what comes, until it is interrupted."`
}

func (c *pluginLogsCmd) Run(ctx context.Context, e *env) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return c.do(ctx, func(server *adminapi.Client) error {
		return server.PluginLogs(ctx, c.Name, max(0, min(c.Lines, 200)), c.Follow, func(entry admin.PluginLogEntry) error {
			if c.JSON {
				return json.NewEncoder(e.out).Encode(logAsJSON(entry))
			}
			return printLog(e.out, entry)
		})
	})
}

type logJSON struct {
	Time    time.Time         `json:"time"`
	Level   string            `json:"level"`
	PID     int               `json:"pid"`
	Source  string            `json:"source"`
	Message string            `json:"message"`
	Fields  map[string]string `json:"fields,omitempty"`
	Trace   string            `json:"trace,omitempty"`
}

func logAsJSON(entry admin.PluginLogEntry) logJSON {
	l := logJSON{entry.Time, entry.Level, entry.PID, entry.Source, entry.Message, nil, entry.Trace}
	for _, f := range entry.Fields {
		if l.Fields == nil {
			l.Fields = map[string]string{}
		}
		l.Fields[f.Key] = f.Value
	}
	return l
}

func printLog(out io.Writer, entry admin.PluginLogEntry) error {
	line := fmt.Sprintf("%s %-5s [%d] %s", entry.Time.UTC().Format(time.RFC3339), entry.Level, entry.PID, entry.Message)
	for _, f := range entry.Fields {
		line += " " + f.Key + "=" + f.Value
	}
	if entry.Trace != "" {
		line += "\n" + strings.TrimRight(entry.Trace, "\n")
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

type pluginDescribeCmd struct {
	configFlag
	Command []string `arg:"" passthrough:"" help:"Path of a program, with its arguments; or the name of a plugin that is part of hexmpp."`
}

func (c *pluginDescribeCmd) Run(ctx context.Context, e *env) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	manifest, err := wire.Describe(ctx, c.Command, version(), e.err)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, manifest, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.out, text.String())
	return err
}
