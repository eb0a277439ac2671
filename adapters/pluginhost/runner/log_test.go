package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// aSource is a source of which time passes only if the test says so.
func aSource(name string) (s *source, clock *time.Time) {
	k := newSink("echo", zap.NewNop(), NewLog(), DefaultLinesPerSecond)
	now := time.Unix(1_800_000_000, 0)
	k.now = func() time.Time { return now }
	k.idle = time.Hour
	return newSource(name, k), &now
}

func logOf(name, text string) []Entry {
	s, _ := aSource(name)
	s.Write([]byte(text))
	s.Close()
	return s.sink.ring.Last(logEntries)
}

// within is time enough for whatever a test waits for.
const within = 30 * time.Second

// awaitEntry waits for an entry of the log.
func awaitEntry(t testing.TB, l *Log, matches func(Entry) bool) Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var seen []string
	for _, e := range l.Follow(ctx, logEntries) {
		if matches(e) {
			return e
		}
		seen = append(seen, e.Message)
	}
	t.Fatalf("no such entry among %q", seen)
	return Entry{}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, line string
		level      zapcore.Level
		message    string
		fields     string // as JSON
	}{
		{"text", "hello", zap.WarnLevel, "hello", ``},
		{"hclog", `{"@level":"info","@message":"up","@module":"x","@timestamp":"2026-11-26T07:00:00Z","n":1}`, zap.InfoLevel, "up", `[["@module","x"],["n",1]]`},
		{"slog", `{"time":"2026-11-26T07:00:00Z","level":"ERROR+2","msg":"no","err":"e","ok":true}`, zap.ErrorLevel, "no", `[["err","e"],["ok",true]]`},
		{"zap", `{"level":"fatal","ts":1.5,"caller":"a.go:1","msg":"over"}`, zap.ErrorLevel, "over", `[["caller","a.go:1"]]`},
		{"logrus", `{"level":"warning","msg":"m","time":"x"}`, zap.WarnLevel, "m", ``},
		{"pino", `{"level":30,"time":1,"pid":2,"msg":"m"}`, zap.InfoLevel, "m", `[["pid",2]]`},
		{"structlog", `{"event":"m","level":"debug","timestamp":"x"}`, zap.DebugLevel, "m", ``},
		{"python-json-logger", `{"levelname":"CRITICAL","message":"m","asctime":"x"}`, zap.ErrorLevel, "m", ``},
		{"tracing of Rust", `{"timestamp":"x","level":"TRACE","fields":{"message":"m","n":1.5},"target":"t"}`, zap.DebugLevel, "m", `[["n",1.5],["target","t"]]`},
		{"lists and objects", `{"level":"info","msg":"m","a":[1,{"b":2}],"n":null}`, zap.InfoLevel, "m", `[["a","[1,{\"b\":2}]"],["n","null"]]`},
		{"no level", `{"msg":"m"}`, zap.InfoLevel, "m", ``},
		{"unknown level", `{"level":"loud","msg":"m"}`, zap.InfoLevel, "m", ``},
		{"no message", `{"level":"info","a":"b"}`, zap.InfoLevel, "", `[["a","b"]]`},
		{"JSON that is no log line", `{"a":1}`, zap.WarnLevel, `{"a":1}`, ``},
		{"broken JSON", `{"level":"info"`, zap.WarnLevel, `{"level":"info"`, ``},
		{"control characters", "a\x1b[31mb\x00\xff\u202ec\r", zap.WarnLevel, `a\x1b[31mb\x00\xff\u202ec`, ``},
		{"control characters in JSON", `{"level":"info","msg":"a\nb\u001b","k\n":"\u009b"}`, zap.InfoLevel, `a\nb\x1b`, `[["k\\n","\\u009b"]]`},
		{"an error that is none", "Error: no such room", zap.WarnLevel, "Error: no such room", ``},
		{"a goroutine that is none", "goroutine pool: 5", zap.WarnLevel, "goroutine pool: 5", ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := logOf(Stderr, c.line+"\n")
			if len(got) != 1 {
				t.Fatalf("%d entries: %+v", len(got), got)
			}
			e := got[0]
			fields := ""
			if len(e.Fields) > 0 {
				var pairs [][]any
				for _, f := range e.Fields {
					pairs = append(pairs, []any{f.Key, f.Value})
				}
				text, err := json.Marshal(pairs)
				if err != nil {
					t.Fatal(err)
				}
				fields = string(text)
			}
			if e.Level != c.level || e.Message != c.message || fields != c.fields || e.Trace != "" || e.Source != Stderr || e.Cut != 0 {
				t.Errorf("got %+v with %s", e, fields)
			}
		})
	}
}

