package adminapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// The handlers: each reads its parameters, asks the port, and returns the body
// of the answer.

func (s *Server) addUser(r *http.Request) (any, error) {
	user, password, err := userAndPassword(r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.deps.Users.AddUser(r.Context(), user, password)
}

func (s *Server) setPassword(r *http.Request) (any, error) {
	user, password, err := userAndPassword(r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.deps.Users.SetPassword(r.Context(), user, password)
}

func (s *Server) removeUser(r *http.Request) (any, error) {
	user, err := userOf(r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.deps.Users.RemoveUser(r.Context(), user)
}

func (s *Server) user(r *http.Request) (any, error) {
	user, err := userOf(r)
	if err != nil {
		return nil, err
	}
	a, err := s.deps.Users.User(r.Context(), user)
	if err != nil {
		return nil, err
	}
	return encodeAccount(a), nil
}

func (s *Server) listUsers(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 {
		return nil, fmt.Errorf("%w: limit %q", errRequest, q.Get("limit"))
	}
	accounts, err := s.deps.Users.ListUsers(r.Context(), q.Get("domain"), q.Get("after"), min(limit, maxPage))
	if err != nil {
		return nil, err
	}
	out := make([]accountBody, len(accounts))
	for i, a := range accounts {
		out[i] = encodeAccount(a)
	}
	return out, nil
}

func (s *Server) status(r *http.Request) (any, error) {
	st, err := s.deps.Server.Status(r.Context())
	return statusBody(st), err
}

func (s *Server) sessions(r *http.Request) (any, error) {
	user, err := userOf(r)
	if err != nil {
		return nil, err
	}
	sessions, err := s.deps.Server.Sessions(r.Context(), user)
	if err != nil {
		return nil, err
	}
	out := make([]sessionBody, len(sessions))
	for i, session := range sessions {
		out[i] = sessionBody{session.JID.String(), session.Available, session.Priority}
	}
	return out, nil
}

func (s *Server) reload(r *http.Request) (any, error) {
	return struct{}{}, s.deps.Server.Reload(r.Context())
}

func userOf(r *http.Request) (jid.JID, error) {
	return jid.Parse(r.URL.Query().Get("user"))
}

func userAndPassword(r *http.Request) (jid.JID, string, error) {
	user, err := userOf(r)
	if err != nil {
		return jid.JID{}, "", err
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return jid.JID{}, "", fmt.Errorf("%w: body: %w", errRequest, err)
	}
	var body passwordBody
	if err := json.Unmarshal(text, &body); err != nil {
		// The error of package json may quote the body, which has a password.
		return jid.JID{}, "", fmt.Errorf("%w: the body is not JSON with a password", errRequest)
	}
	return user, body.Password, nil
}
