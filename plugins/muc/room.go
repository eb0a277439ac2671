package muc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// room is what this process knows of a room by heart. It belongs to the turn that
// handles something of it.
type room struct {
	service *Service
	addr    jid.JID
	lasting
	affiliates map[jid.JID]*affiliate // bare JIDs, and domains
	occupants  map[string]*occupant   // by jid.NickKey
	sessions   map[jid.JID]*session   // of all occupants, by full JID
	whispers   []whisper              // private messages, the last ones
	paces      map[jid.JID]*pace      // by account
	dirty      bool                   // the turn has changed something
	used       time.Time              // guarded by Service.mu
}

// lasting is what is kept of a room besides affiliations and occupants.
type lasting struct {
	Config  Config
	Subject *subject `json:",omitempty"` // nil: there was never one
	Created time.Time
	Creator string   // bare JID
	Hats    []hat    `json:",omitempty"`
	Wearers []wearer `json:",omitempty"`
	Avatar  []string `json:",omitempty"` // names of its pictures (XEP-0486)
	Locked  bool     `json:",omitempty"` // until its owner has configured it (10.1)
}

// subject is that of the room (7.2.15).
type subject struct {
	Nick string // of who has set it
	XML  string // content of the message
	ID   string
	At   time.Time
	Row  uint64 `json:",omitempty"` // in the archive
}

// occupant is somebody in the room: a nickname, with one session or more of one account.
type occupant struct {
	Nick     string
	addr     jid.JID // the occupant JID
	account  jid.JID // bare
	role     Role
	id       string     // XEP-0421
	sessions []*session // in the order in which they came
}

// session is a client of an occupant.
type session struct {
	jid  jid.JID        // full
	show *stanza.Stanza // its last presence, without what occupants may not say; from is the occupant's
	of   *occupant
	came time.Time
}

// byNick returns the occupant with a nickname, nil if there is none.
func (r *room) byNick(nick string) *occupant {
	key, err := jid.NickKey(nick)
	if err != nil {
		return nil
	}
	return r.occupants[key]
}

// session returns that of a full JID, nil if it is not in the room.
func (r *room) session(j jid.JID) *session { return r.sessions[j] }

// present says whether an account is in the room.
func (r *room) present(account jid.JID) bool {
	for _, o := range r.occupants {
		if o.account == account {
			return true
		}
	}
	return false
}

// inOrder returns the occupants in the order of their nicknames.
func (r *room) inOrder() []*occupant {
	list := make([]*occupant, 0, len(r.occupants))
	for _, o := range r.occupants {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b *occupant) int { return strings.Compare(a.Nick, b.Nick) })
	return list
}

// reserved returns who a nickname is reserved for, the zero JID if for nobody.
func (r *room) reserved(nick string) jid.JID {
	key, err := jid.NickKey(nick)
	if err != nil {
		return jid.JID{}
	}
	for _, a := range r.affiliates {
		if a.Nick == "" {
			continue
		}
		if k, err := jid.NickKey(a.Nick); err == nil && k == key {
			return a.JID
		}
	}
	return jid.JID{}
}

// occupantID is that of an account in a room (XEP-0421 3): another one in each room, also
// in one that is made anew.
func (r *room) occupantID(secret []byte, account jid.JID) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(r.addr.String()))
	m.Write([]byte{0})
	m.Write([]byte(r.Created.UTC().Format(time.RFC3339Nano)))
	m.Write([]byte{0})
	m.Write([]byte(account.Bare().String()))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:24])
}

// presenceCost is what a presence takes besides what the client said and addresses, about.
const presenceCost = 400

// hasRoomFor says whether the presences in the room are not too long together (mostPresence)
// with that of a client who enters, or of s.
func (r *room) hasRoomFor(st *stanza.Stanza, s *session) bool {
	size := st.Size() + presenceCost
	for _, other := range r.sessions {
		if other != s {
			size += other.show.Size() + len(other.jid.String()) + presenceCost
		}
	}
	return size <= mostPresence
}

// put has an occupant in the room, or another nickname for one.
func (r *room) put(o *occupant) {
	r.dirty = true
	key, _ := jid.NickKey(o.Nick)
	r.occupants[key] = o
}

// remove takes an occupant without sessions out.
func (r *room) remove(o *occupant) {
	r.dirty = true
	key, _ := jid.NickKey(o.Nick)
	if r.occupants[key] == o {
		delete(r.occupants, key)
	}
}

// shown is the session whose presence others see: the last that came.
func (o *occupant) shown() *session {
	if len(o.sessions) == 0 {
		return nil
	}
	return o.sessions[len(o.sessions)-1]
}
