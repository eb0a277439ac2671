package wire

import (
	"fmt"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// Late tells whether its event is a late one: it is taken (Taken), and answered (Answer) whenever that may
// be. It is handed out in the order of its key, and is not made void by a Reset.
func (t *Task) Late() bool { return isLate(t.Event) }

func isLate(e *pluginv1.Event) bool { return e.GetFar() != nil }

// Taken says that a late event was taken: the next one of its key is handed out. It is said
// once.
func (p *Plugin) Taken(t *Task) {
	if !t.Late() || t.taken {
		return
	}
	t.taken = true
	t.key.running = nil
	p.running--
	p.over(t.key)
}

// Answer gives the outcome of a late event, once, in any order, also before Taken. For the error see Done.
func (p *Plugin) Answer(t *Task, o *pluginv1.Outcome) error {
	if !t.Late() || t.done {
		return fmt.Errorf("plugin wire: event %d has its outcome, or is not late", t.Event.GetId())
	}
	t.done = true
	return p.outcome(&p.shards[t.Shard], t, o)
}
