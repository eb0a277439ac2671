package runner

import (
	"context"
	"iter"
	"sync"
)

// Bounds of a Log.
const (
	logEntries = 200
	logBytes   = 1 << 20 // of text, roughly; the newest entry stays whatever its size
)

// A Log keeps the last entries of a plugin, at most 200 and about 1 MiB, over
// restarts and reloads if each of its processes is given the same Log. Its methods
// may be called from any goroutine.
type Log struct {
	mu      sync.Mutex // guards what follows
	entries []Entry    // oldest first
	bytes   int
	next    uint64        // number of the next entry
	changed chan struct{} // closed at the next entry; nil while nobody waits
}

// NewLog returns an empty Log.
func NewLog() *Log { return &Log{} }

func (e *Entry) size() int {
	n := 128 + len(e.Message) + len(e.Trace)
	for _, f := range e.Fields {
		n += 32 + len(f.Key)
		if text, ok := f.Value.(string); ok {
			n += len(text)
		}
	}
	return n
}

func (l *Log) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	l.bytes += e.size()
	l.next++
	for len(l.entries) > 1 && (len(l.entries) > logEntries || l.bytes > logBytes) {
		l.bytes -= l.entries[0].size()
		l.entries[0] = Entry{}
		l.entries = l.entries[1:]
	}
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Last returns the last n entries, oldest first.
func (l *Log) Last(n int) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := max(len(l.entries)-max(n, 0), 0)
	return append([]Entry(nil), l.entries[from:]...)
}

// Follow yields the last n entries and then each one as it comes, until ctx ends. With
// each entry goes the number of those before it that the reader was too slow for: nobody
// waits for a reader, and none has a queue.
func (l *Log) Follow(ctx context.Context, n int) iter.Seq2[int, Entry] {
	l.mu.Lock()
	next := l.next - uint64(min(len(l.entries), max(n, 0)))
	l.mu.Unlock()
	return func(yield func(int, Entry) bool) {
		for at := next; ; {
			fresh, missed, changed := l.since(at)
			at += uint64(missed + len(fresh))
			for _, e := range fresh {
				if ctx.Err() != nil || !yield(missed, e) {
					return
				}
				missed = 0
			}
			if len(fresh) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// since returns the entries from the number at on, how many are gone, and what
// to wait for if there are none.
func (l *Log) since(at uint64) (fresh []Entry, missed int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.next - uint64(len(l.entries)); at < first {
		missed = int(first - at)
		at = first
	}
	fresh = append([]Entry(nil), l.entries[len(l.entries)-int(l.next-at):]...)
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return fresh, missed, l.changed
}
