package adminapi

import (
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// The requests. Addresses travel as parameters "user", "domain" and "after" of
// the URL, passwords in the body.
const (
	pathUser     = "/v1/user"     // GET, POST (add), DELETE
	pathPassword = "/v1/password" // PUT
	pathUsers    = "/v1/users"    // GET: domain, after, limit
	pathStatus   = "/v1/status"   // GET
	pathSessions = "/v1/sessions" // GET: user
	pathReload   = "/v1/reload"   // POST

	// Of plugins, with the parameter "name".
	pathPlugins       = "/v1/plugins"        // GET
	pathPlugin        = "/v1/plugin"         // GET
	pathPluginReload  = "/v1/plugin/reload"  // POST
	pathPluginEnable  = "/v1/plugin/enable"  // POST
	pathPluginDisable = "/v1/plugin/disable" // POST
	pathPluginLogs    = "/v1/plugin/logs"    // GET: n, follow; an answer of many lines
	pathCalls         = "/v1/calls"          // GET: those of the extension
	pathCall          = "/v1/call"           // POST: call, timeout; the body has arguments; an answer of many lines
)

// Bounds of both ends.
const (
	maxBody    = 16 << 10 // bytes of a request's body
	maxHeader  = 32 << 10 // bytes of a request's header: two addresses, escaped
	maxAnswer  = 8 << 20  // bytes of an answer
	maxPage    = 1000     // accounts in one answer
	maxRunning = 32       // requests that are handled at once
)

type passwordBody struct {
	Password string `json:"password"`
}

type accountBody struct {
	User      string    `json:"user"`
	Created   time.Time `json:"created"`
	LastLogin time.Time `json:"lastLogin,omitzero"`
	Disabled  bool      `json:"disabled,omitempty"`
}

type sessionBody struct {
	JID       string `json:"jid"`
	Available bool   `json:"available"`
	Priority  int8   `json:"priority"`
}

type statusBody struct {
	Version    string    `json:"version"`
	Started    time.Time `json:"started"`
	Domains    []string  `json:"domains"`
	Sessions   int       `json:"sessions"`
	Streams    int       `json:"streams"`
	Goroutines int       `json:"goroutines"`
	HeapBytes  uint64    `json:"heapBytes"`
}

type errorBody struct {
	Code string `json:"code,omitempty"` // of known, "" for any other error
	Text string `json:"text"`
}

// known are the errors that callers tell apart, on both ends.
var known = []struct {
	code   string
	err    error
	status int // of HTTP, for people who look with other tools
}{
	{"exists", auth.ErrExists, 409},
	{"not-found", auth.ErrNotFound, 404},
	{"password", auth.ErrPassword, 422},
	{"denied", auth.ErrDenied, 403},
	{"malformed-jid", jid.ErrMalformed, 400},
	{"request", errRequest, 400},
	{"no-plugin", admin.ErrNoPlugin, 404},
	{"no-call", admin.ErrNoCall, 404},
}

// errRequest is wrapped by errors about a request that no Client makes.
var errRequest = errors.New("adminapi: bad request")

// remoteError is an error of the other end: its text, and what it is.
type remoteError struct {
	text string
	is   error // one of known, or nil
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

func encodeError(err error) (status int, body errorBody) {
	for _, k := range known {
		if errors.Is(err, k.err) {
			return k.status, errorBody{k.code, err.Error()}
		}
	}
	return 500, errorBody{"", err.Error()}
}

func (b errorBody) decode() error {
	for _, k := range known {
		if k.code == b.Code {
			return &remoteError{b.Text, k.err}
		}
	}
	return &remoteError{b.Text, nil}
}

func encodeAccount(a auth.Account) accountBody {
	return accountBody{a.User.String(), a.Created, a.LastLogin, a.Disabled}
}

func (b accountBody) decode() (auth.Account, error) {
	user, err := jid.Parse(b.User)
	return auth.Account{User: user, Created: b.Created, LastLogin: b.LastLogin, Disabled: b.Disabled}, err
}

func (b sessionBody) decode() (admin.Session, error) {
	j, err := jid.Parse(b.JID)
	return admin.Session{JID: j, Available: b.Available, Priority: b.Priority}, err
}
