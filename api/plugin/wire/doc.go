// Package wire is the session between the kernel and a plugin's process as a pure
// state machine, both ends of it: what is sent when, what is sent again, and what is
// applied in which order. docs/plugins/protocol.md has the same in prose.
//
// Kernel is the kernel's end: it outlives the plugin's processes, each of which is a
// Conn. Plugin is the end within such a process.
//
// There is no I/O here, no goroutine, no clock and no lock. The caller calls the
// methods of a Kernel with all its Conns, or of a Plugin, one at a time (a mutex
// around it), passes in the time, and does what it is told: it takes Actions with Take
// after each call, and acts on them when it has let go of its lock. No method waits,
// and none calls out but for Source.Encode. Frames that were returned belong to the caller; frames that were passed in
// belong to the machine and must not be changed afterwards.
package wire

import (
	"errors"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

const (
	// MaxRequests is how many requests of a Session may be under way, from the frame
	// that has the request to the frame that has its response. A plugin that asks for
	// more breaks the protocol.
	MaxRequests = 1024
	// MaxRequestBytes bounds a request, encoded.
	MaxRequestBytes = 64 << 10
	// MaxUnasked is the same for Unasked and Applied.
	MaxUnasked = 1024
	// MaxCredit bounds the events in flight on a Session, whatever was announced.
	MaxCredit = 16_384
	// MaxLate bounds the late events that a Session of a process may have.
	MaxLate = 65_536
	// MaxKeyBytes bounds an ordering key.
	MaxKeyBytes = 8192
	// MaxFrameBytes is the largest frame where nothing else was said.
	MaxFrameBytes = 4 << 20
	// MinFrameBytes is the least that a side must take.
	MinFrameBytes = 64 << 10
	// MaxShards bounds the Sessions of a process.
	MaxShards = 256
)

// ErrProtocol is wrapped by all that Receive and its like say about a peer that broke
// the protocol. The process is to be ended.
var ErrProtocol = errors.New("plugin protocol")

// Shard returns the Session, 0 to shards-1, that all frames of an ordering key use:
// the 64 bits FNV-1a hash of the key's bytes, modulo shards.
func Shard(key string, shards int) int {
	if shards <= 1 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return int(h % uint64(shards))
}

// Hello returns the first frame of a Session, which the kernel sends when it has opened it.
func Hello(generation uint64, shard int) *pluginv1.KernelFrame {
	return &pluginv1.KernelFrame{Generation: generation, Hello: &pluginv1.SessionHello{Shard: uint32(shard)}}
}
