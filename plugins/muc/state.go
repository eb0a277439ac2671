package muc

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Keys of entries. A bare JID has no slash, so that no room's begin like another's.
//
//	r/ROOM          lasting, of a room
//	a/ROOM/HASH     affiliate; the hash is that of its JID, which may be longer than a key
//	o/ROOM/HASH     kept, a session; always in memory
//	l/DOMAIN/LOCAL  the name of a room that is listed (6.3)
//	v/ROOM          the vCard of a room
//	s/ROOM/HASH     keptPace, of an account; always in memory
//	c/HASH/ROOM     nothing; the hash is that of who has made the room
func roomKey(room jid.JID) string          { return "r/" + room.String() }
func affiliatesPrefix(room jid.JID) string { return "a/" + room.String() + "/" }
func affiliateKey(room, j jid.JID) string  { return affiliatesPrefix(room) + hashed(j) }
func sessionsPrefix(room jid.JID) string   { return "o/" + room.String() + "/" }
func sessionKey(room, j jid.JID) string    { return sessionsPrefix(room) + hashed(j) }
func pacesPrefix(room jid.JID) string      { return allPaces + room.String() + "/" }
func paceKey(room, j jid.JID) string       { return pacesPrefix(room) + hashed(j) }
func listPrefix(domain string) string      { return "l/" + domain + "/" }
func listKey(room jid.JID) string          { return listPrefix(room.Domain()) + room.Local() }
func createdPrefix(creator jid.JID) string { return "c/" + hashed(creator) + "/" }
func (t *turn) group() string              { return t.addr.String() }
func hashed(j jid.JID) string {
	sum := sha256.Sum256([]byte(j.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

const allPaces = "s/"

// maxRoomName bounds the localpart of rooms, in bytes: keys with it are to fit.
const maxRoomName = 512

// kept is how a session is kept in memory.
type kept struct {
	JID     string
	Nick    string
	Role    Role
	Content string    // of its presence
	Lang    string    `json:",omitempty"`
	Came    time.Time // into the room
}

// keptAffiliate is how an affiliation is kept.
type keptAffiliate struct {
	JID string
	affiliate
}

// find returns the room of the turn, nil if there is none.
func (t *turn) find() (*room, error) {
	name := t.addr.String()
	t.s.mu.Lock()
	r := t.s.rooms[name]
	if r != nil {
		r.used = t.Now()
	}
	t.s.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := t.load()
	if err != nil || r == nil {
		return nil, err
	}
	t.know(r)
	return r, nil
}

// know has a room known by heart.
func (t *turn) know(r *room) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	r.used = t.Now()
	t.s.rooms[t.addr.String()] = r
}

// load reads a room, nil if there is none.
func (t *turn) load() (*room, error) {
	if len(t.addr.Local()) > maxRoomName {
		return nil, nil
	}
	e, ok, err := t.Store.Get(t, jid.JID{}, roomKey(t.addr))
	if err == nil && !ok {
		e, ok, err = t.Memory.Get(t, roomKey(t.addr))
	}
	if err != nil {
		return nil, fmt.Errorf("muc: read a room: %w", err)
	}
	if !ok {
		return nil, nil
	}
	r := t.empty()
	if err := json.Unmarshal(e.Value, &r.lasting); err != nil {
		return nil, fmt.Errorf("muc: the entry of a room is damaged: %w", err)
	}
	if err := t.loadAffiliates(r); err != nil {
		return nil, err
	}
	if err := t.loadPaces(r); err != nil {
		return nil, err
	}
	return r, t.loadSessions(r)
}

// empty returns a room without anything.
func (t *turn) empty() *room {
	return &room{
		service: t.s, addr: t.addr,
		affiliates: map[jid.JID]*affiliate{}, occupants: map[string]*occupant{}, sessions: map[jid.JID]*session{},
	}
}

// pageSize is how many entries are read at a time.
const pageSize = 500

// scan calls f for each entry with a prefix.
func scan(page func(after string) ([]extension.Entry, error), f func(e extension.Entry) error) error {
	for after := ""; ; {
		list, err := page(after)
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := f(e); err != nil {
				return err
			}
		}
		if len(list) < pageSize {
			return nil
		}
		after = list[len(list)-1].Key
	}
}

func (t *turn) loadAffiliates(r *room) error {
	prefix := affiliatesPrefix(t.addr)
	err := scan(func(after string) ([]extension.Entry, error) {
		if r.Config.Persistent {
			return t.Store.Scan(t, jid.JID{}, prefix, after, pageSize)
		}
		return t.Memory.Scan(t, prefix, after, pageSize)
	}, func(e extension.Entry) error {
		var k keptAffiliate
		err := json.Unmarshal(e.Value, &k)
		if err != nil {
			return err
		}
		a := k.affiliate
		if a.JID, err = jid.Parse(k.JID); err != nil {
			return err
		}
		r.affiliates[a.JID] = &a
		return nil
	})
	if err != nil {
		return fmt.Errorf("muc: read affiliations: %w", err)
	}
	return nil
}

func (t *turn) loadSessions(r *room) error {
	prefix := sessionsPrefix(t.addr)
	err := scan(func(after string) ([]extension.Entry, error) { return t.Memory.Scan(t, prefix, after, pageSize) }, func(e extension.Entry) error {
		var k kept
		if err := json.Unmarshal(e.Value, &k); err != nil {
			return err
		}
		return t.restore(r, &k)
	})
	if err != nil {
		return fmt.Errorf("muc: read occupants: %w", err)
	}
	for _, o := range r.occupants {
		sortByTime(o.sessions)
	}
	return nil
}

// restore has a session that was kept in the room.
func (t *turn) restore(r *room, k *kept) error {
	j, err := jid.Parse(k.JID)
	if err != nil {
		return err
	}
	o := r.byNick(k.Nick)
	if o == nil {
		if o, err = t.newOccupant(r, k.Nick, j.Bare()); err != nil {
			return err
		}
		r.put(o)
	}
	o.role = k.Role
	s := &session{jid: j, of: o, came: k.Came}
	s.show = stanza.Raw(stanza.Header{Kind: stanza.Presence, From: o.addr, Lang: k.Lang}, "", k.Content, nil)
	o.sessions = append(o.sessions, s)
	r.sessions[j] = s
	return nil
}

// newOccupant returns one that is not in the room yet.
func (t *turn) newOccupant(r *room, nick string, account jid.JID) (*occupant, error) {
	addr, err := t.addr.WithResource(nick)
	if err != nil {
		return nil, err
	}
	return &occupant{Nick: nick, addr: addr, account: account, id: r.occupantID(t.keys.occupant, account)}, nil
}

// saveSession keeps a session, and its place in the group.
func (t *turn) saveSession(s *session) error {
	t.r.dirty = true
	b, err := json.Marshal(kept{JID: s.jid.String(), Nick: s.of.Nick, Role: s.of.role, Content: s.show.Content(), Lang: s.show.Lang, Came: s.came})
	if err != nil {
		return err
	}
	if err := t.Memory.Put(sessionKey(t.addr, s.jid), b); err != nil {
		return t.bounded(err)
	}
	m := extension.Member{JID: s.jid}
	if t.r.seesFull(s.of) {
		m.Classes = []string{classFull}
	}
	return t.bounded(t.Groups.Join(t.group(), m))
}

// bounded makes of a bound of the kernel's the answer to who has met it.
func (t *turn) bounded(err error) error {
	if errors.Is(err, extension.ErrBound) {
		t.Log.Warn("a room is at a bound of the server", "error", err)
		return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "The room can't take more for now.")
	}
	return err
}

