package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// A Runner starts processes of plugins. A server has one.
type Runner struct {
	options Options
	log     *zap.Logger
	guard   *guard
	limit   func(*Spec) *cgroup // makes a control group, called with mu held; nil if memory is to be measured
	checked func()              // called between the check of a program and its start, by tests

	held     func()        // see child; by tests
	patience time.Duration // likewise

	closing chan struct{}
	work    sync.WaitGroup // processes, and the watch over memory

	mu       sync.Mutex // guards what follows
	folder   *folder
	closed   bool
	watching bool
	children map[*child]struct{}

	cgroups   sync.Once
	delegated *delegated // nil where memory is measured
}

// New makes the folder for sockets and removes what dead servers left there. It
// starts nothing.
func New(o Options, log *zap.Logger) (*Runner, error) {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	f, err := makeFolder(o.Folder)
	if err != nil {
		return nil, err
	}
	keepDescriptors()
	r := &Runner{options: o, log: log, folder: f, guard: newGuard(o.Guard, log), closing: make(chan struct{}), children: map[*child]struct{}{}}
	r.limit = r.limitMemory
	return r, nil
}

// Folder is where the folders of sockets are made.
func (r *Runner) Folder() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.folder.path
}

// ensureFolder is Folder, and makes another one if it was cleaned away: folders for temporary files
// are, after some days.
func (r *Runner) ensureFolder() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return "", ErrClosed
	}
	if _, err := os.Lstat(r.folder.path); !errors.Is(err, fs.ErrNotExist) {
		return r.folder.path, err
	}
	f, err := makeFolder(r.options.Folder)
	if err != nil {
		return "", err
	}
	r.log.Warn("the folder of the sockets of plugins was cleaned away, and is made again: choose one that stays, by $RUNTIME_DIRECTORY (RuntimeDirectory= of systemd) or $XDG_RUNTIME_DIR",
		zap.String("folder", r.folder.path))
	r.folder.lock.Close()
	r.folder = f
	return f.path, nil
}

// ErrClosed is the answer to a start after Close.
var ErrClosed = errors.New("no plugin is started: the server stops")

// Start checks the files of a plugin, starts its process, and connects to it. It
// returns when the plugin has said where it listens and the connection is made, which
// does not mean yet that the plugin is healthy. ctx and Spec.StartTimeout bound the start
// only. After an error nothing of the process is left; the error ends with the last words
// of the plugin.
func (r *Runner) Start(ctx context.Context, spec Spec) (*Process, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	folder, err := r.ensureFolder()
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", spec.Name, err)
	}
	if err := r.guard.ready(); err != nil {
		return nil, fmt.Errorf("plugin %s: %w", spec.Name, err)
	}
	prog, err := spec.find(ctx)
	if err != nil {
		return nil, err
	}
	defer prog.close()
	if r.checked != nil {
		r.checked()
	}
	ring, lines := spec.Log, spec.Lines
	if ring == nil {
		ring = NewLog()
	}
	if lines <= 0 {
		lines = DefaultLinesPerSecond
	}
	s := &starting{runner: r, spec: &spec, prog: prog, base: folder, sink: newSink(spec.Name, r.log, ring, lines)}
	p, err := s.start(ctx)
	if kept := prog.kept; kept != spec.Command.Program {
		if err == nil && kept.runs(p.PID()) {
			p.again, p.exact = spec.Command, true
			p.again.Program = kept
		} else {
			kept.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", spec.Name, err)
	}
	return p, nil
}

// Close kills what still runs, waits until all is gone, and removes the folder
// of sockets. A process that the system does not end is an error, see Process.Kill; what it
// leaves the next Runner removes.
func (r *Runner) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.closing)
	for c := range r.children {
		c.kill()
	}
	r.mu.Unlock()
	gone := make(chan struct{})
	go func() { r.work.Wait(); close(gone) }()
	patience := killTime
	if r.patience > 0 {
		patience = r.patience
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-gone:
	case <-t.C:
		r.guard.stop() // which kills once more what it knows of
		return errors.New("processes of plugins were killed, and do not end")
	}
	r.guard.stop()
	return r.folder.remove()
}

// enter takes a process that is to be started into the books.
func (r *Runner) enter(c *child) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if c.spec.Memory > 0 {
		c.cgroup = r.limit(c.spec)
		if c.cgroup == nil && measuresMemory && !r.watching {
			r.watching = true
			r.work.Go(r.watch)
		}
	}
	r.children[c] = struct{}{}
	r.work.Add(1)
	return nil
}

// limitMemory makes a control group for a plugin, if the system lets us. It is
// called with mu held.
func (r *Runner) limitMemory(spec *Spec) *cgroup {
	r.cgroups.Do(func() {
		var err error
		if r.delegated, err = findDelegated(); err != nil {
			r.log.Warn("memory of plugins is measured now and then, since the control group of the server can't be used", zap.Error(err))
		}
	})
	if r.delegated == nil {
		return nil
	}
	g, err := r.delegated.group(spec.Name, spec.Memory)
	if err != nil {
		r.log.Warn("the memory of a plugin is measured now and then, since it can't have a control group", zap.String("plugin", spec.Name), zap.Error(err))
		return nil
	}
	return g
}

func (r *Runner) leave(c *child) {
	r.mu.Lock()
	delete(r.children, c)
	r.mu.Unlock()
	r.work.Done()
}
