package wire

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

// NewLog returns the log that the configuration asks for, on w. terminal says
// that a person reads along.
func NewLog(c config.Log, w io.Writer, terminal bool) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, err
	}
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.ISO8601TimeEncoder
	format.EncodeDuration = zapcore.StringDurationEncoder
	var encoder zapcore.Encoder
	if c.Format == config.FormatConsole || c.Format == config.FormatAuto && terminal {
		format.EncodeLevel = zapcore.CapitalLevelEncoder
		format.ConsoleSeparator = "  "
		encoder = zapcore.NewConsoleEncoder(format)
	} else {
		encoder = zapcore.NewJSONEncoder(format)
	}
	out := zapcore.Lock(zapcore.AddSync(w))
	return zap.New(zapcore.NewTee(
		zapcore.NewCore(encoder, out, zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= level && l < zapcore.WarnLevel })),
		zapcore.NewSamplerWithOptions(zapcore.NewCore(encoder.Clone(), out, max(level, zapcore.WarnLevel)), troubleTime, troubleLines, troubleRest),
	)), nil
}

// While the database is away each request of each client is an error. Of
// warnings and errors with the same text the first troubleLines in a
// troubleTime are logged, and of the others each troubleRest-th.
const (
	troubleTime  = 10 * time.Second
	troubleLines = 20
	troubleRest  = 1000
)
