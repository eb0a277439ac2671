package muc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/rsm"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Service is the plugin. Its handlers may run at once, but for those of one room.
type Service struct {
	options Options
	admins  map[jid.JID]bool

	mu    sync.Mutex // guards what follows
	rooms map[string]*room
	swept time.Time
	keys  *keys
}

// keys are secrets of the service.
type keys struct {
	occupant []byte   // of occupant ids (XEP-0421)
	ids      *mam.IDs // of the archives
}

// New returns a service with these options. The error names one that can't be.
func New(o Options) (*Service, error) {
	admins, err := o.check()
	if err != nil {
		return nil, err
	}
	return &Service{options: o, admins: admins, rooms: map[string]*room{}}, nil
}

// Registration returns what the service claims. It does not depend on options.
func (s *Service) Registration() extension.Registration {
	return extension.Registration{
		Name:   "muc",
		Reply:  s.reply,
		Forget: s.Forget,
		Start:  s.start,
		Timer:  s.timer,
		Implements: []extension.XEP{
			{Number: 45, Version: "1.35.5", Note: "docs/plugins/muc.md says what is missing"},
			{Number: 249, Version: "1.2"},
			{Number: 313, Version: "1.1.3", Note: "of rooms"},
			{Number: 317, Version: "0.3.1"},
			{Number: 359, Version: "0.7.0"},
			{Number: 410, Version: "1.1.0"},
			{Number: 421, Version: "1.0.1"},
			{Number: 424, Version: "0.4.2", Note: "tombstones in the archives of rooms"},
			{Number: 425, Version: "0.3.0"},
			{Number: 441, Version: "0.2.0", Note: "metadata of the archives of rooms; preferences are for accounts"},
			{Number: 486, Version: "0.1.0"},
			{Number: 500, Version: "0.1.1"},
		},
		Components: []extension.Component{{
			Domain: "conference.$domain",
			Disco: extension.Disco{
				Identities: []extension.Identity{{Category: "conference", Type: "text", Name: "Chat rooms"}},
				Features:   []string{nsMUC, nsStableID, nsOccupantID, nsVCard, rsm.NS},
			},
			IQ:     []extension.IQHandler{{Space: nsDiscoItems, Local: "query", Type: stanza.Get, Handle: s.roomList}},
			Handle: s.handle,
			Key:    extension.ToBare,
		}},
	}
}

// Forget drops what is known by heart of an ordering key, which is that of a room.
// It is extension.Registration.Forget.
func (s *Service) Forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rooms, key)
}

// How long rooms are known by heart after they were used last, and how often that is looked at.
const (
	keepRoom   = 5 * time.Minute
	sweepAfter = time.Minute
)

// sweep drops rooms that nothing has happened in for a while.
func (s *Service) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) < sweepAfter {
		return
	}
	s.swept = now
	for name, r := range s.rooms {
		if now.Sub(r.used) > keepRoom {
			delete(s.rooms, name)
		}
	}
}

// secrets returns the keys of the service.
func (s *Service) secrets(ctx context.Context, h *extension.Host) (*keys, error) {
	s.mu.Lock()
	k := s.keys
	s.mu.Unlock()
	if k != nil {
		return k, nil
	}
	occupant, err := h.Secrets.Secret(ctx, "occupant-id")
	if err != nil {
		return nil, fmt.Errorf("muc: the secret of occupant ids: %w", err)
	}
	archive, err := h.Secrets.Secret(ctx, "archive-id")
	if err != nil {
		return nil, fmt.Errorf("muc: the secret of archive ids: %w", err)
	}
	ids, err := mam.NewIDs(archive)
	if err != nil {
		return nil, fmt.Errorf("muc: archive ids: %w", err)
	}
	k = &keys{occupant, ids}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = k
	return k, nil
}
