package runner

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap/zapcore"
)

// An Entry is one event of a plugin's log. Control characters in it are escaped,
// but for the line ends and tabs of a Trace.
type Entry struct {
	Time    time.Time     // when the line was read
	Level   zapcore.Level // from debug to error: a plugin can't end the server
	PID     int           // of the process
	Source  string        // Stdout, Stderr, or Kernel for a line about the log itself
	Message string
	Fields  []Field // at most 32, in order of their keys
	Trace   string  // of a panic or an exception that nobody caught; many lines
	Cut     int     // bytes that were left out, because the line or the trace was too long
}

// Where an Entry comes from.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	Kernel = "kernel"
)

// A Field is one more fact of an Entry. Value is a string, an int64, a float64
// or a bool; lists and objects are strings of JSON.
type Field struct {
	Key   string
	Value any
}

// Bounds of an Entry.
const (
	maxFields = 32
	maxKey    = 64        // bytes
	maxTrace  = 256 << 10 // bytes
)

// The names that loggers give to the three things which every line has: hclog,
// slog, zap, zerolog, logrus, pino, bunyan, structlog, python-json-logger and
// the tracing of Rust. The first one that is there counts.
var (
	levelKeys   = [...]string{"@level", "level", "levelname", "severity"}
	messageKeys = [...]string{"@message", "msg", "message", "event"}
	timeKeys    = [...]string{"@timestamp", "time", "ts", "timestamp", "asctime"}
)

// parse reads a line of JSON. A line that is none, or an object without level
// and message, is text: the result is false.
func parse(line []byte) (e Entry, ok bool) {
	if len(line) < 2 || line[0] != '{' {
		return Entry{}, false
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(line, &object) != nil {
		return Entry{}, false
	}
	level, hasLevel := take(object, levelKeys[:])
	if hasLevel {
		e.Level, hasLevel = parseLevel(level)
	}
	message, hasMessage := take(object, messageKeys[:])
	if !hasMessage { // tracing keeps the message among the fields
		var inner map[string]json.RawMessage
		if json.Unmarshal(object["fields"], &inner) == nil {
			if message, hasMessage = take(inner, messageKeys[:]); hasMessage {
				delete(object, "fields")
				for key, value := range inner {
					if _, taken := object[key]; !taken {
						object[key] = value
					}
				}
			}
		}
	}
	if !hasLevel && !hasMessage {
		return Entry{}, false
	}
	take(object, timeKeys[:]) // ours is the one that counts
	e.Message = clean(asText(message), maxLine, false)
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if len(e.Fields) == maxFields {
			e.Cut += len(object[key])
			continue
		}
		e.Fields = append(e.Fields, Field{clean(key, maxKey, false), value(object[key])})
	}
	return e, true
}

// take removes the first of the keys that is there and returns its value.
func take(object map[string]json.RawMessage, keys []string) (json.RawMessage, bool) {
	for _, key := range keys {
		if v, ok := object[key]; ok {
			delete(object, key)
			return v, true
		}
	}
	return nil, false
}

// parseLevel knows words ("warn", slog's "ERROR+2") and the numbers of pino and
// bunyan. What ends a process elsewhere (fatal, panic) is an error here.
func parseLevel(v json.RawMessage) (zapcore.Level, bool) {
	if n, err := strconv.Atoi(string(v)); err == nil {
		switch {
		case n < 30:
			return zapcore.DebugLevel, true
		case n < 40:
			return zapcore.InfoLevel, true
		case n < 50:
			return zapcore.WarnLevel, true
		}
		return zapcore.ErrorLevel, true
	}
	word := strings.ToLower(asText(v))
	if at := strings.IndexAny(word, "+-"); at >= 0 {
		word = word[:at]
	}
	switch word {
	case "trace", "debug":
		return zapcore.DebugLevel, true
	case "info", "notice":
		return zapcore.InfoLevel, true
	case "warn", "warning":
		return zapcore.WarnLevel, true
	case "error", "err", "dpanic", "panic", "fatal", "critical", "crit", "alert", "emergency":
		return zapcore.ErrorLevel, true
	}
	return zapcore.InfoLevel, false
}

// asText is a JSON string's text, or any other value as it stands there.
func asText(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

func value(v json.RawMessage) any {
	text := string(bytes.TrimSpace(v))
	switch {
	case text == "true":
		return true
	case text == "false":
		return false
	case strings.HasPrefix(text, `"`):
		return clean(asText(v), maxLine, false)
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return f
	}
	return clean(text, maxLine, false)
}

// clean escapes what could make a log line look like another one, or steer a
// terminal: control and format characters, line ends, bytes that are no UTF-8.
// lines leaves tabs and line ends alone. The result is at most limit bytes.
func clean(s string, limit int, lines bool) string {
	s, _ = cleanCut(s, limit, lines)
	return s
}

// cleanCut is clean, and says how many bytes of s there was no room for.
func cleanCut(s string, limit int, lines bool) (string, int) {
	plain := len(s) <= limit
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f || lines && (s[i] == '\n' || s[i] == '\t')
	}
	if plain {
		return s, 0
	}
	b := make([]byte, 0, min(len(s)+16, limit))
	i := 0
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		var next string
		switch {
		case r == utf8.RuneError && size == 1:
			next = `\x` + string("0123456789abcdef"[s[i]>>4]) + string("0123456789abcdef"[s[i]&15])
		case lines && (r == '\n' || r == '\t'), unicode.IsPrint(r):
			next = s[i : i+size]
		default:
			next = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if len(b)+len(next) > limit {
			break
		}
		b = append(b, next...)
		i += size
	}
	return string(b), len(s) - i
}
