package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	goplugin "github.com/hashicorp/go-plugin/runner"
	"go.uber.org/zap"
)

// Bounds for the end of a process.
const (
	settleTime = 5 * time.Second // for the processes of a killed group to be gone
	drainTime  = time.Second     // for what is in its pipes, if a process that left its group holds them

	// killTime is for a process that was killed: one that waits for a broken disk, or a server of
	// files that does not answer, goes when that is over.
	killTime = 10 * time.Second
)

var errDone = os.ErrProcessDone

// A child is one process with its group, as go-plugin sees it. It is started
// once. One goroutine (live) starts it, waits for it and clears up after it.
type child struct {
	spec   *Spec
	log    *zap.Logger
	prog   *program
	env    []string
	folder string // for its sockets
	guard  *guard
	cgroup *cgroup // nil without one

	sink           *sink
	stdout, stderr *source
	hand           *promise // the handshake line
	seen           bool     // it was there; belongs to the goroutine that reads stdout

	patience time.Duration // killTime, but in tests
	held     func()        // called by tests when it has ended, before anything is done about it

	connected chan struct{} // closed when go-plugin has made its connection or won't
	done      chan struct{} // closed when nothing is left of the process

	mu       sync.Mutex // guards what follows
	pid      int        // 0 before the start
	started  time.Time
	lifeline *os.File // the end that is never written to
	gone     bool     // the number is not to be used any more
	reason   Reason
	peak     int64
	exit     Exit // good once done is closed
}

var _ goplugin.Runner = (*child)(nil)

func newChild(spec *Spec, prog *program, env []string, folder string, k *sink, g *guard, log *zap.Logger) *child {
	c := &child{
		spec: spec, log: log, prog: prog, env: env, folder: folder, guard: g, sink: k,
		stdout: newSource(Stdout, k), stderr: newSource(Stderr, k),
		patience: killTime, hand: newPromise(), connected: make(chan struct{}), done: make(chan struct{}),
	}
	c.stdout.first = c.handshake
	return c
}

// handshake passes the one line on that go-plugin waits for. Everything else
// that comes on standard output is log.
func (c *child) handshake(line []byte) bool {
	if c.seen {
		return false
	}
	hand, rest := handshakeLine(line)
	if hand == nil {
		return false
	}
	c.seen = true
	if len(rest) > 0 {
		c.stdout.put(rest, 0)
	}
	c.hand.keep(append(append([]byte(nil), hand...), '\n'))
	return true
}

// Start starts the process. Part of goplugin.Runner.
func (c *child) Start(context.Context) error {
	started := make(chan error)
	go c.live(started)
	return <-started
}

// pipes of a process: what it gets, and our ends.
type pipes struct {
	stdin, stdout, stderr  *os.File // its own
	lifeline, output, errs *os.File // ours
}

func newPipes() (p pipes, err error) {
	for _, ends := range []struct{ read, write **os.File }{{&p.stdin, &p.lifeline}, {&p.output, &p.stdout}, {&p.errs, &p.stderr}} {
		if *ends.read, *ends.write, err = os.Pipe(); err != nil {
			p.closeTheirs()
			p.closeOurs()
			return pipes{}, err
		}
	}
	return p, nil
}

func (p *pipes) closeTheirs() { closeAll(p.stdin, p.stdout, p.stderr) }
func (p *pipes) closeOurs()   { closeAll(p.lifeline, p.output, p.errs) }

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close() // of a pipe: nothing to be lost
		}
	}
}

// live is the life of the process. It stays on one thread: Linux kills the
// process when the thread that started it ends, and the runtime ends idle
// threads as it likes.
func (c *child) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, ends, err := c.launch()
	if err != nil {
		c.hand.keep(nil)
		c.stdout.Close()
		c.stderr.Close()
		close(c.done)
		started <- err
		return
	}
	var readers sync.WaitGroup
	readers.Go(func() { c.read(ends.output, c.stdout) })
	readers.Go(func() { c.read(ends.errs, c.stderr) })
	started <- nil

	pid := cmd.Process.Pid
	waitable := awaitExit(pid)
	if !waitable {
		err = cmd.Wait()
	}
	if c.held != nil {
		c.held()
	}
	// What it started does not outlive it.
	c.mu.Lock()
	c.gone = true
	kill := killGroup(pid)
	c.mu.Unlock()
	c.cgroup.kill()
	left := settle(pid)
	c.guard.remove(pid)
	if waitable {
		err = cmd.Wait()
	}
	if kill != nil || left > 0 {
		c.log.Error("processes of a plugin are left, which could not be killed", zap.String("plugin", c.spec.Name), zap.Int("group", pid), zap.Int("processes", left), zap.Error(kill))
	}
	// A process that left the group may hold the pipes for ever.
	deadline := time.Now().Add(drainTime)
	_ = ends.output.SetReadDeadline(deadline)
	_ = ends.errs.SetReadDeadline(deadline)
	readers.Wait()
	c.hand.keep(nil) // not before the end is known to be the plugin's own doing
	ends.closeOurs()
	c.stdout.Close()
	c.stderr.Close()
	c.finish(cmd.ProcessState, err)
}

