package caps

import (
	"strings"
	"sync/atomic"
)

// Slot is where a session keeps what its client can do: a pointer, to what it
// mostly shares with others. The zero value is that of a client without <c/>. A
// Directory fills it; any goroutine may read it.
type Slot struct{ p atomic.Pointer[info] }

// Features returns the features of the client, sorted; nil while they are not
// known. The slice is shared and must not be changed.
func (s *Slot) Features() []string {
	if i := s.p.Load(); i != nil {
		return i.features
	}
	return nil
}

// Settled says that it is known what the client can do, and that this <c/> says
// nothing else: that of most presence.
func (s *Slot) Settled(c string) bool {
	i := s.p.Load()
	return i != nil && i.features != nil && i.xml == c
}

// fill replaces what is not known by what is, if the client still waits for it.
func (s *Slot) fill(was, found *info) {
	if s.p.Load() == was {
		s.p.Store(found)
	}
}

// info is what a verification string stands for. It does not change.
type info struct {
	key      key
	features []string // nil while they are not known
	xml      string   // <c/> as the first client had it; others may differ, in the node
}

// key is a verification string. The same ver has nothing to say of another
// client where the hash can't be checked: then the key is its session's own (5.4,
// step 2.3).
type key struct {
	hash, ver string
	only      *Slot
}

func (c *C) key(s *Slot) key {
	if _, known := algorithms[c.Hash]; known {
		return key{c.Hash, c.Ver, nil}
	}
	return key{c.Hash, c.Ver, s}
}

// clone returns the key in memory of its own.
func (k key) clone() key { return key{strings.Clone(k.hash), strings.Clone(k.ver), k.only} }

const stringBytes = 16 // that a string takes beside its text

// kept returns the features in memory of their own.
func (a *Answer) kept() []string {
	rest := strings.Join(a.features, "")
	kept := make([]string, len(a.features))
	for i, f := range a.features {
		kept[i], rest = rest[:len(f)], rest[len(f):]
	}
	return kept
}

// size is what an info takes, about.
func (i *info) size() int {
	n := 256 + len(i.xml) + len(i.key.hash) + len(i.key.ver) + stringBytes*len(i.features)
	for _, f := range i.features {
		n += len(f)
	}
	return n
}
