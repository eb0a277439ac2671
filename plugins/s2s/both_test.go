package s2s

import (
	"maps"
	"strings"
	"testing"
)

// A peer that resumes a stream both ways acknowledges what comes on it (XEP-0198 5), whatever the process that it comes to knows
// of the one before: nothing counts as sent there because it was written.
func TestBothWaysResumed(t *testing.T) {
	for name, forgets := range map[string]bool{"the other direction is known": false, "it is not": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.server(ca().issue(false, "a.example"), "a.example")
			b := w.server(ca().issue(false, "b.example"), "b.example")
			start(t, a, b)
			b.send(message(t, "juliet@b.example", "romeo@a.example", "b opens"))
			a.until("b's message", func() bool { return len(a.got) == 1 })
			chat(t, a, b, 10)
			a.kill()
			if forgets {
				maps.DeleteFunc(a.memory, func(key string, _ []byte) bool { return strings.HasPrefix(key, noteKey) })
			}
			a.run()
			b.send(message(t, "juliet@b.example", "romeo@a.example", "b resumes"))
			a.until("b's message", func() bool { return len(a.got) == 12 })
			chat(t, a, b, 10)
			p := a.engine.lock("b.example")
			defer p.mu.Unlock()
			for _, l := range p.links {
				if l.sess != nil && (!l.inbound || !l.managed) {
					t.Errorf("opened by b: %v, acknowledged: %v", l.inbound, l.managed)
				}
			}
		})
	}
}
