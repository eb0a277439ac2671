package host

import (
	"context"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// Notify tells the extensions that asked for it of an event; nobody waits for
// them. Any goroutine may call it.
func (h *Hosts) Notify(n extension.Notice) {
	for _, g := range h.noticed {
		if slices.Contains(g.Reg.Notices, n.Event) {
			h.Spawn(g.Later(func(ctx context.Context, host *extension.Host) error {
				return g.Reg.Notice(ctx, host, n)
			}, g.logged("notice handler")))
		}
	}
}
