package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

// cli is the command line.
type cli struct {
	Serve   serveCmd   `cmd:"" help:"Run the server."`
	User    userCmd    `cmd:"" help:"Manage accounts, whether or not the server runs."`
	Config  configCmd  `cmd:"" help:"Check or show the configuration."`
	Plugin  pluginCmd  `cmd:"" help:"Manage plugins, or tell what one is."`
	S2S     s2sCmd     `cmd:"" name:"s2s" help:"See and test the streams with other servers."`
	Status  statusCmd  `cmd:"" help:"Tell how the running server is."`
	Reload  reloadCmd  `cmd:"" help:"Make the running server read its certificates again, and the options of plugins."`
	Version versionCmd `cmd:"" help:"Tell the version of hexmpp."`
}

// configFlag is the flag of every command that reads the configuration.
type configFlag struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration file. Without it: a server for localhost with its data in ./hexmpp-data."`
}

func (f configFlag) load() (*config.Config, error) { return config.Load(f.Config) }

// env is what a command has to do with the outside.
type env struct {
	in       io.Reader
	out, err io.Writer
	prompt   *prompt // nil if nobody can be asked
	terminal bool    // err is read by a person
	exit     func(code int)
}

func stdio() *env {
	return &env{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		prompt: newPrompt(os.Stdin, os.Stderr), terminal: isTerminal(os.Stderr),
		exit: os.Exit,
	}
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// exited unwinds the stack when kong has done all there is, after --help.
type exited struct{ code int }

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, e *env) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exited:
			code = r.code
		default:
			panic(r)
		}
	}()
	parser, err := newParser(ctx, e)
	if err != nil {
		fmt.Fprintln(e.err, "hexmpp:", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(e.err, "hexmpp: %v\nSee hexmpp --help.\n", err)
		return exitUsage
	}
	return report(e, parsed.Run())
}

func newParser(ctx context.Context, e *env) (*kong.Kong, error) {
	return kong.New(&cli{},
		kong.Name("hexmpp"),
		kong.Description("An XMPP server."),
		kong.Writers(e.out, e.err),
		kong.Exit(func(code int) { panic(exited{code}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(e),
	)
}

// report tells an error in the way that it deserves.
func report(e *env, err error) int {
	var wrong config.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintln(e.err, wrong) // each line begins with FILE:LINE
		return exitUsage
	}
	fmt.Fprintln(e.err, "hexmpp:", err)
	return exitFailed
}