// finish says how it ended.
func (c *child) finish(state *os.ProcessState, err error) {
	oom := c.cgroup.remove()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exit = Exit{Code: -1, Reason: c.reason, Peak: c.peak}
	if oom && c.reason == Ended {
		c.exit.Reason = OverMemory
		c.log.Error(c.spec.overMemory(),
			zap.String("plugin", c.spec.Name), zap.Int("pid", c.pid), zap.Int64("limit", c.spec.Memory))
	}
	if state != nil {
		c.exit.Code = state.ExitCode()
		c.exit.Signal = endedBy(state)
		c.exit.CPU = state.UserTime() + state.SystemTime()
	} else {
		c.log.Error("the end of a plugin could not be waited for", zap.String("plugin", c.spec.Name), zap.Int("pid", c.pid), zap.Error(err))
	}
	close(c.done)
}

// launch starts the process.
func (c *child) launch() (*exec.Cmd, pipes, error) {
	defer c.prog.close()
	ends, err := newPipes()
	if err != nil {
		return nil, pipes{}, err
	}
	cmd := &exec.Cmd{
		Path: c.prog.path, Args: c.prog.args, Env: c.env, Dir: c.spec.workDir(),
		Stdin: ends.stdin, Stdout: ends.stdout, Stderr: ends.stderr, ExtraFiles: c.spec.Inherit,
		SysProcAttr: attributes(c.cgroup.file()),
	}
	if c.prog.file != nil {
		var high *os.File
		if high, err = highDescriptor(c.prog.file, 3+len(c.spec.Inherit)); err == nil {
			defer high.Close()
			cmd.Path = "/proc/self/fd/" + strconv.Itoa(int(high.Fd()))
		}
	}
	if err == nil {
		c.mu.Lock()
		if c.reason == Stopped {
			err = context.Canceled
		} else if err = cmd.Start(); err == nil {
			c.pid, c.started, c.lifeline = cmd.Process.Pid, time.Now(), ends.lifeline
			c.sink.setPID(c.pid)
			c.guard.add(c.pid)
		}
		c.mu.Unlock()
	}
	ends.closeTheirs()
	if err != nil {
		ends.closeOurs()
		return nil, pipes{}, err
	}
	return cmd, ends, nil
}

// read takes what the process writes, until nobody can write any more.
func (c *child) read(from *os.File, to *source) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		to.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

// running is the process, 0 if there is none (any more).
func (c *child) running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0
	}
	return c.pid
}

// ask asks the process to end: SIGTERM to its group, or the end of its standard
// input where there are no signals.
func (c *child) ask() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopping() {
		return
	}
	if err := askGroup(c.pid); err != nil {
		c.lifeline.Close()
	}
}

// kill ends the process and all of its group.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopping() {
		return
	}
	if err := killGroup(c.pid); err != nil {
		c.log.Error("a plugin can't be killed", zap.String("plugin", c.spec.Name), zap.Int("pid", c.pid), zap.Error(err))
	}
}

// stopping notes that the end is our doing, if it isn't over already, and
// reports whether there is a process to end. The caller holds mu.
func (c *child) stopping() bool {
	if c.reason == Ended && !c.gone {
		c.reason = Stopped
	}
	return c.pid != 0 && !c.gone
}

// Wait is for go-plugin, which takes its end for the end of the process. It is
// kept from that until it has its connection: it leaks one that it was making.
func (c *child) Wait(ctx context.Context) error {
	for _, wait := range []<-chan struct{}{c.done, c.connected} {
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c.exit.Code != 0 {
		return errors.New(c.exit.String())
	}
	return nil
}

// Kill kills the process and waits until it is gone, for a while. Part of goplugin.Runner.
func (c *child) Kill(ctx context.Context) error {
	c.kill()
	if c.ID() == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits for the end of a process that was killed. false: it does not come, which was
// logged.
func (c *child) await(end <-chan struct{}) bool {
	t := time.NewTimer(c.patience)
	defer t.Stop()
	select {
	case <-end:
		return true
	case <-t.C:
	}
	c.log.Error("a process of a plugin was killed, and does not end: look at what it waits for (ps -o pid,stat,wchan), a disk perhaps, or a server of files. It is left alone",
		zap.String("plugin", c.spec.Name), zap.String("pid", c.ID()), zap.Duration("waited", c.patience))
	return false
}

// ID is the number of the process, or "".
func (c *child) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid == 0 {
		return ""
	}
	return strconv.Itoa(c.pid)
}

// Stdout gives the handshake line only.
func (c *child) Stdout() io.ReadCloser { return c.hand }

// Stderr gives nothing: we read it ourselves.
func (c *child) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name is for go-plugin's own log.
func (c *child) Name() string { return c.spec.Name }

// Diagnose is not used: Runner.Start says what it knows.
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost checks where the plugin listens.
func (c *child) PluginToHost(network, address string) (string, string, error) {
	if err := checkAddress(network, address, c.folder); err != nil {
		return "", "", err
	}
	return network, address, nil
}

// HostToPlugin is for the broker, which we don't use.
func (c *child) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// lastWords are the end of what the process wrote, for an error. The process has ended.
func (c *child) lastWords() string {
	var words []string
	for _, e := range c.sink.ring.Last(logEntries) {
		if e.PID == c.pid {
			words = append(words, e.Message)
		}
	}
	if len(words) == 0 {
		return "it wrote nothing"
	}
	return fmt.Sprintf("its last words: %s", clean(strings.Join(words[max(len(words)-5, 0):], " / "), maxSaid, false))
}
