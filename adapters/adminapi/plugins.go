package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hexmpp/hexmpp/ports/admin"
)

const (
	// logWriteTime is how long a client may take to read a line of a log.
	logWriteTime = 10 * time.Second
	// changeTime is how long the start of a plugin may take: the configuration allows
	// it five minutes, beside the end of the one before.
	changeTime = 6 * time.Minute
)

// Plugins travel as the structs of the port, in JSON: both ends are the same hexmpp.

func (s *Server) plugins(r *http.Request) (any, error) {
	list, err := s.deps.Plugins.Plugins(r.Context())
	if list == nil {
		list = []admin.Plugin{}
	}
	return list, err
}

func (s *Server) plugin(r *http.Request) (any, error) {
	return s.deps.Plugins.PluginInfo(r.Context(), r.URL.Query().Get("name"))
}

// change is a handler of a call that has a name, and no answer but success.
func (s *Server) change(do func(admin.Plugins, context.Context, string) error) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		return struct{}{}, do(s.deps.Plugins, r.Context(), r.URL.Query().Get("name"))
	}
}

// pluginLogs answers with a line of JSON for each entry. One that can't be told any
// more, since the answer has begun, is the line of an error.
func (s *Server) pluginLogs(w http.ResponseWriter, r *http.Request) {
	if !s.enter(w) {
		return
	}
	defer s.leave()
	q := r.URL.Query()
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || n < 0 {
		status, body := encodeError(fmt.Errorf("%w: n %q", errRequest, q.Get("n")))
		answer(w, status, body)
		return
	}
	follow := q.Get("follow") == "true"
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.following, cancel)()
	control := http.NewResponseController(w)
	begun := false
	begin := func() {
		if !begun {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
			begun = true
		}
	}
	if follow {
		// Whoever asks learns at once that there is such a plugin.
		if _, err := s.deps.Plugins.PluginInfo(ctx, q.Get("name")); err != nil {
			status, body := encodeError(err)
			answer(w, status, body)
			return
		}
		begin()
		_ = control.Flush()
	}
	out := json.NewEncoder(w)
	err = s.deps.Plugins.PluginLogs(ctx, q.Get("name"), n, follow, func(e admin.PluginLogEntry) error {
		begin()
		if err := control.SetWriteDeadline(time.Now().Add(logWriteTime)); err != nil {
			return err
		}
		if err := out.Encode(logLine{Entry: &e}); err != nil {
			return err
		}
		return control.Flush()
	})
	switch {
	case err != nil && !begun:
		status, body := encodeError(err)
		answer(w, status, body)
	case err != nil && ctx.Err() == nil:
		_, body := encodeError(err)
		_ = out.Encode(logLine{Error: &body})
	default:
		begin()
	}
}

// logLine is a line of the answer with a log.
type logLine struct {
	Entry *admin.PluginLogEntry `json:"entry,omitempty"`
	Error *errorBody            `json:"error,omitempty"`
}

// noPlugins is a server without plugins.
type noPlugins struct{}

func (noPlugins) Plugins(context.Context) ([]admin.Plugin, error) { return nil, nil }

func (noPlugins) PluginInfo(_ context.Context, name string) (admin.PluginInfo, error) {
	return admin.PluginInfo{}, fmt.Errorf("%w: %s", admin.ErrNoPlugin, name)
}

func (noPlugins) ReloadPlugin(_ context.Context, name string) error {
	return fmt.Errorf("%w: %s", admin.ErrNoPlugin, name)
}

func (p noPlugins) EnablePlugin(ctx context.Context, name string) error {
	return p.ReloadPlugin(ctx, name)
}

func (p noPlugins) DisablePlugin(ctx context.Context, name string) error {
	return p.ReloadPlugin(ctx, name)
}

func (p noPlugins) PluginLogs(ctx context.Context, name string, _ int, _ bool, _ func(admin.PluginLogEntry) error) error {
	return p.ReloadPlugin(ctx, name)
}

// Plugins implements admin.Plugins.
func (c *Client) Plugins(ctx context.Context) ([]admin.Plugin, error) {
	var list []admin.Plugin
	err := c.call(ctx, "GET", pathPlugins, nil, nil, &list)
	return list, err
}

// PluginInfo implements admin.Plugins.
func (c *Client) PluginInfo(ctx context.Context, name string) (admin.PluginInfo, error) {
	var info admin.PluginInfo
	err := c.call(ctx, "GET", pathPlugin, named(name), nil, &info)
	return info, err
}

// ReloadPlugin implements admin.Plugins.
func (c *Client) ReloadPlugin(ctx context.Context, name string) error {
	return c.patient(changeTime).call(ctx, "POST", pathPluginReload, named(name), nil, nil)
}

// EnablePlugin implements admin.Plugins.
func (c *Client) EnablePlugin(ctx context.Context, name string) error {
	return c.patient(changeTime).call(ctx, "POST", pathPluginEnable, named(name), nil, nil)
}

// DisablePlugin implements admin.Plugins.
func (c *Client) DisablePlugin(ctx context.Context, name string) error {
	return c.patient(changeTime).call(ctx, "POST", pathPluginDisable, named(name), nil, nil)
}

// patient is a Client that waits so long for an answer; 0 is for ever.
func (c *Client) patient(timeout time.Duration) *Client {
	h := *c.http
	h.Timeout = timeout
	return &Client{&h, c.socket}
}

func named(name string) url.Values { return url.Values{"name": {name}} }

// PluginLogs implements admin.Plugins. When the server stops, a log that is followed
// ends without an error.
func (c *Client) PluginLogs(ctx context.Context, name string, n int, follow bool, yield func(admin.PluginLogEntry) error) error {
	query := named(name)
	query.Set("n", strconv.Itoa(n))
	query.Set("follow", strconv.FormatBool(follow))
	target := url.URL{Scheme: "http", Host: "hexmpp", Path: pathPluginLogs, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, "GET", target.String(), nil)
	if err != nil {
		return fmt.Errorf("adminapi: %w", err)
	}
	if follow {
		c = c.patient(0)
	}
	resp, err := c.http.Do(req)
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
	for in := json.NewDecoder(resp.Body); ; {
		var line logLine
		err := in.Decode(&line)
		switch {
		case errors.Is(err, io.EOF) || err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("adminapi: answer: %w", err)
		case line.Error != nil:
			return line.Error.decode()
		case line.Entry != nil:
			if err := yield(*line.Entry); err != nil {
				return err
			}
		}
	}
}
