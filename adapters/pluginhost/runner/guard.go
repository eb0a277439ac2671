package runner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxGroups is how many process groups a guard knows at a time.
const maxGroups = 4096

// Guard is the whole of the guard process, see Options.Guard: it reads from the
// server which process groups there are, and kills them when that ends, which it does
// when the server is gone. It returns then. The caller ignores the signals that
// end a program politely: the guard goes after the server.
func Guard(in io.Reader) error {
	groups := map[int]struct{}{}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64), 64)
	var err error
	for lines.Scan() && err == nil {
		var group int
		switch sign, number, _ := strings.Cut(lines.Text(), " "); {
		case sign == "+" && len(groups) < maxGroups:
			if group, err = strconv.Atoi(number); err == nil && group > 1 {
				groups[group] = struct{}{}
			}
		case sign == "-":
			if group, err = strconv.Atoi(number); err == nil {
				delete(groups, group)
			}
		default:
			err = fmt.Errorf("guard: %q", clip(lines.Text()))
		}
	}
	err = errors.Join(err, lines.Err())
	for group := range groups {
		err = errors.Join(err, killGroup(group))
	}
	return err
}

// A guard is the server's side of the guard process. It is started with the
// first plugin, and again if it ends: a few times in a row.
type guard struct {
	command Command // none: there is no guard
	log     *zap.Logger
	now     func() time.Time

	mu     sync.Mutex // guards what follows
	groups map[int]struct{}
	in     *os.File  // nil while it doesn't run
	starts int       // in a row
	began  time.Time // the last of them
	closed bool
	wait   sync.WaitGroup
}

// Bounds for the guard process.
const (
	maxGuards   = 5           // processes, one after the other
	guardSteady = time.Minute // behind which those before are forgotten
	guardWrite  = time.Second // for one line
)

func newGuard(command Command, log *zap.Logger) *guard {
	return &guard{command: command, log: log, now: time.Now, groups: map[int]struct{}{}}
}

func (g *guard) exists() bool { return g.command.Self || g.command.Path != "" }

// ready starts the guard if it doesn't run.
func (g *guard) ready() error {
	if !g.exists() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in != nil {
		return nil
	}
	return g.start()
}

// start is called with mu held.
func (g *guard) start() error {
	if g.closed {
		return ErrClosed
	}
	now := g.now()
	if now.Sub(g.began) >= guardSteady {
		g.starts = 0
	}
	if g.starts == maxGuards {
		return fmt.Errorf("the guard of plugins was started %d times, and does not stay; it is tried again %s behind the last time", g.starts, guardSteady)
	}
	g.starts++
	g.began = now
	spec := &Spec{Name: "guard", Command: g.command, Folder: "/"}
	prog, err := spec.find(context.Background()) // which has no files to be read
	if err != nil {
		return err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: prog.path, Args: prog.args, Env: environment(spec, hostEnvironment(), nil), Dir: "/", Stdin: out, SysProcAttr: attributes(nil)}
	outlive(cmd.SysProcAttr)
	err = cmd.Start()
	out.Close()
	if err != nil {
		in.Close()
		return fmt.Errorf("the guard of plugins: %w", err)
	}
	g.in = in
	for group := range g.groups {
		g.write("+", group)
	}
	g.wait.Go(func() {
		err := cmd.Wait()
		in.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed {
			return
		}
		g.in = nil
		if again := g.start(); again != nil {
			g.log.Error("plugins are without a guard: processes that they started may outlive a killed server", zap.NamedError("ended", err), zap.Error(again))
		} else {
			g.log.Warn("the guard of plugins ended, and was started again", zap.NamedError("ended", err))
		}
	})
	return nil
}

// write is called with mu held. An error is not told: the goroutine that waits
// for the guard sees its end, and a new one is told everything.
func (g *guard) write(sign string, group int) {
	if g.in == nil {
		return
	}
	_ = g.in.SetWriteDeadline(time.Now().Add(guardWrite))
	_, _ = g.in.WriteString(sign + " " + strconv.Itoa(group) + "\n")
}

func (g *guard) add(group int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.groups[group] = struct{}{}
	g.write("+", group)
}

// remove is called while the number is still the group's own.
func (g *guard) remove(group int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.groups, group)
	g.write("-", group)
}

// stop ends the guard and waits for it. The plugins are gone.
func (g *guard) stop() {
	g.mu.Lock()
	g.closed = true
	if g.in != nil {
		g.in.Close()
	}
	g.mu.Unlock()
	g.wait.Wait()
}
