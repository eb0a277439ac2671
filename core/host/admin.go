package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// adminCalls is the time in which administrators may ask extensions: it ends when Stop begins.
type adminCalls struct {
	ctx  context.Context
	stop context.CancelFunc
}

func newAdminCalls(ctx context.Context) (a adminCalls) {
	a.ctx, a.stop = context.WithCancel(ctx)
	return a
}

// Why a call ends before its time.
var (
	errCallLate = fmt.Errorf("no answer within %v, which is all that a call has", extension.MaxCallTime)
	errCallStop = errors.New("the server is about to stop")
)

// AdminCall is admin.Calls.Call for this extension, on the caller's goroutine.
func (g *Guest) AdminCall(ctx context.Context, name string, args []string, yield func(text string) error) error {
	i := slices.IndexFunc(g.Reg.Calls, func(c extension.Call) bool { return c.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: %s has no %q", admin.ErrNoCall, g.Reg.Name, name)
	}
	c := &g.Reg.Calls[i]
	if err := c.CheckArgs(args); err != nil {
		return fmt.Errorf("%s %s: %w", g.Reg.Name, name, err)
	}
	if g.adminCalls.Add(1) > extension.MaxCalls {
		g.adminCalls.Add(-1)
		return fmt.Errorf("%s %s: %d calls of it run already; try again later", g.Reg.Name, name, extension.MaxCalls)
	}
	defer g.adminCalls.Add(-1)
	if !g.hosts.calls.enter() {
		return errCallStop
	}
	defer g.hosts.calls.leave()
	ctx, cancel := context.WithTimeoutCause(ctx, extension.MaxCallTime, errCallLate)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(g.hosts.adminCalls.ctx, func() { end(errCallStop) })()
	out := &callText{yield: yield}
	begun := time.Now()
	err := g.adminCall(ctx, c, slices.Clone(args), out)
	gone := out.end()
	g.log.Info("an administrator has asked", "call", name, "took", time.Since(begun), "error", err)
	switch {
	case gone != nil:
		return gone
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if err != nil {
		return &callError{fmt.Sprintf("%s %s: %s", g.Reg.Name, name, shown(cut(err.Error(), maxCallError))), err}
	}
	return nil
}

// adminCall calls the function; a panic becomes an error.
func (g *Guest) adminCall(ctx context.Context, c *extension.Call, args []string, out io.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("a call of an administrator panicked", "call", c.Name, "panic", p, "stack", string(debug.Stack()))
			err = errors.New("panic; the log has more")
		}
	}()
	return c.Do(ctx, args, out)
}

// maxCallError is how much of an error is shown, in bytes.
const maxCallError = 4 << 10

// callError is an error of a call as it can be shown.
type callError struct {
	text string
	err  error
}

func (e *callError) Error() string { return e.text }

// Unwrap returns what it was.
func (e *callError) Unwrap() error { return e.err }

// callText is what a call writes to: what it gives on is whole runes that a terminal may show, and bounded.
type callText struct {
	yield func(text string) error

	mu   sync.Mutex // held while yield runs, so that the text is in order
	n    int        // bytes that were given on
	part []byte     // the beginning of a rune
	cut  bool       // there was too much, and it was said
	over bool       // the call has returned
	err  error      // of yield
}

// Write implements io.Writer.
func (w *callText) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return 0, io.ErrClosedPipe
	case w.err != nil:
		return 0, w.err
	case w.cut:
		return len(b), nil
	}
	whole := append(w.part, b...)
	n := len(whole) - unfinished(whole)
	w.part = slices.Clone(whole[n:])
	if w.give(whole[:n]); w.err != nil {
		return 0, w.err
	}
	return len(b), nil
}

// give gives text on. w.mu is held.
func (w *callText) give(b []byte) {
	text := shown(string(b))
	if text == "" {
		return
	}
	if rest := extension.MaxCallText - w.n; len(text) > rest {
		text = cut(text, rest) + fmt.Sprintf("\n(What follows is left out: an answer has %d bytes at most.)\n", extension.MaxCallText)
		w.cut = true
	}
	w.n += len(text)
	w.err = w.yield(text)
}

// end takes nothing more, and returns the error of yield.
func (w *callText) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && !w.cut {
		w.give(w.part)
	}
	w.over = true
	return w.err
}

// unfinished is how many bytes at the end are the beginning of a rune.
func unfinished(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// shown is a text as a terminal may show it.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return -1
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			return r
		}
		return '?'
	}, strings.ToValidUTF8(s, "?"))
}

// cut is a text of so many bytes at most.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
