package c2s

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// alarmEvery is how often a failure that many clients meet is logged.
const alarmEvery = 10 * time.Second

// alarm lets one log line through in a while: what clients cause must not fill
// the log.
type alarm struct {
	mu   sync.Mutex
	next time.Time
	kept int // back since the last line
}

// due says whether a line may be logged, and how many were not before it.
func (a *alarm) due(now time.Time) (kept int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Before(a.next) {
		a.kept++
		return 0, false
	}
	kept, a.kept, a.next = a.kept, 0, now.Add(alarmEvery)
	return kept, true
}

// sourceFailed logs that the source of accounts could not answer. A client that
// went away in between is no such failure.
func (srv *Server) sourceFailed(what string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if kept, ok := srv.sources.due(srv.Now()); ok {
		srv.Log.Error("auth: "+what+" failed: logins fail until the source of accounts answers again", zap.Error(err), zap.Int("more", kept))
	}
}
