package wire

import (
	"io"

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
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)), nil
}
