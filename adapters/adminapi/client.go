package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// ErrNotRunning: nobody listens on the socket.
var ErrNotRunning = errors.New("adminapi: no server is running")

// Client asks a running server. It implements the port, with the same errors.
type Client struct {
	http   *http.Client
	socket string
}

var (
	_ admin.Users   = (*Client)(nil)
	_ admin.Server  = (*Client)(nil)
	_ admin.Plugins = (*Client)(nil)
	_ admin.Calls   = (*Client)(nil)
)

// NewClient returns a Client for the socket at this path. It connects with the
// first call, and any call may find that no server is running.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http = &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			// A connection that was kept could be closed by a server that stops
			// just when a request is on its way.
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return c.dial(ctx)
			},
		},
	}
	return c
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	err := checkFolder(filepath.Dir(c.socket))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, asUser(err)
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return conn, asUser(err)
}

// asUser names the usual reason why the socket is closed to somebody.
func asUser(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("run this as the user that the server runs as: %w", err)
	}
	return err
}

// AddUser implements admin.Users.
func (c *Client) AddUser(ctx context.Context, user jid.JID, password string) error {
	return c.sendPassword(ctx, "POST", pathUser, user, password)
}

// SetPassword implements admin.Users.
func (c *Client) SetPassword(ctx context.Context, user jid.JID, password string) error {
	return c.sendPassword(ctx, "PUT", pathPassword, user, password)
}

// RemoveUser implements admin.Users.
func (c *Client) RemoveUser(ctx context.Context, user jid.JID) error {
	return c.call(ctx, "DELETE", pathUser, ofUser(user), nil, nil)
}

// User implements admin.Users.
func (c *Client) User(ctx context.Context, user jid.JID) (auth.Account, error) {
	var body accountBody
	if err := c.call(ctx, "GET", pathUser, ofUser(user), nil, &body); err != nil {
		return auth.Account{}, err
	}
	return body.decode()
}

// ListUsers implements admin.Users. A server may return fewer than limit
// accounts though there are more: at most 1,000 at a time.
func (c *Client) ListUsers(ctx context.Context, domain, after string, limit int) ([]auth.Account, error) {
	var body []accountBody
	query := url.Values{"domain": {domain}, "after": {after}, "limit": {strconv.Itoa(limit)}}
	if err := c.call(ctx, "GET", pathUsers, query, nil, &body); err != nil {
		return nil, err
	}
	accounts := make([]auth.Account, len(body))
	for i, b := range body {
		var err error
		if accounts[i], err = b.decode(); err != nil {
			return nil, err
		}
	}
	return accounts, nil
}

// Status implements admin.Server.
func (c *Client) Status(ctx context.Context) (admin.Status, error) {
	var body statusBody
	err := c.call(ctx, "GET", pathStatus, nil, nil, &body)
	return admin.Status(body), err
}

// Sessions implements admin.Server.
func (c *Client) Sessions(ctx context.Context, user jid.JID) ([]admin.Session, error) {
	var body []sessionBody
	if err := c.call(ctx, "GET", pathSessions, ofUser(user), nil, &body); err != nil {
		return nil, err
	}
	sessions := make([]admin.Session, len(body))
	for i, b := range body {
		var err error
		if sessions[i], err = b.decode(); err != nil {
			return nil, err
		}
	}
	return sessions, nil
}

// Reload implements admin.Server.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, "POST", pathReload, nil, nil, nil)
}

func (c *Client) sendPassword(ctx context.Context, method, path string, user jid.JID, password string) error {
	if !utf8.ValidString(password) {
		// JSON would replace the bytes that are wrong.
		return fmt.Errorf("adminapi: %w: it is not UTF-8", auth.ErrPassword)
	}
	return c.call(ctx, method, path, ofUser(user), passwordBody{password}, nil)
}

func ofUser(user jid.JID) url.Values { return url.Values{"user": {user.String()}} }

// call makes one request; in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("adminapi: %w", err)
		}
	}
	target := url.URL{Scheme: "http", Host: "hexmpp", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("adminapi: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("adminapi: %s: %w", c.socket, unwrapURL(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("adminapi: answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return refused(resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("adminapi: answer: %w", err)
	}
	return nil
}

// refused is the error in an answer.
func refused(status string, answer []byte) error {
	var bad errorBody
	if err := json.Unmarshal(answer, &bad); err != nil || bad.Text == "" {
		return fmt.Errorf("adminapi: the server answered %s; is it of another version?", status)
	}
	return bad.decode()
}

// unwrapURL drops the made-up URL from an error of package http.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
