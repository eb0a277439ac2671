package carbons

import (
	"hash/maphash"
	"sync"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// memory knows the latest messages that were eligible, since an error is copied if
// it answers one of them (6.1). What an error contains does not tell: it need not
// have the original (RFC 6120 8.3.1).
//
// It holds hashes of account, peer and id of what was copied, at least the latest
// memorySize and at most twice as many. What is older, from before a start of the
// server, or has no id, is not known: an error that answers it is not copied. Hashes
// of two messages meet once in 2^64 times, and nobody can choose which.
type memory struct {
	seed maphash.Seed

	mu          sync.Mutex
	young, aged map[uint64]struct{}
}

const memorySize = 20_000

func newMemory() *memory {
	return &memory{seed: maphash.MakeSeed(), young: map[uint64]struct{}{}}
}

// note remembers a message between an account and a peer, both bare.
func (m *memory) note(account, peer jid.JID, id string) {
	if id == "" {
		return
	}
	key := m.key(account, peer, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= memorySize {
		m.aged, m.young = m.young, make(map[uint64]struct{})
	}
	m.young[key] = struct{}{}
}

// knows says whether note was told of such a message.
func (m *memory) knows(account, peer jid.JID, id string) bool {
	if id == "" {
		return false
	}
	key := m.key(account, peer, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, young := m.young[key]
	_, aged := m.aged[key]
	return young || aged
}

func (m *memory) key(account, peer jid.JID, id string) uint64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	for _, part := range []string{account.String(), peer.String(), id} {
		h.WriteString(part)
		h.WriteByte(0) // which no address and no id holds
	}
	return h.Sum64()
}