// dropSession forgets a session.
func (t *turn) dropSession(s *session) {
	t.r.dirty = true
	t.Memory.Delete(sessionKey(t.addr, s.jid))
	t.Groups.Leave(t.group(), s.jid)
}

// put writes an entry of the room to where it is kept, delete deletes it there.
func (t *turn) put(key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.putBytes(key, b)
}

func (t *turn) putBytes(key string, b []byte) error {
	if t.r.Config.Persistent {
		t.Store.Put(jid.JID{}, key, b)
		return nil
	}
	return t.bounded(t.Memory.Put(key, b))
}

func (t *turn) delete(key string) {
	if t.r.Config.Persistent {
		t.Store.Delete(jid.JID{}, key)
	} else {
		t.Memory.Delete(key)
	}
}

// saveRoom keeps what is lasting of the room, and its place in the list of rooms (6.3).
func (t *turn) saveRoom() error {
	t.r.dirty = true
	if err := t.put(roomKey(t.addr), &t.r.lasting); err != nil {
		return err
	}
	if err := t.putBytes(t.createdKey(), nil); err != nil {
		return err
	}
	if t.r.Config.Public && !t.r.Locked {
		return t.putBytes(listKey(t.addr), []byte(t.r.Config.Name))
	}
	t.delete(listKey(t.addr))
	return nil
}

// createdKey is that of the entry by which the rooms of who has made this one are counted.
func (t *turn) createdKey() string {
	creator, err := jid.Parse(t.r.Creator)
	if err != nil {
		creator = jid.JID{}
	}
	return createdPrefix(creator) + t.addr.String()
}

// hasMade says whether an account has made so many rooms that are there.
func (t *turn) hasMade(creator jid.JID, most int) (bool, error) {
	stored, err := t.Store.Scan(t, jid.JID{}, createdPrefix(creator), "", most)
	if err != nil {
		return false, fmt.Errorf("muc: count rooms: %w", err)
	}
	kept, err := t.Memory.Scan(t, createdPrefix(creator), "", most)
	if err != nil {
		return false, fmt.Errorf("muc: count rooms: %w", err)
	}
	return len(stored)+len(kept) >= most, nil
}

// saveAffiliate keeps an affiliation; that of None is deleted. What a member who is in the room has seen begins
// here.
func (t *turn) saveAffiliate(a *affiliate) error {
	t.r.dirty = true
	if a.Is == None {
		delete(t.r.affiliates, a.JID)
		t.delete(affiliateKey(t.addr, a.JID))
		return nil
	}
	if a.Is >= Member && a.Seen == 0 && t.r.present(a.JID) {
		a.Seen = t.Archive.NewID()
	}
	t.r.affiliates[a.JID] = a
	return t.put(affiliateKey(t.addr, a.JID), keptAffiliate{a.JID.String(), *a})
}

// forgetRoom deletes all that is kept of the room but its occupants, who are gone. Its archive
// is deleted, too.
func (t *turn) forgetRoom() {
	for j := range t.r.affiliates {
		t.delete(affiliateKey(t.addr, j))
	}
	t.delete(roomKey(t.addr))
	t.delete(t.createdKey())
	t.delete(cardKey(t.addr))
	t.delete(listKey(t.addr))
	t.Groups.Remove(t.group())
	t.Archive.Remove(t.addr)
	t.s.Forget(t.addr.String())
	t.r = nil
}
