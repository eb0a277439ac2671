package pluginhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// Bounds of HTTP requests to one plugin.
const (
	maxRouted      = 4096     // that wait, or are handled
	maxRoutedBytes = 64 << 20 // of their bodies
	maxRepeated    = 4 << 20  // of the answer to one that can be repeated
	maxDeaths      = 3        // of processes that had a request
)

// web is what a plugin's HTTP routes share: the process that answers, and what is counted.
type web struct {
	mu      sync.Mutex // guards what follows
	now     *target    // nil: no process acts
	changed chan struct{}
	held    int
	bytes   int
}

// target is a process that answers HTTP requests.
type target struct {
	in        *instance
	gone      context.Context // ends when it does not act any more
	leave     context.CancelFunc
	died      bool // it has crashed; web.mu guards it
	transport *http.Transport
}

// httpSocket returns the path of the socket on which the process is to serve its routes; "" if it has none.
func (in *instance) httpSocket() string {
	if in.http == "" && len(in.manifest.GetHttpRoutes()) > 0 {
		h := in.p.host
		in.http = filepath.Join(h.runner.Folder(), "h"+strconv.FormatUint(h.sockets.Add(1), 10))
	}
	return in.http
}

// point gives requests to a process from now on.
func (w *web) point(in *instance) {
	if in.http == "" {
		return
	}
	t := &target{in: in, transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", in.http)
		},
		DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second,
	}}
	t.gone, t.leave = context.WithCancel(context.Background())
	w.turn(func() { w.now = t })
}

// leave gives no further requests to a process. Those that can be repeated are given to the next one; others it may
// bring to their end.
func (w *web) leave(in *instance, crashed bool) {
	if in.http == "" {
		return
	}
	var was *target
	w.turn(func() {
		if w.now != nil && w.now.in == in {
			was, w.now = w.now, nil
			was.died = crashed
		}
	})
	if was != nil {
		was.leave()
		was.transport.CloseIdleConnections()
	}
	_ = os.Remove(in.http) // what is connected stays so
}

// turn changes the target, and tells who waits.
func (w *web) turn(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

// errAway: no process answers for too long.
var errAway = errors.New("no process of the plugin answers")

// wait returns the process that answers, which is another one than not.
func (w *web) wait(ctx context.Context, not *target, most time.Duration) (*target, error) {
	limit := time.NewTimer(max(most, 0))
	defer limit.Stop()
	for {
		w.mu.Lock()
		t, changed := w.now, w.changed
		w.mu.Unlock()
		if t != nil && t != not {
			return t, nil
		}
		select {
		case <-changed:
		case <-limit.C:
			return nil, errAway
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// died says that a process has crashed; t may be nil.
func (w *web) died(t *target) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return t != nil && t.died
}

// errDeadly is of a request whose processes die.
var errDeadly = fmt.Errorf("%d processes died while they had it", maxDeaths)

// take counts a request, or what is known of its body by then; false: there is no room.
func (w *web) take(requests, bytes int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held+requests > maxRouted || w.bytes+bytes > maxRoutedBytes {
		return false
	}
	w.held += requests
	w.bytes += bytes
	return true
}

func (w *web) give(requests, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held -= requests
	w.bytes -= bytes
}

// route is a http.Handler, and the http.RoundTripper of its proxy.
type route struct {
	p          *plugin
	repeatable bool
	proxy      *httputil.ReverseProxy
}

// route gives routes the handlers that the server mounts.
func (p *plugin) route(list []extension.Route) {
	for i := range list {
		r := &route{p: p, repeatable: list[i].Repeatable}
		r.proxy = &httputil.ReverseProxy{Rewrite: rewrite, Transport: r, ErrorHandler: r.failed, ErrorLog: zap.NewStdLog(p.log)}
		list[i].Handler = r
	}
}

// rewrite makes a request for the plugin: what the client says of its address is dropped.
func rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host = "http", "plugin"
	r.Out.Host = r.In.Host
	for _, name := range []string{"Forwarded", "X-Real-Ip", "Connection", "Upgrade"} {
		r.Out.Header.Del(name)
	}
	r.SetXForwarded()
}

// ServeHTTP implements http.Handler.
func (r *route) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	web := &r.p.web
	if !web.take(1, 0) {
		tryAgain(w, "too many requests at a time")
		return
	}
	defer web.give(1, 0)
	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, extension.RouteBytes))
	if err != nil {
		status := http.StatusBadRequest
		if errors.As(err, new(*http.MaxBytesError)) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, http.StatusText(status), status)
		return
	}
	if !web.take(0, len(body)) {
		tryAgain(w, "too much waits")
		return
	}
	defer web.give(0, len(body))
	c := http.NewResponseController(w)
	// The request is read: now the end of the connection is all that is looked for. Who can't set deadlines has none.
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Now().Add(extension.RouteTime + 10*time.Second))
	ctx, cancel := context.WithTimeout(q.Context(), extension.RouteTime)
	defer cancel()
	q = q.WithContext(context.WithValue(ctx, bodyKey{}, body))
	q.Body, q.ContentLength = http.NoBody, int64(len(body)) // RoundTrip has it from the context
	r.proxy.ServeHTTP(w, q)
}

