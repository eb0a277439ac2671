package pluginhost

import (
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/admin"
)

// look is the watchdog.
func (p *plugin) look() {
	t := p.host.times
	p.mu.Lock()
	st := &p.told
	st.window[st.at] = sample{time.Now(), st.handled, st.handling}
	st.at = (st.at + 1) % len(st.window)
	in := p.acting
	if in == nil || in.ready.IsZero() || p.phase != acting {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	w := in.conn.Watch()
	beat, oldest, progress := since(now, w.Beat), since(now, w.Oldest), since(now, w.Outcome)
	if w.Beat.IsZero() && now.Sub(in.beaten) >= t.beat {
		in.conn.Beat(now)
		in.beaten = now
	}
	switch {
	case beat >= t.beatLimit:
		in.fail(fmt.Errorf("the process gives no sign of life for %s %w", beat.Round(time.Second), errHangs))
	case oldest >= t.eventLimit:
		in.fail(fmt.Errorf("the process has an event for %s (key %q) %w", oldest.Round(time.Second), short(w.OldestKey), errHangs))
	case beat >= t.late:
		st.state, st.detail = admin.PluginDegraded, fmt.Sprintf("it gives no sign of life for %s", beat.Round(time.Second))
	case oldest >= t.late && (w.Outcome.IsZero() || progress >= t.late):
		st.state, st.detail = admin.PluginDegraded, fmt.Sprintf("it answers nothing for %s (key %q)", oldest.Round(time.Second), short(w.OldestKey))
	case st.state == admin.PluginDegraded:
		st.state, st.detail = admin.PluginReady, ""
	}
	p.after()
	p.mu.Unlock()
	if t := p.trial; t != nil && now.After(t.until) {
		p.trial = nil
		p.sweep()
	}
}

func since(now, then time.Time) time.Duration {
	if then.IsZero() {
		return 0
	}
	return now.Sub(then)
}
