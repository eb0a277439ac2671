package plugin

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// Bounds of package extension. The kernel checks them, too; that a handler is told at
// once is what they are here for.
const (
	maxState        = 4 << 10
	maxRequestTime  = 5 * time.Minute
	maxMemoryPuts   = 8 << 20
	maxMemoryKey    = 1024
	maxMemoryValue  = 1 << 20
	memoryEntryCost = 64
	maxGroupName    = 2048
	maxGroupMembers = 20_000
	maxClasses      = 8
	maxClassName    = 64
	maxExcept       = 1000
	maxVariants     = 8
)

// bounds are those that Configure says.
type bounds struct{ sends int }

func boundsOf(c *pluginv1.ConfigureRequest) bounds {
	b := bounds{sends: int(c.MaxSends)}
	if b.sends == 0 {
		b.sends = 1000
	}
	return b
}

// Blocks of IDs.
const (
	idBlockSize = 32
	// maxIDAge is how old the IDs of a block may become: an ID says when its row came to
	// be, within what Between promises.
	maxIDAge = 200 * time.Millisecond
)

// idBlock gives out IDs for rows of archives, in order.
type idBlock struct {
	single bool        // one by one: they cost nothing where the server is
	stale  atomic.Bool // somebody else has appended in between: those that are left are too old

	mu     sync.Mutex // held over the request, too: who comes later gets later ones
	ids    []uint64
	asked  time.Time
	amount int // of the block before; it grows while blocks are used up in time
}

func (b *idBlock) next(ctx context.Context, r codec.Reads) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); b.stale.Swap(false) || len(b.ids) == 0 || now.Sub(b.asked) > maxIDAge {
		if len(b.ids) > 0 || b.amount == 0 || b.single { // it was too much
			b.amount = 1
		} else {
			b.amount = min(2*b.amount, idBlockSize)
		}
		ids, err := r.NewIDs(ctx, b.amount)
		if err != nil {
			return 0, err
		}
		b.ids, b.asked = ids, now
	}
	if len(b.ids) == 0 {
		return 0, errNoIDs
	}
	id := b.ids[0]
	b.ids = b.ids[1:]
	return id, nil
}

var errNoIDs = errors.New("plugin: the server gave no IDs")
