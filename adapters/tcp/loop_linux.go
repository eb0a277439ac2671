package tcp

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// newBackend makes the event loops, or the portable backend if asked for.
func newBackend(s *Server) (backend, error) {
	if s.opts.Portable {
		return newPortable(s), nil
	}
	l := &loops{srv: s}
	for range loopCount() {
		lo, err := newLoop(s)
		if err != nil {
			l.close()
			return nil, err
		}
		l.all = append(l.all, lo)
		s.running.Go(lo.run)
	}
	return l, nil
}

// loops is the backend of Linux. Accepting is in accept_linux.go.
type loops struct {
	srv  *Server
	all  []*loop
	next atomic.Uint32
}

func (l *loops) tables() []*table {
	t := make([]*table, len(l.all))
	for i, lo := range l.all {
		t[i] = &lo.table
	}
	return t
}

func (l *loops) close() {
	for _, lo := range l.all {
		lo.file.Close() // run sees it
	}
}

// loop waits for many sockets with one goroutine. Its epoll descriptor is
// itself watched by Go's runtime, so waiting occupies no thread.
type loop struct {
	srv   *Server
	file  *os.File // the epoll descriptor
	raw   syscall.RawConn
	fd    int
	table table
}

func newLoop(s *Server) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // makes os.NewFile watch it
		unix.Close(fd)
		return nil, fmt.Errorf("set epoll descriptor non-blocking: %w", err)
	}
	f := os.NewFile(uintptr(fd), "epoll")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("watch epoll descriptor: %w", err)
	}
	return &loop{srv: s, file: f, raw: raw, fd: fd}, nil
}

// add begins to watch c's socket. Events are edge-triggered and include being
// writable, so a connection costs one epoll_ctl in all its life, and a socket
// that is full needs none. Closing the socket ends it.
func (l *loop) add(c *conn, fd int) error {
	l.table.add(c)
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(uint32(c.id)),
		Pad:    int32(uint32(c.id >> 32)),
	}
	if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		l.table.remove(c.id)
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// run serves the loop's connections until the epoll descriptor is closed.
func (l *loop) run() {
	var (
		events [128]unix.EpollEvent
		conns  [len(events)]*conn
		later  []*conn // have more input, but gave way to others
		b      round
	)
	for {
		n, err := l.poll(events[:], len(later) > 0)
		if err != nil {
			return
		}
		l.lookup(events[:n], conns[:])
		gaveWay := later
		later = nil
		for i := range n {
			c := conns[i]
			if c == nil {
				continue
			}
			conns[i] = nil
			e := events[i].Events
			if e&unix.EPOLLOUT != 0 {
				c.writable()
			}
			if bits := turnBits(e); bits != 0 && c.signal(bits) && c.run(&b) {
				later = append(later, c)
			}
			l.flush(&b)
		}
		for _, c := range gaveWay {
			if c.run(&b) {
				later = append(later, c)
			}
			l.flush(&b)
		}
		b.flush()
	}
}

func (l *loop) flush(b *round) {
	if b.turns++; b.full() {
		b.flush()
	}
}

func turnBits(e uint32) (bits uint32) {
	if e&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		bits = turnRead
	}
	if e&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		bits |= turnHangup
	}
	if e&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		bits |= turnReset
	}
	return bits
}

// poll gets events; it waits for the first one unless there is other work.
func (l *loop) poll(events []unix.EpollEvent, busy bool) (n int, err error) {
	poll := func(uintptr) bool {
		for {
			n, err = unix.EpollWait(l.fd, events, 0)
			if err != unix.EINTR {
				return n != 0 || busy
			}
		}
	}
	if rerr := l.raw.Read(poll); rerr != nil {
		return 0, rerr
	}
	return n, err
}

// lookup finds the connections of events.
func (l *loop) lookup(events []unix.EpollEvent, conns []*conn) {
	if len(events) == 0 {
		return
	}
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	for i := range events {
		conns[i] = l.table.get(uint64(uint32(events[i].Pad))<<32 | uint64(uint32(events[i].Fd)))
	}
}
