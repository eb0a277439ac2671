package caps

import "github.com/hexmpp/hexmpp/ports/storage"

// Saving makes one storage.SavedCaps of what several slots share.
type Saving map[*info]*storage.SavedCaps

// Of returns what a later process needs to know the same of a client; nil if
// nothing is known.
func (v Saving) Of(s *Slot) *storage.SavedCaps {
	i := s.p.Load()
	if i == nil || i.features == nil {
		return nil
	}
	saved := v[i]
	if saved == nil {
		saved = &storage.SavedCaps{XML: i.xml, Features: i.features}
		v[i] = saved
	}
	return saved
}

// Restoring shares what was saved once among slots.
type Restoring map[*storage.SavedCaps]*info

// Fill fills an empty slot. What it learns is for sessions that had learnt it: a
// Directory asks the next client for itself.
func (v Restoring) Fill(s *Slot, saved *storage.SavedCaps) {
	if saved == nil {
		return
	}
	c, ok := read(saved.XML)
	if !ok {
		return
	}
	i := v[saved]
	if i == nil || i.key.only != nil {
		i = &info{key: c.key(s).clone(), features: saved.Features, xml: saved.XML}
		if i.features == nil {
			i.features = []string{}
		}
		v[saved] = i
	}
	s.p.Store(i)
}
