package adhoc

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Sizes of what an id is made of, in bytes.
const (
	nonceSize = 16
	codeSize  = 16
)

var encoding = base64.RawURLEncoding

// session is one run of a command.
type session struct {
	id     string
	prefix string // of the keys of all sessions of the account
	key    string
	entry  extension.Entry
}

// newSession makes the id of a session, which is not open yet.
func (r *running) newSession(ctx context.Context, h *extension.Host) (*session, error) {
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	code, err := r.code(ctx, h, nonce)
	if err != nil {
		return nil, err
	}
	return r.named(encoding.EncodeToString(append(nonce, code...)), nonce), nil
}

func (r *running) named(id string, nonce []byte) *session {
	s := &session{id: id, prefix: "adhoc/" + hashed(r.request.From.Bare()) + "/"}
	s.key = s.prefix + encoding.EncodeToString(nonce)
	return s
}

// hashed is an address as a part of a key: as it is it could be too long.
func hashed(j jid.JID) string {
	sum := sha256.Sum256([]byte(j.String()))
	return encoding.EncodeToString(sum[:])
}

// code binds an id to who runs which command where.
func (r *running) code(ctx context.Context, h *extension.Host, nonce []byte) ([]byte, error) {
	secret, err := h.Secrets.Secret(ctx, "adhoc")
	if err != nil {
		return nil, fmt.Errorf("adhoc: %w", err)
	}
	m := hmac.New(sha256.New, secret)
	m.Write(nonce)
	fmt.Fprintf(m, "%q %q %q", r.request.From.String(), r.request.To.String(), r.cmd.Node)
	return m.Sum(nil)[:codeSize], nil
}

// open stores a session. Of an account's sessions those whose time is up make room, and
// of too many the one that was begun first.
func (s *session) open(ctx context.Context, h *extension.Host) error {
	list, err := h.Store.Scan(ctx, jid.JID{}, s.prefix, "", 2*maxSessions)
	if err != nil {
		return fmt.Errorf("adhoc: sessions: %w", err)
	}
	now := h.Now().Unix()
	first, left := -1, 0
	for i, e := range list {
		if ends(e) <= now {
			h.Store.Delete(jid.JID{}, e.Key)
			continue
		}
		left++
		if first < 0 || ends(e) < ends(list[first]) {
			first = i
		}
	}
	if left >= maxSessions {
		h.Store.Delete(jid.JID{}, list[first].Key)
	}
	h.Store.Put(jid.JID{}, s.key, strconv.AppendInt(nil, h.Now().Add(sessionTime).Unix(), 10))
	return nil
}

// ends returns when the time of a session is up, in seconds since 1970.
func ends(e extension.Entry) int64 {
	at, err := strconv.ParseInt(string(e.Value), 10, 64)
	if err != nil {
		return 0
	}
	return at
}

// session returns an open session by its id.
func (r *running) session(ctx context.Context, h *extension.Host, id string) (*session, error) {
	unknown := refuse("bad-sessionid", "")
	raw, err := encoding.DecodeString(id)
	if err != nil || len(raw) != nonceSize+codeSize || encoding.EncodeToString(raw) != id {
		return nil, unknown
	}
	nonce := raw[:nonceSize]
	code, err := r.code(ctx, h, nonce)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(code, raw[nonceSize:]) {
		return nil, unknown
	}
	s := r.named(id, nonce)
	e, ok, err := h.Store.Get(ctx, jid.JID{}, s.key)
	if err != nil {
		return nil, fmt.Errorf("adhoc: session: %w", err)
	}
	if !ok || ends(e) <= h.Now().Unix() {
		return nil, refuse("session-expired", "")
	}
	s.entry = e
	return s, nil
}

// end ends a session, once: of two that end it the second one runs again, and finds it
// gone.
func (s *session) end(h *extension.Host) {
	h.Store.Swap(jid.JID{}, s.key, s.entry.Value, s.entry.Revision)
	h.Store.Delete(jid.JID{}, s.key)
}
