package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/hexmpp/hexmpp/adapters/adminapi"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// callFlags are those of commands that ask an extension something.
type callFlags struct {
	configFlag
	jsonFlag
	Timeout time.Duration `default:"1m" help:"How long it may take, at most 5m."`
}

// pluginCallCmd asks a plugin, in a process of its own or not.
type pluginCallCmd struct {
	callFlags
	Name string   `arg:"" help:"The plugin, as the configuration calls it."`
	Call string   `arg:"" optional:"" help:"What it is asked. Without it: what it can be asked."`
	Args []string `arg:"" optional:"" name:"arg" help:"What it is given."`
}

func (c *pluginCallCmd) Run(ctx context.Context, e *env) error {
	if c.Call == "" {
		return c.list(ctx, e, c.Name)
	}
	return c.ask(ctx, e, c.Name, c.Call, c.Args...)
}

// callJSON is what other programs read: its names stay.
type callJSON struct {
	Name      string        `json:"name"`
	Help      string        `json:"help,omitempty"`
	Arguments []callArgJSON `json:"arguments"`
}

type callArgJSON struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional,omitempty"`
}

// answerJSON is an answer. Text is there also in front of an error.
type answerJSON struct {
	Text  string `json:"text"`
	Error string `json:"error,omitempty"`
}

// list prints what an extension can be asked.
func (f callFlags) list(ctx context.Context, e *env, name string) error {
	return f.with(ctx, name, func(server *adminapi.Client) error {
		list, err := server.ListCalls(ctx, name)
		if err != nil {
			return err
		}
		if !f.JSON {
			return printCalls(e.out, name, list)
		}
		out := make([]callJSON, len(list))
		for i, c := range list {
			out[i] = callJSON{c.Name, c.Help, []callArgJSON{}}
			for _, a := range c.Args {
				out[i].Arguments = append(out[i].Arguments, callArgJSON(a))
			}
		}
		return printJSON(e.out, out)
	})
}

func printCalls(out io.Writer, name string, list []admin.Call) error {
	if len(list) == 0 {
		_, err := fmt.Fprintf(out, "%s can't be asked anything\n", name)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range list {
		usage := extension.Call{Name: c.Name}
		for _, a := range c.Args {
			usage.Args = append(usage.Args, extension.CallArg(a))
		}
		fmt.Fprintf(w, "%s\t%s\n", usage.Usage(), c.Help)
	}
	return w.Flush()
}

// ask asks an extension, and prints what it says as it comes.
func (f callFlags) ask(ctx context.Context, e *env, name, call string, args ...string) error {
	if f.Timeout <= 0 || f.Timeout > extension.MaxCallTime {
		return fmt.Errorf("--timeout: between 0 and %v", extension.MaxCallTime)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	return f.with(ctx, name, func(server *adminapi.Client) error {
		var text strings.Builder
		last := byte('\n')
		err := server.Call(ctx, name, call, args, func(piece string) error {
			if f.JSON {
				text.WriteString(piece)
				return nil
			}
			if piece != "" {
				last = piece[len(piece)-1]
			}
			_, err := io.WriteString(e.out, piece)
			return err
		})
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted; what the call has done is not known")
		}
		if f.JSON && !errors.Is(err, adminapi.ErrNotRunning) {
			answer := answerJSON{Text: text.String()}
			if err != nil {
				answer.Error = err.Error()
			}
			return errors.Join(printJSON(e.out, answer), err)
		}
		if last != '\n' {
			fmt.Fprintln(e.out)
		}
		return err
	})
}

// with calls do with the running server. Of a plugin that is not there it says how it is.
func (f callFlags) with(ctx context.Context, name string, do func(*adminapi.Client) error) error {
	cfg, err := f.load()
	if err != nil {
		return err
	}
	return withServer(cfg, func(server *adminapi.Client) error {
		err := do(server)
		if !errors.Is(err, admin.ErrNoPlugin) {
			return err
		}
		list, listErr := server.Plugins(context.WithoutCancel(ctx))
		if listErr != nil {
			return err
		}
		for _, p := range list {
			if p.Name == name {
				return fmt.Errorf("the plugin %s can't be asked anything: it is %s: %s", name, p.State, p.Detail)
			}
		}
		return err
	})
}