func TestStandardOutputIsText(t *testing.T) {
	got := logOf(Stdout, `{"level":"debug","msg":"m"}`+"\n")
	if len(got) != 1 || got[0].Level != zap.WarnLevel || got[0].Message != `{"level":"debug","msg":"m"}` || got[0].Source != Stdout {
		t.Errorf("got %+v", got)
	}
}

const (
	goPanic = "panic: boom [recovered]\n\tpanic: again\n\ngoroutine 1 [running]:\nmain.f(0x1)\n\t/a/b.go:3 +0x1d\nexit status 2"
	python  = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    1/0\nZeroDivisionError: division by zero"
	chained = python + "\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    f()\nKeyError: 'x'"
	group   = "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in <module>\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: 1\n    +------------------------------------"
	segv    = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n  File \"a.py\", line 1 in f\n\nExtension modules: x (total: 1)"
	rust    = "thread 'main' panicked at src/main.rs:2:5:\nboom\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"
	rustAll = "thread 'main' panicked at src/main.rs:2:5:\nboom\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/x/library/std/src/panicking.rs:1:5\n   1: main"
	node    = "TypeError: x is not a function\n    at Object.<anonymous> (/a/b.js:1:1)\n    at node:internal/main:2:3\n\nNode.js v24.1.0"
	java    = "Exception in thread \"main\" java.lang.IllegalStateException: no\n\tat a.B.c(B.java:3)\nCaused by: java.io.IOException: disk\n\t... 1 more"
)

