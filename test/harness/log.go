package harness

import (
	"bytes"
	"context"
	"fmt"
	"sync"
)

// Log keeps what a process wrote and wakes those who wait for it. It is an
// io.Writer for exec.Cmd.
type Log struct {
	mu      sync.Mutex
	text    bytes.Buffer
	grown   chan struct{} // closed and replaced by each Write
	discard bool          // the bound was reached
}

// maxLog bounds what is kept: a server that logs without end is a finding of
// its own, not a reason to fill the memory of the test.
const maxLog = 16 << 20

// NewLog returns an empty one.
func NewLog() *Log { return &Log{grown: make(chan struct{})} }

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len()+len(p) > maxLog {
		l.discard = true
	} else {
		l.text.Write(p)
	}
	close(l.grown)
	l.grown = make(chan struct{})
	return len(p), nil
}

// String returns everything so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.discard {
		return l.text.String() + "\n[harness: the rest of the log was dropped]\n"
	}
	return l.text.String()
}

// next is closed when more has been written.
func (l *Log) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grown
}

// Await returns when ok holds for the text so far.
func (l *Log) Await(ctx context.Context, ok func(string) bool) error {
	for {
		grown := l.next()
		if ok(l.String()) {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("harness: waiting for a line of the log: %w", ctx.Err())
		}
	}
}
