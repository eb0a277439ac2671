package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Listen is where a plugin is to listen.
type Listen struct {
	Name      string   // of a listener of its manifest: "s2s"
	Key       string   // where the configuration has it: "listen.s2s"
	Addresses []string // HOST:PORT
}

// firstInherited is the descriptor that the first inherited file has in a process.
const firstInherited = 3

// socket is a listening socket, which outlives the processes that accept on it.
type socket struct {
	name string // of the listener
	file *os.File
	addr net.Addr
}

// sockets are those of a plugin, in the order in which each process inherits them. They do not
// change once they are bound.
type sockets []socket

// bind binds all addresses, or none.
func bind(ctx context.Context, list []Listen) (_ sockets, err error) {
	var all sockets
	defer func() {
		if err != nil {
			all.close()
		}
	}()
	for _, l := range list {
		for _, address := range l.Addresses {
			s, err := bindOne(ctx, address)
			if err != nil {
				return nil, &ConfigError{l.Key, bindError(address, err)}
			}
			s.name = l.Name
			all = append(all, s)
		}
	}
	return all, nil
}

func bindOne(ctx context.Context, address string) (s socket, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // as for clients
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return s, err
	}
	defer l.Close() // the file is another descriptor of the same socket
	f, err := l.(*net.TCPListener).File()
	return socket{file: f, addr: l.Addr()}, err
}

// bindError says what an administrator can do about it.
func bindError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program (ss -ltnp shows which): stop that one, or configure another port (%w)", address, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("this machine does not have the address %s: configure one that it has (ip address shows them) (%w)", address, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("this user may not listen on %s: configure a port from 1024 on, or grant CAP_NET_BIND_SERVICE (%w)", address, err)
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}

func (s sockets) close() {
	for i := range s {
		_ = s[i].file.Close() // nothing is written to it
	}
}

// files are what a process inherits, with the names of the listeners.
func (s sockets) files() (files []*os.File, names []string) {
	for i := range s {
		files, names = append(files, s[i].file), append(names, s[i].name)
	}
	return files, names
}

// told is what a process is told of them.
func (s sockets) told() (list []*pluginv1.ListenerSocket) {
	for i := range s {
		list = append(list, &pluginv1.ListenerSocket{Name: s[i].name, Fd: int32(firstInherited + i)})
	}
	return list
}

// Addrs returns the addresses at which a plugin listens.
func (h *Host) Addrs(plugin, listener string) (list []net.Addr) {
	p, err := h.find(plugin)
	if err != nil {
		return nil
	}
	for i := range p.sockets {
		if p.sockets[i].name == listener {
			list = append(list, p.sockets[i].addr)
		}
	}
	return list
}

// listens says whether the plugin has the listeners that the configuration has addresses for.
func (p *plugin) listens(declared []extension.Listener) error {
	for _, l := range p.conf.Listen {
		if slices.ContainsFunc(declared, func(d extension.Listener) bool { return d.Name == l.Name }) {
			continue
		}
		var names []string
		for _, d := range declared {
			names = append(names, d.Name)
		}
		has := "it has none"
		if len(names) > 0 {
			has = "it has " + strings.Join(names, ", ")
		}
		return &ConfigError{l.Key, fmt.Errorf("the plugin %s has no listener called %s; %s", p.conf.Name, l.Name, has)}
	}
	return nil
}
