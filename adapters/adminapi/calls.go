package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// listCalls answers with the calls of an extension.
func (s *Server) listCalls(r *http.Request) (any, error) {
	list, err := s.deps.Calls.ListCalls(r.Context(), r.URL.Query().Get("name"))
	if list == nil {
		list = []admin.Call{}
	}
	return list, err
}

// Bounds of a call: its arguments (8 KiB) and its text (1 MiB) as JSON, in which a byte may take six, and in the answer a
// line of its own.
const (
	maxCallBody   = 64 << 10
	maxCallAnswer = 32 << 20
)

// callBody is the body of the request for a call.
type callBody struct {
	Args []string `json:"args"`
}

// callLine is a line of the answer of a call: a piece of text, or how it ended if it was not well. An answer
// without the end of its chunks was cut off.
type callLine struct {
	Text  string     `json:"text,omitempty"`
	Error *errorBody `json:"error,omitempty"`
}

// pluginCall asks, and answers with a line of JSON for each piece of text. The status is always 200: the answer begins
// before it is known how it ends.
func (s *Server) pluginCall(w http.ResponseWriter, r *http.Request) {
	if !s.enter(w) {
		return
	}
	defer s.leave()
	q := r.URL.Query()
	args, timeout, err := readCall(w, r)
	if err != nil {
		status, body := encodeError(err)
		answer(w, status, body)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(s.following, func() { end(errStopping) })()
	control := http.NewResponseController(w)
	out := json.NewEncoder(w)
	line := func(l callLine) error {
		// Not possible for a recorder in tests, which needs none.
		_ = control.SetWriteDeadline(time.Now().Add(logWriteTime))
		if err := out.Encode(l); err != nil {
			return err
		}
		return control.Flush()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	err = s.deps.Calls.Call(ctx, q.Get("name"), q.Get("call"), args, func(text string) error { return line(callLine{Text: text}) })
	if err != nil {
		_, body := encodeError(err)
		_ = line(callLine{Error: &body})
		return
	}
	_ = control.SetWriteDeadline(time.Now().Add(logWriteTime)) // of the last chunk
}

var errStopping = errors.New("the server is about to stop")

// readCall reads what a call is given.
func readCall(w http.ResponseWriter, r *http.Request) (args []string, timeout time.Duration, err error) {
	timeout, err = time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 || timeout > extension.MaxCallTime {
		return nil, 0, fmt.Errorf("%w: timeout %q: at most %v", errRequest, r.URL.Query().Get("timeout"), extension.MaxCallTime)
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallBody))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: body: %w", errRequest, err)
	}
	var body callBody
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, 0, fmt.Errorf("%w: body: %w", errRequest, err)
	}
	return body.Args, timeout, nil
}

// noCalls is a server whose extensions can't be asked anything.
type noCalls struct{}

func (noCalls) ListCalls(_ context.Context, name string) ([]admin.Call, error) {
	return nil, fmt.Errorf("%w: %s", admin.ErrNoPlugin, name)
}

func (noCalls) Call(_ context.Context, name, _ string, _ []string, _ func(string) error) error {
	return fmt.Errorf("%w: %s", admin.ErrNoPlugin, name)
}

// ListCalls implements admin.Calls.
func (c *Client) ListCalls(ctx context.Context, extension string) ([]admin.Call, error) {
	var list []admin.Call
	err := c.call(ctx, "GET", pathCalls, named(extension), nil, &list)
	return list, err
}

// Call implements admin.Calls. The time that ctx has is told to the server; without a deadline it is
// extension.MaxCallTime.
func (c *Client) Call(ctx context.Context, name, call string, args []string, yield func(text string) error) error {
	body, err := json.Marshal(callBody{Args: args})
	if err != nil {
		return fmt.Errorf("adminapi: %w", err)
	}
	timeout := extension.MaxCallTime
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end).Round(time.Millisecond))
		if timeout > time.Second {
			timeout = timeout.Round(time.Second / 10) // it is in an error that a person reads
		}
	}
	query := named(name)
	query.Set("call", call)
	query.Set("timeout", timeout.String())
	// The server's word on the end of the time comes behind it.
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout+callGrace)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})()
	target := url.URL{Scheme: "http", Host: "hexmpp", Path: pathCall, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(waiting, "POST", target.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("adminapi: %w", err)
	}
	resp, err := c.patient(0).http.Do(req)
	if err != nil {
		return fmt.Errorf("adminapi: %s: %w", c.socket, unwrapURL(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("adminapi: answer: %w", err)
		}
		return refused(resp.Status, text)
	}
	for in := json.NewDecoder(io.LimitReader(resp.Body, maxCallAnswer)); ; {
		var line callLine
		err := in.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil && err != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("adminapi: the answer broke off, and what the call has done is not known: %w", err)
		case line.Error != nil:
			return line.Error.decode()
		}
		if err := yield(line.Text); err != nil {
			return err
		}
	}
}

// callGrace is how long a client waits for the server's word behind the time of a call.
const callGrace = 5 * time.Second
