package wire

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// health tells whether the server can do all that it is for, to whoever asks by
// HTTP: what is wrong, but no details, which are in the log.
type health struct {
	store storage.Store
	spool storage.Spool
	procs *processes
	log   *zap.Logger

	mu    sync.Mutex // held while it is found out
	known string     // what was wrong
	until time.Time  // for which that is taken to be so still
}

// Bounds of health.
const (
	healthTime = 3 * time.Second // to find it out
	healthKeep = time.Second     // between two tries while something is wrong
)

// ServeHTTP answers 200 and "ok", or 503 and what is wrong.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	text := "ok"
	if wrong := h.wrong(r.Context()); wrong != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = wrong
	}
	_, _ = w.Write([]byte(text + "\n")) // a failure is the peer's
}

// wrong says what is, in a line for each.
func (h *health) wrong(ctx context.Context) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Now().Before(h.until) {
		return h.known
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTime) // others share the answer
	defer cancel()
	var lines []string
	if s, ok := h.store.(interface{ Health(context.Context) error }); ok {
		if err := s.Health(ctx); err != nil {
			h.log.Debug("health: the storage is not well", zap.Error(err))
			lines = append(lines, "storage: the database can't be read or written")
		}
	}
	if h.spool.Full() {
		lines = append(lines, "spool: the disk is full")
	}
	for _, name := range h.procs.failed(ctx) {
		lines = append(lines, "plugin "+name+": it has failed")
	}
	if h.known = strings.Join(lines, "\n"); h.known != "" {
		h.until = time.Now().Add(healthKeep)
	}
	return h.known
}

// live answers as long as the process can.
func live(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}