func TestTraces(t *testing.T) {
	for _, c := range []struct{ name, trace, message string }{
		{"Go", goPanic, "panic: boom [recovered]"},
		{"Go, fatal", "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [select (no cases)]:\nmain.main()\n\t/a.go:1", "fatal error: all goroutines are asleep - deadlock!"},
		{"Go, SIGQUIT", "SIGQUIT: quit\nPC=0x1 m=0 sigcode=0\n\ngoroutine 1 [running]:\nmain.main()", "SIGQUIT: quit"},
		{"Python", python, "ZeroDivisionError: division by zero"},
		{"Python, chained", chained, "KeyError: 'x'"},
		{"Python, a group", group, "  + Exception Group Traceback (most recent call last):"},
		{"Python, fatal", segv, "Fatal Python error: Segmentation fault"},
		{"Rust", rust, "thread 'main' panicked at src/main.rs:2:5: boom"},
		{"Rust, with a backtrace", rustAll, "thread 'main' panicked at src/main.rs:2:5: boom"},
		{"JavaScript", node, "TypeError: x is not a function"},
		{"Java", java, `Exception in thread "main" java.lang.IllegalStateException: no`},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Lines around it are entries of their own; after a panic of Go only
			// JSON is known to be one.
			got := logOf(Stderr, "before\n"+c.trace+"\n{\"level\":\"info\",\"msg\":\"after\"}\n")
			if len(got) != 3 || got[0].Message != "before" || got[2].Message != "after" {
				t.Fatalf("got %+v", got)
			}
			if e := got[1]; e.Level != zap.ErrorLevel || e.Message != c.message || e.Trace != c.trace || e.Cut != 0 {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestTextAfterATrace(t *testing.T) {
	for _, trace := range []string{python, segv, rust, rustAll, java} {
		got := logOf(Stderr, trace+"\nafter\n")
		if len(got) != 2 || got[0].Trace != trace || got[1].Message != "after" || got[1].Level != zap.WarnLevel {
			t.Errorf("got %+v", got)
		}
	}
}

func TestLongLinesAndTraces(t *testing.T) {
	got := logOf(Stderr, strings.Repeat("x", maxLine+5)+"\nshort\n"+strings.Repeat("y", 3*maxLine))
	if len(got) != 3 || len(got[0].Message) != maxLine || got[0].Cut != 5 || got[1].Message != "short" || got[2].Cut != 2*maxLine {
		t.Errorf("%d entries, cut %d", len(got), got[0].Cut)
	}
	frame := "\tat a.B.c(B.java:3)\n"
	got = logOf(Stderr, "java.lang.StackOverflowError\n"+strings.Repeat(frame, maxTrace/len(frame)+1000)+"after\n")
	if len(got) != 2 || len(got[0].Trace) > maxTrace || got[0].Cut < 900*len(frame) || got[1].Message != "after" {
		t.Errorf("%d entries, trace of %d, cut %d", len(got), len(got[0].Trace), got[0].Cut)
	}
}

func TestManyFields(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"level":"info","msg":"m"`)
	for i := range 100 {
		fmt.Fprintf(&b, `,"k%03d":"12345678"`, i)
	}
	got := logOf(Stderr, b.String()+"}\n")
	if len(got) != 1 || len(got[0].Fields) != maxFields || got[0].Fields[0].Key != "k000" || got[0].Cut != (100-maxFields)*10 {
		t.Errorf("got %+v", got)
	}
}

func TestRate(t *testing.T) {
	s, now := aSource(Stderr)
	for range 3 * DefaultLinesPerSecond {
		s.Write([]byte("line\n"))
	}
	// The last words are not lost in it.
	s.Write([]byte(python + "\n" + `{"level":"debug","msg":"chatter"}` + "\n"))
	entries := s.sink.ring.Last(1)
	if len(entries) != 1 || entries[0].Message != "ZeroDivisionError: division by zero" {
		t.Fatalf("last entry %+v", entries)
	}
	*now = now.Add(time.Second)
	s.Write([]byte("next\n"))
	entries = s.sink.ring.Last(2)
	want := fmt.Sprintf("%d lines were dropped: the plugin logs more than 200 lines, or 5 traces, a second", 2*DefaultLinesPerSecond+1)
	if len(entries) != 2 || entries[0].Message != want || entries[0].Source != Kernel || entries[1].Message != "next" {
		t.Errorf("entries %+v", entries)
	}
	for range 3 * tracesPerSecond {
		s.Write([]byte(python + "\n"))
	}
	s.Close() // tells the rest at once
	entries = s.sink.ring.Last(1)
	if want := fmt.Sprintf("%d lines were dropped", 2*tracesPerSecond); len(entries) != 1 || !strings.HasPrefix(entries[0].Message, want) {
		t.Errorf("entries %+v", entries)
	}
}

// What nothing follows is logged nevertheless.
func TestSilence(t *testing.T) {
	s, now := aSource(Stderr)
	s.sink.idle = time.Millisecond
	defer s.Close()
	s.Write([]byte("Password: "))
	awaitEntry(t, s.sink.ring, func(e Entry) bool { return e.Message == "Password: " })
	s.Write([]byte(python + "\n"))
	awaitEntry(t, s.sink.ring, func(e Entry) bool { return e.Trace == python })
	for range DefaultLinesPerSecond + 10 {
		s.Write([]byte("x\n"))
	}
	s.sink.mu.Lock()
	*now = now.Add(time.Second)
	s.sink.mu.Unlock()
	awaitEntry(t, s.sink.ring, func(e Entry) bool { return strings.Contains(e.Message, "lines were dropped") })
}

func TestServersLog(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	k := newSink("echo", zap.New(core), NewLog(), 10)
	k.setPID(7)
	s := newSource(Stderr, k)
	s.Write([]byte(`{"level":"debug","msg":"hidden"}` + "\n" + `{"level":"panic","msg":"m","plugin":"other","n":1}` + "\n"))
	s.Close()
	all := logs.All()
	if len(all) != 1 || all[0].Level != zap.ErrorLevel {
		t.Fatalf("logged %+v", all)
	}
	want := map[string]any{"plugin": "echo", "pid": int64(7), "source": "stderr", "fields": map[string]any{"plugin": "other", "n": int64(1)}}
	if got := all[0].ContextMap(); !reflect.DeepEqual(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
	if n := len(k.ring.Last(10)); n != 2 {
		t.Errorf("%d entries are kept", n)
	}
}

func TestLogIsBounded(t *testing.T) {
	l := NewLog()
	for i := range 3 * logEntries {
		l.add(Entry{Message: fmt.Sprint(i)})
	}
	if got := l.Last(1000); len(got) != logEntries || got[0].Message != fmt.Sprint(2*logEntries) {
		t.Errorf("%d entries from %s on", len(got), got[0].Message)
	}
	for range logEntries {
		l.add(Entry{Trace: strings.Repeat("x", 64<<10)})
	}
	if got := len(l.Last(logEntries)); got > logBytes/(64<<10) || got == 0 {
		t.Errorf("%d large entries are kept", got)
	}
	if got := l.Last(-1); len(got) != 0 {
		t.Errorf("less than none: %v", got)
	}
}

func TestFollow(t *testing.T) {
	l := NewLog()
	l.add(Entry{Message: "1"})
	l.add(Entry{Message: "2"})
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var got []string
	for missed, e := range l.Follow(ctx, 1) {
		got = append(got, fmt.Sprint(missed, e.Message))
		switch e.Message {
		case "2":
			go l.add(Entry{Message: "3"})
		case "3":
			for i := range logEntries + 2 {
				l.add(Entry{Message: fmt.Sprint("x", i)})
			}
		case fmt.Sprint("x", logEntries+1):
			cancel()
		}
	}
	if len(got) != 2+logEntries || got[0] != "02" || got[1] != "03" || got[2] != "2x2" || got[3] != "0x3" {
		t.Errorf("followed %d entries: %q", len(got), got[:4])
	}
}

func FuzzLog(f *testing.F) {
	for _, text := range []string{goPanic, python, chained, group, segv, rust, rustAll, node, java, "plain\n\n", `{"@level":"info","@message":"m","k":[1]}` + "\n", `{"level":30,"fields":{"message":"m"}}`, "\xff\x00\r\n{", "1|1|unix|/s|grpc\n"} {
		f.Add([]byte(text), uint16(3))
		f.Add([]byte(text+"\nafter\n"), uint16(40))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint16) {
		read := func(split int) []Entry {
			s, _ := aSource(Stderr)
			s.Write(data[:split])
			s.Write(data[split:])
			s.Close()
			return s.sink.ring.Last(logEntries)
		}
		entries := read(0)
		if other := read(min(int(at), len(data))); !reflect.DeepEqual(entries, other) {
			t.Fatalf("whole %+v, split %+v", entries, other)
		}
		size := 0
		safe := func(s string, lines bool) {
			size += len(s)
			if !utf8.ValidString(s) {
				t.Fatalf("not UTF-8: %q", s)
			}
			for _, r := range s {
				if !unicode.IsPrint(r) && !(lines && (r == '\n' || r == '\t')) {
					t.Fatalf("%U in %q", r, s)
				}
			}
		}
		for _, e := range entries {
			safe(e.Message, false)
			safe(e.Trace, true)
			if e.Level < zap.DebugLevel || e.Level > zap.ErrorLevel || len(e.Message) > maxLine || len(e.Trace) > maxTrace || len(e.Fields) > maxFields {
				t.Fatalf("entry %+v", e)
			}
			for _, f := range e.Fields {
				safe(f.Key, false)
				if text, ok := f.Value.(string); ok {
					safe(text, false)
				}
				if len(f.Key) > maxKey {
					t.Fatalf("key %q", f.Key)
				}
			}
		}
		if size > 16*len(data)+100*len(entries) {
			t.Fatalf("%d bytes became %d", len(data), size)
		}
	})
}

func FuzzHandshake(f *testing.F) {
	for _, line := range []string{"1|1|unix|/s|grpc", "1|1|unix|/s|grpc|", "1|2|tcp|127.0.0.1:1|grpc|AAAA|true", "1001|1|unix|/s|grpc", "1|1|1|1|unix|/s|grpc", "1|x|unix|/s|grpc", strings.Repeat("1|", 100)} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		hand, rest := handshakeLine(line)
		if hand == nil {
			return
		}
		if string(rest)+string(hand) != string(line) || !isHandshake(hand) || !strings.HasPrefix(string(hand), "1|") {
			t.Errorf("%q and %q", rest, hand)
		}
	})
}

func TestHandshakeLine(t *testing.T) {
	for line, want := range map[string]string{
		"1|1|unix|/s|grpc":                   "1|1|unix|/s|grpc",
		"1|12|unix|/s|grpc|":                 "1|12|unix|/s|grpc|",
		"1|1|unix|/s|grpc|ABC+/=|true":       "1|1|unix|/s|grpc|ABC+/=|true",
		"done.1|1|unix|/s|grpc":              "1|1|unix|/s|grpc",
		"111|1|unix|/s|grpc":                 "1|1|unix|/s|grpc",
		"2|1|unix|/s|grpc":                   "",
		"1||unix|/s|grpc":                    "",
		"1|1|unix||grpc":                     "",
		"1|1|unix|/s":                        "",
		"1|1|unix|/s|http":                   "",
		"1|1|unix|/s|grpc|!":                 "",
		"1|1|unix|/s|grpc|x|maybe":           "",
		"1|1|unix|/s|grpc|x|true|more":       "",
		"1|1|udp|/s|grpc":                    "",
		"a line that says 1|2|3 and nothing": "",
		strings.Repeat("1|1|unix|", 7000):    "",
		strings.Repeat("1|x", maxLine/3):     "",
		"":                                   "",
	} {
		if hand, _ := handshakeLine([]byte(line)); string(hand) != want {
			t.Errorf("%.40q: got %q, want %q", line, hand, want)
		}
	}
}
