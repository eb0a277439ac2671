package router

import (
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Recall takes a stanza that has waited for an account through the stage Recall
// before e.Session gets it. then is told what goes on, or nil: then an error says that
// the stanza is to wait on, since it was not dropped but refused, or a handler
// failed (offline.Undecided). e is borrowed.
func (r *Router) Recall(b *transport.Batch, e *extension.Envelope, then func(b *transport.Batch, st *stanza.Stanza, err error)) transport.Wait {
	if !r.wanted(extension.Recall, e) {
		then(b, e.Stanza, nil)
		return nil
	}
	return r.begin(b, &passage{
		Passage: through(extension.Recall, e),
		next: func(b *transport.Batch, e *extension.Envelope) transport.Wait {
			then(b, e.Stanza, nil)
			return nil
		},
		ended: func(b *transport.Batch, err error) transport.Wait {
			then(b, nil, err)
			return nil
		},
	})
}
