package plugin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// sockets are the listeners that a process was started with. It implements
// extension.Listeners.
type sockets struct {
	mu       sync.Mutex // guards what follows
	declared []extension.Listener
	open     map[string][]net.Listener
	closed   bool
}

var (
	errNoListener = errors.New("plugin: the registration has no listener of this name")
	errNotSocket  = errors.New("plugin: what the server says is a listener is none")
)

// inherited makes listeners of the file descriptors of the process. They are not open any more
// then, so that programs which the plugin starts have none of them.
func inherited(list []*pluginv1.ListenerSocket) (map[string][]net.Listener, error) {
	open := map[string][]net.Listener{}
	for _, s := range list {
		l, err := listenerOf(s)
		if err != nil {
			closeListeners(open)
			return nil, err
		}
		open[s.Name] = append(open[s.Name], l)
	}
	return open, nil
}

func listenerOf(s *pluginv1.ListenerSocket) (net.Listener, error) {
	if s.GetFd() < 3 { // the standard streams
		return nil, fmt.Errorf("%w: %s, file descriptor %d", errNotSocket, s.GetName(), s.GetFd())
	}
	f := os.NewFile(uintptr(s.Fd), s.Name)
	if f == nil {
		return nil, fmt.Errorf("%w: %s, file descriptor %d", errNotSocket, s.Name, s.Fd)
	}
	defer f.Close() // FileListener has its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s, file descriptor %d: %w", errNotSocket, s.Name, s.Fd, err)
	}
	return l, nil
}

func closeListeners(open map[string][]net.Listener) {
	for _, list := range open {
		for _, l := range list {
			_ = l.Close() // of this process; the socket stays
		}
	}
}

func (s *sockets) give(declared []extension.Listener, open map[string][]net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.declared, s.open = declared, open
}

// Get implements extension.Listeners.
func (s *sockets) Get(name string) ([]net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !slices.ContainsFunc(s.declared, func(l extension.Listener) bool { return l.Name == name }):
		return nil, fmt.Errorf("%w: %q", errNoListener, name)
	case s.closed:
		return nil, ErrRelieved
	}
	return slices.Clone(s.open[name]), nil
}

// close stops accepting: another process does, or there is none any more.
func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		closeListeners(s.open)
	}
}
