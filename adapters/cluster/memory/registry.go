// Package memory is the session registry of a server that runs alone: a
// cluster.Registry in the memory of one process.
//
// Sessions are kept by bare JID in a number of shards, each with its own lock.
// The sessions of an account are an immutable slice that is replaced whole when
// one of them changes, so that a look-up takes a read lock, copies nothing but
// a slice header, and what it returned stays as it was.
package memory

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// shards is a power of two, large enough that goroutines seldom meet.
const shards = 64

// Registry implements cluster.Registry. All methods may be called from any
// goroutine; none of them calls a Receiver.
type Registry struct {
	seed   maphash.Seed
	fence  atomic.Uint64 // the last one given
	length atomic.Int64
	shards [shards]shard
}

var _ cluster.Registry = (*Registry)(nil)

type shard struct {
	// mu guards the map. The slices in it are never changed once they are in.
	mu sync.RWMutex
	// sessions is keyed by the canonical bare JID, which shares the memory of
	// the full JID in an entry: a string takes less of a map than a jid.JID.
	sessions map[string][]cluster.Entry

	_ [32]byte // keeps neighbours' locks off one cache line of 64 bytes
}

// New returns an empty registry.
func New() *Registry {
	r := &Registry{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].sessions = map[string][]cluster.Entry{}
	}
	return r
}

// shard returns where the sessions of a bare JID are. The seed is random, so
// that nobody can choose names that all meet in one shard.
func (r *Registry) shard(bare string) *shard {
	return &r.shards[maphash.String(r.seed, bare)%shards]
}

// Claim implements cluster.Registry.
func (r *Registry) Claim(e cluster.Entry) (fence uint64, replaced *cluster.Entry) {
	bare := e.JID.Bare().String()
	s := r.shard(bare)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Fence = r.fence.Add(1) // under the lock: the later claim has the greater one
	old := s.sessions[bare]
	i := index(old, e.JID)
	if i < 0 {
		// Grown by one and no more: most accounts have one session.
		next := make([]cluster.Entry, len(old)+1)
		copy(next, old)
		next[len(old)] = e
		s.sessions[bare] = next
		r.length.Add(1)
		return e.Fence, nil
	}
	was := old[i]
	next := make([]cluster.Entry, 0, len(old))
	next = append(append(append(next, old[:i]...), old[i+1:]...), e)
	s.sessions[bare] = next
	return e.Fence, &was
}

// Update implements cluster.Registry.
func (r *Registry) Update(e cluster.Entry) bool {
	bare := e.JID.Bare().String()
	s := r.shard(bare)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.sessions[bare]
	i := index(old, e.JID)
	if i < 0 || old[i].Fence != e.Fence {
		return false
	}
	next := slices.Clone(old)
	e.JID, e.Receiver = next[i].JID, next[i].Receiver
	next[i] = e
	s.sessions[bare] = next
	return true
}

// Release implements cluster.Registry.
func (r *Registry) Release(full jid.JID, fence uint64) bool {
	bare := full.Bare().String()
	s := r.shard(bare)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.sessions[bare]
	i := index(old, full)
	if i < 0 || old[i].Fence != fence {
		return false
	}
	r.length.Add(-1)
	if len(old) == 1 {
		delete(s.sessions, bare)
		return true
	}
	next := make([]cluster.Entry, 0, len(old)-1)
	next = append(append(next, old[:i]...), old[i+1:]...)
	// The key may be a part of the released JID: take one that stays.
	s.sessions[next[0].JID.Bare().String()] = next
	return true
}

// Sessions implements cluster.Registry.
func (r *Registry) Sessions(bare jid.JID) []cluster.Entry {
	key := bare.Bare().String()
	s := r.shard(key)
	s.mu.RLock()
	entries := s.sessions[key]
	s.mu.RUnlock()
	return entries
}

// Session implements cluster.Registry.
func (r *Registry) Session(full jid.JID) (cluster.Entry, bool) {
	entries := r.Sessions(full)
	if i := index(entries, full); i >= 0 {
		return entries[i], true
	}
	return cluster.Entry{}, false
}

// Len implements cluster.Registry.
func (r *Registry) Len() int { return int(r.length.Load()) }

// index finds a full JID among the sessions of an account, which are few.
func index(entries []cluster.Entry, full jid.JID) int {
	for i := range entries {
		if entries[i].JID == full {
			return i
		}
	}
	return -1
}
