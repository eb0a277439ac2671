package runner

import (
	"fmt"
	"io"
	"log"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
)

// Bounds of what go-plugin says in one line.
const (
	maxSaid = 1 << 10 // bytes of a text
	maxArgs = 16
)

// A hclogger hands go-plugin's own log to zap. All of it is debug: what matters
// of it comes to us as an error of a call, and is told once, by whoever made
// the call.
type hclogger struct {
	log  *zap.Logger
	name string
	args []any
}

var _ hclog.Logger = (*hclogger)(nil)

func (h *hclogger) Log(level hclog.Level, msg string, args ...any) {
	if level == hclog.Off {
		return
	}
	c := h.log.Check(zap.DebugLevel, "go-plugin: "+clean(msg, maxSaid, false))
	if c == nil {
		return
	}
	all := append(append(make([]any, 0, len(h.args)+len(args)), h.args...), args...)
	fields := []zap.Field{zap.String("said", level.String())}
	if h.name != "" {
		fields = append(fields, zap.String("part", h.name))
	}
	for i := 0; i+1 < len(all) && i < 2*maxArgs; i += 2 {
		fields = append(fields, zap.String(clean(fmt.Sprint(all[i]), maxKey, false), clean(fmt.Sprint(all[i+1]), maxSaid, false)))
	}
	c.Write(fields...)
}

func (h *hclogger) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *hclogger) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hclogger) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hclogger) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hclogger) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h *hclogger) IsTrace() bool { return false }
func (h *hclogger) IsDebug() bool { return h.log.Core().Enabled(zap.DebugLevel) }
func (h *hclogger) IsInfo() bool  { return h.IsDebug() }
func (h *hclogger) IsWarn() bool  { return h.IsDebug() }
func (h *hclogger) IsError() bool { return h.IsDebug() }

func (h *hclogger) ImpliedArgs() []any { return h.args }
func (h *hclogger) Name() string       { return h.name }

func (h *hclogger) With(args ...any) hclog.Logger {
	all := append(append([]any(nil), h.args...), args...)
	return &hclogger{h.log, h.name, all[:min(len(all), 2*maxArgs)]}
}

func (h *hclogger) Named(name string) hclog.Logger {
	if h.name != "" {
		name = h.name + "." + name
	}
	return h.ResetNamed(name)
}

func (h *hclogger) ResetNamed(name string) hclog.Logger {
	return &hclogger{h.log, clean(name, maxKey, false), h.args}
}

func (h *hclogger) SetLevel(hclog.Level) {}

func (h *hclogger) GetLevel() hclog.Level {
	if h.IsDebug() {
		return hclog.Debug
	}
	return hclog.Off
}

func (h *hclogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(h.StandardWriter(o), "", 0)
}

func (h *hclogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return saying{h} }

// saying is an io.Writer for libraries that know nothing better.
type saying struct{ h *hclogger }

func (s saying) Write(line []byte) (int, error) {
	s.h.Debug(string(line[:min(len(line), maxSaid)]))
	return len(line), nil
}
