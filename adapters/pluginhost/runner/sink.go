package runner

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Lines and traces of a plugin that are logged in a second. What is beyond is
// dropped and counted: a plugin that writes without end costs the server the
// reading, and no more.
const (
	DefaultLinesPerSecond = 200
	tracesPerSecond       = 5
)

// idleTime is how long a source waits for the rest of a trace, of a line, or for
// the end of a flood, until it logs what it has.
const idleTime = time.Second

// A sink takes the entries of one process from all its sources.
type sink struct {
	name  string
	log   *zap.Logger
	ring  *Log
	lines int // a second
	now   func() time.Time
	idle  time.Duration // see idleTime

	mu      sync.Mutex // guards what follows
	pid     int
	second  time.Time // when the current second began
	used    int
	traces  int
	dropped int
}

func newSink(name string, log *zap.Logger, ring *Log, lines int) *sink {
	return &sink{name: name, log: log, ring: ring, lines: lines, now: time.Now, idle: idleTime}
}

func (k *sink) setPID(pid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pid = pid
}

// room takes one of the lines of this second, or says that there is none left.
func (k *sink) room() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turn()
	if k.used >= k.lines {
		k.dropped++
		return false
	}
	k.used++
	return true
}

// roomForTrace is room for a trace, which has a bound of its own: the last words
// of a plugin are not lost in its chatter.
func (k *sink) roomForTrace() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turn()
	if k.traces >= tracesPerSecond {
		k.dropped++
		return false
	}
	k.traces++
	return true
}

// turn begins a new second when the old one is over. The caller holds mu.
func (k *sink) turn() {
	now := k.now()
	if now.Sub(k.second) < time.Second && !now.Before(k.second) {
		return
	}
	k.second, k.used, k.traces = now, 0, 0
	k.tell()
}

// settle says how much was dropped, if the second in which it was is over, or if
// this is the end. It reports whether something is left to say.
func (k *sink) settle(end bool) (left bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dropped > 0 && (end || k.now().Sub(k.second) >= time.Second) {
		k.tell()
	}
	return k.dropped > 0
}

func (k *sink) tell() {
	if k.dropped == 0 {
		return
	}
	e := Entry{Time: k.now(), Level: zapcore.WarnLevel, Source: Kernel,
		Message: fmt.Sprintf("%d lines were dropped: the plugin logs more than %d lines, or %d traces, a second", k.dropped, k.lines, tracesPerSecond)}
	k.dropped = 0
	k.write(e)
}

// put logs an entry for which there was room.
func (k *sink) put(e Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e.Time = k.now()
	k.write(e)
}

// write is called with mu held, so that the ring and the log have one order.
func (k *sink) write(e Entry) {
	e.PID = k.pid
	k.ring.add(e)
	c := k.log.Check(e.Level, e.Message)
	if c == nil {
		return
	}
	fields := append(make([]zap.Field, 0, 6), zap.String("plugin", k.name), zap.Int("pid", e.PID), zap.String("source", e.Source))
	if len(e.Fields) > 0 {
		inner := make([]zap.Field, len(e.Fields))
		for i, f := range e.Fields {
			inner[i] = zap.Any(f.Key, f.Value)
		}
		fields = append(fields, zap.Dict("fields", inner...))
	}
	if e.Trace != "" {
		fields = append(fields, zap.String("trace", e.Trace))
	}
	if e.Cut > 0 {
		fields = append(fields, zap.Int("cut", e.Cut))
	}
	c.Write(fields...)
}

// A source makes entries of what a plugin writes to one of its outputs. It is an
// io.Writer that never fails and never waits, and may be called from any
// goroutine.
type source struct {
	name string // Stdout or Stderr
	sink *sink

	mu     sync.Mutex // guards what follows
	split  splitter
	first  func(line []byte) bool // takes a line that is no log, until it is nil
	trace  *trace
	timer  *time.Timer
	closed bool
}

func newSource(name string, k *sink) *source { return &source{name: name, sink: k} }

// Write takes some bytes of the output.
func (s *source) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return len(data), nil
	}
	s.split.feed(data, s.line)
	s.wait()
	return len(data), nil
}

// Close logs what is left. Nothing is taken afterwards.
func (s *source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.flush()
	s.sink.settle(true)
}

// wait sees to it that what is held is logged when nothing follows.
func (s *source) wait() {
	if s.trace == nil && len(s.split.held) == 0 && !s.sink.settle(false) {
		return
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(s.sink.idle, s.quiet)
	} else {
		s.timer.Reset(s.sink.idle)
	}
}

// quiet is called on a goroutine of its own when nothing came for a while.
func (s *source) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.flush()
	s.wait()
}

func (s *source) flush() {
	s.split.flush(s.line)
	s.end()
}

// line takes one line.
func (s *source) line(text []byte, cut int) {
	if s.first != nil && s.first(text) {
		return
	}
	if s.trace != nil {
		if s.trace.take(text, cut) {
			return
		}
		s.end()
	}
	if len(text) == 0 && cut == 0 {
		return
	}
	if kind := traceStart(text); kind != noTrace {
		s.trace = newTrace(kind, text, cut)
		return
	}
	s.put(text, cut)
}

// put logs a line that stands alone.
func (s *source) put(text []byte, cut int) {
	if !s.sink.room() {
		return
	}
	e, ok := Entry{}, false
	if cut == 0 && s.name == Stderr {
		e, ok = parse(text)
	}
	if !ok {
		e = Entry{Level: zapcore.WarnLevel}
		e.Message, e.Cut = cleanCut(string(text), maxLine, false)
	}
	e.Source = s.name
	e.Cut += cut
	s.sink.put(e)
}

// end logs the trace, if there is one.
func (s *source) end() {
	t := s.trace
	s.trace = nil
	switch {
	case t == nil:
	case t.single():
		s.put(bytes.TrimRight(t.text, "\n"), t.cut)
	case s.sink.roomForTrace():
		text, cut := cleanCut(string(bytes.TrimRight(t.text, "\n")), maxTrace, true)
		s.sink.put(Entry{Level: zapcore.ErrorLevel, Source: s.name, Message: clean(string(t.message), maxHeadline, false), Trace: text, Cut: t.cut + cut})
	}
}