// bodyKey is of the body of a request, in its context.
type bodyKey struct{}

func tryAgain(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, text, http.StatusServiceUnavailable)
}

// failed answers a request that no process has answered.
func (r *route) failed(w http.ResponseWriter, q *http.Request, err error) {
	switch {
	case q.Context().Err() != nil && !errors.Is(q.Context().Err(), context.DeadlineExceeded): // the client has gone
		panic(http.ErrAbortHandler)
	case errors.Is(err, errAway), r.repeatable && !errors.Is(err, errLarge):
		tryAgain(w, "try again")
	default:
		http.Error(w, "the answer did not come whole", http.StatusBadGateway)
	}
	r.p.log.Warn("an HTTP request was not answered by the plugin", zap.String("path", q.URL.Path), zap.Error(err))
}

// RoundTrip implements http.RoundTripper: it waits for a process, and gives it the request.
func (r *route) RoundTrip(q *http.Request) (*http.Response, error) {
	body, _ := q.Context().Value(bodyKey{}).([]byte)
	web := &r.p.web
	var before *target
	for deaths := 0; ; {
		t, err := web.wait(q.Context(), before, r.p.conf.Limits.GraceTime)
		if err != nil {
			return nil, err
		}
		if web.died(before) {
			if deaths++; deaths == maxDeaths {
				return nil, errDeadly
			}
		}
		attempt := q.Clone(q.Context())
		attempt.Body, attempt.ContentLength, attempt.TransferEncoding = http.NoBody, int64(len(body)), nil
		if len(body) > 0 {
			attempt.Body = io.NopCloser(bytes.NewReader(body))
		}
		var answer *http.Response
		if r.repeatable {
			answer, err = t.whole(attempt)
		} else {
			answer, err = t.transport.RoundTrip(attempt)
		}
		switch {
		case err == nil:
			return answer, nil
		case q.Context().Err() != nil:
			return nil, q.Context().Err()
		case errors.Is(err, errLarge), !r.repeatable && !undialed(err):
			return nil, err
		}
		before = t
	}
}

// undialed says that the process has not seen the request.
func undialed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

var errLarge = fmt.Errorf("an answer to a request that can be repeated has more than %d bytes", maxRepeated)

// whole returns the answer with its whole body, or an error: that includes that the process acts no more.
func (t *target) whole(q *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(q.Context())
	defer cancel()
	defer context.AfterFunc(t.gone, cancel)()
	answer, err := t.transport.RoundTrip(q.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxRepeated+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxRepeated:
		return nil, errLarge
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return answer, nil
}
