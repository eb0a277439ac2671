package runner

import "bytes"

// A traceKind is a way in which a language tells of its end. What belongs
// together is one event, however many lines it has.
type traceKind int

const (
	noTrace     traceKind = iota
	goTrace               // panic:, fatal error:, goroutine 1 [running]:
	pythonTrace           // Traceback (most recent call last):
	pythonFatal           // Fatal Python error:, what faulthandler prints
	rustTrace             // thread 'main' panicked at
	frameTrace            // SomeError: ... and lines that are indented: JavaScript, Java, C#
)

// traceStart says whether a line of text begins a trace.
func traceStart(line []byte) traceKind {
	has := func(prefix string) bool { return bytes.HasPrefix(line, []byte(prefix)) }
	if len(line) == 0 {
		return noTrace
	}
	switch line[0] {
	case 'p', 'f', 'g', 'S', 'r', 'u':
		for _, prefix := range []string{"panic: ", "fatal error: ", "goroutine ", "SIGQUIT: ", "SIGABRT: ", "SIGSEGV: ", "SIGBUS: ", "SIGFPE: ", "SIGILL: ", "SIGTRAP: ",
			"runtime: goroutine stack exceeds ", "unexpected fault address "} {
			if has(prefix) && (prefix != "goroutine " || bytes.HasSuffix(line, []byte("]:"))) {
				return goTrace
			}
		}
	case 't':
		if has("thread '") && bytes.Contains(line, []byte(" panicked at ")) {
			return rustTrace
		}
	case 'T', ' ':
		if has("Traceback (most recent call last):") || has("  + Exception Group Traceback (most recent call last):") {
			return pythonTrace
		}
	case 'F':
		if has("Fatal Python error: ") {
			return pythonFatal
		}
	}
	if has("Uncaught ") || has("Exception in thread ") || has("Unhandled exception") {
		return frameTrace
	}
	if name, _, _ := bytes.Cut(line, []byte(":")); isErrorName(name) {
		return frameTrace
	}
	return noTrace
}

// isErrorName knows TypeError and java.io.IOException.
func isErrorName(name []byte) bool {
	if len(name) > 128 || !bytes.HasSuffix(name, []byte("Error")) && !bytes.HasSuffix(name, []byte("Exception")) {
		return false
	}
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '$':
		default:
			return false
		}
	}
	return true
}

// A trace collects the lines of one event.
type trace struct {
	kind    traceKind
	text    []byte // at most maxTrace
	cut     int
	lines   int
	message []byte // the line that says what happened
	frames  bool   // rust: the backtrace has begun
	over    bool   // python: the exception was named; rust: the note was there
	chained bool   // python: another trace follows, which belongs to this one
}

// rustMessage is how many lines a message of Rust may have when no backtrace
// ends it.
const rustMessage = 16

// maxHeadline is how much of a line becomes the message of a trace.
const maxHeadline = 1 << 10

func newTrace(kind traceKind, line []byte, cut int) *trace {
	t := &trace{kind: kind}
	t.add(line, cut)
	t.message = append([]byte(nil), line[:min(len(line), maxHeadline)]...)
	return t
}

func (t *trace) add(line []byte, cut int) {
	t.lines++
	t.cut += cut
	if room := maxTrace - len(t.text) - 1; len(line) > room {
		keep := max(room, 0)
		t.cut += len(line) - keep
		line = line[:keep]
	}
	if len(t.text) < maxTrace {
		t.text = append(append(t.text, line...), '\n')
	}
}

// take adds the line if it belongs to the trace, or says that it does not.
func (t *trace) take(line []byte, cut int) bool {
	if !t.belongs(line) {
		return false
	}
	t.add(line, cut)
	return true
}

func (t *trace) belongs(line []byte) bool {
	has := func(prefix string) bool { return bytes.HasPrefix(line, []byte(prefix)) }
	indented := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
	switch t.kind {
	case goTrace: // the process ends, or goroutines follow; the message may have any form
		return !has("{")
	case pythonTrace:
		switch {
		case t.over && has("Traceback (most recent call last):"):
			t.over = !t.chained // else it is another trace
			return t.chained
		case t.over && (has("During handling of the above exception") || has("The above exception was the direct cause")):
			t.chained = true
			return true
		case t.over:
			return len(line) == 0
		case indented:
			return true
		case has("{"):
			return false
		case len(line) > 0: // the exception
			t.over, t.chained = true, false
			t.message = append(t.message[:0], line[:min(len(line), maxHeadline)]...)
			return true
		}
		return true
	case pythonFatal:
		return len(line) == 0 || indented || has("Current thread ") || has("Thread 0x") || has("Python runtime state") || has("Extension modules: ")
	case rustTrace:
		switch {
		case t.over || has("{"):
			return false
		case has("note: "):
			t.over = true
			return true
		case has("stack backtrace:"):
			t.frames = true
			return true
		case t.frames:
			return indented
		case t.lines == 1 && len(t.message)+2+len(line) <= maxHeadline:
			t.message = append(append(t.message, ' '), line...)
		}
		return t.lines < rustMessage
	case frameTrace:
		return len(line) == 0 || indented || has("Caused by: ") || has("Node.js v")
	}
	return false
}

// single says that nothing belonged to the line: "Error: no such room" alone is
// a line of text.
func (t *trace) single() bool {
	return t.kind == frameTrace && bytes.IndexByte(bytes.TrimSpace(t.text), '\n') < 0
}
