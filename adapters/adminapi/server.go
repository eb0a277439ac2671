package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/admin"
)

// Options of a Server.
type Options struct {
	// Socket is the path of the socket, as SocketPath gives it. The caller
	// holds the lock of the data folder: what is at this path is left over.
	Socket string
	// Timeout bounds the work on one request; default 30 s.
	Timeout time.Duration
}

// Deps are what a Server offers.
type Deps struct {
	Users   admin.Users
	Server  admin.Server
	Plugins admin.Plugins // nil: there are none
	Calls   admin.Calls   // nil: there are none
	Log     *zap.Logger
}

// Server answers on the admin socket.
type Server struct {
	options Options
	deps    Deps
	http    *http.Server
	running chan struct{} // a slot for each request that is handled
	// following ends with Stop, which waits for no end of a log or of a call.
	following context.Context
	unfollow  context.CancelFunc

	listener *net.UnixListener // nil until Start
	done     chan struct{}     // closed when the goroutine of Start has ended
}

// drainTime is how long Stop accepts who has connected before the socket was
// removed. They are there already, so this is about a busy machine only.
const drainTime = 100 * time.Millisecond

// New returns a Server. It starts nothing.
func New(o Options, d Deps) (*Server, error) {
	if o.Socket == "" || d.Users == nil || d.Server == nil {
		return nil, errors.New("adminapi: socket, users and server are needed")
	}
	if len(o.Socket) > maxSocketPath {
		return nil, fmt.Errorf("adminapi: the path %s is longer than %d bytes, which no socket can have", o.Socket, maxSocketPath)
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if d.Log == nil {
		d.Log = zap.NewNop()
	}
	if d.Plugins == nil {
		d.Plugins = noPlugins{}
	}
	if d.Calls == nil {
		d.Calls = noCalls{}
	}
	s := &Server{options: o, deps: d, running: make(chan struct{}, maxRunning)}
	s.following, s.unfollow = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      o.Timeout + 10*time.Second,
		IdleTimeout:       30 * time.Second,
		ErrorLog:          zap.NewStdLog(d.Log),
	}
	return s, nil
}

// Start makes the folder and the socket and answers from then on. Call it once.
func (s *Server) Start() error {
	folder := filepath.Dir(s.options.Socket)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("adminapi: %w", err)
	}
	if err := checkFolder(folder); err != nil {
		return err
	}
	if err := os.Remove(s.options.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("adminapi: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.options.Socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("adminapi: %w", err)
	}
	// Until now the folder has kept others out.
	if err := os.Chmod(s.options.Socket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("adminapi: %w", err), l.Close())
	}
	l.SetUnlinkOnClose(false) // Stop does it, earlier
	s.listener, s.done = l, make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.http.Serve(drained{l}); !errors.Is(err, net.ErrClosed) {
			s.deps.Log.Error("the admin socket stopped answering", zap.Error(err))
		}
	}()
	return nil
}

// drained is a listener that counts as closed when its deadline has passed.
type drained struct{ *net.UnixListener }

func (d drained) Accept() (net.Conn, error) {
	conn, err := d.UnixListener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = net.ErrClosed
	}
	return conn, err
}

// Stop removes the socket and waits until who has connected before is
// answered, or ctx ends. It does nothing if Start was not called or failed, and
// when it is called again.
//
// So a client either finds no socket, and knows that nothing was done, or has
// its answer; a command line that comes at this moment can try again.
func (s *Server) Stop(ctx context.Context) error {
	l := s.listener
	if l == nil {
		return nil
	}
	s.listener = nil
	s.unfollow()
	err := os.Remove(s.options.Socket)
	if err := l.SetDeadline(time.Now().Add(drainTime)); err != nil {
		return errors.Join(fmt.Errorf("adminapi: %w", err), s.http.Close())
	}
	<-s.done
	if late := s.http.Shutdown(ctx); late != nil {
		err = errors.Join(err, fmt.Errorf("requests did not end in time: %w", late), s.http.Close())
	}
	if err != nil {
		return fmt.Errorf("adminapi: %w", err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	within := func(timeout time.Duration, pattern string, do func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !s.enter(w) {
				return
			}
			defer s.leave()
			ctx, cancel := context.WithTimeout(r.Context(), timeout)
			defer cancel()
			if timeout > s.options.Timeout {
				// Not possible for a recorder in tests, which needs none.
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout + 10*time.Second))
			}
			r = r.WithContext(ctx)
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			body, err := do(r)
			if err != nil {
				status, body := encodeError(err)
				answer(w, status, body)
				return
			}
			answer(w, http.StatusOK, body)
		})
	}
	handle := func(pattern string, do func(r *http.Request) (any, error)) { within(s.options.Timeout, pattern, do) }
	handle("POST "+pathUser, s.addUser)
	handle("GET "+pathUser, s.user)
	handle("DELETE "+pathUser, s.removeUser)
	handle("PUT "+pathPassword, s.setPassword)
	handle("GET "+pathUsers, s.listUsers)
	handle("GET "+pathStatus, s.status)
	handle("GET "+pathSessions, s.sessions)
	handle("POST "+pathReload, s.reload)
	handle("GET "+pathPlugins, s.plugins)
	handle("GET "+pathPlugin, s.plugin)
	within(changeTime, "POST "+pathPluginReload, s.change(admin.Plugins.ReloadPlugin))
	within(changeTime, "POST "+pathPluginEnable, s.change(admin.Plugins.EnablePlugin))
	within(changeTime, "POST "+pathPluginDisable, s.change(admin.Plugins.DisablePlugin))
	mux.HandleFunc("GET "+pathPluginLogs, s.pluginLogs)
	handle("GET "+pathCalls, s.listCalls)
	mux.HandleFunc("POST "+pathCall, s.pluginCall)
	profiles(mux)
	return mux
}

// enter takes a slot for a request, or answers that there is none.
func (s *Server) enter(w http.ResponseWriter) bool {
	select {
	case s.running <- struct{}{}:
		return true
	default:
		answer(w, http.StatusServiceUnavailable, errorBody{Text: "adminapi: too many requests at a time; try again"})
		return false
	}
}

func (s *Server) leave() { <-s.running }

// answer writes a body as JSON. An error of the connection is nobody's concern:
// the client sees it.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
