package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/observe"
)

// Remote returns what the kernel tells of plugins in processes of their own. It is
// called once.
func (m *Metrics) Remote() observe.Remote {
	of := func(name, help string, more ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: "plugin", Name: name, Help: help}, append([]string{"plugin"}, more...))
		m.registry.MustRegister(v)
		return v
	}
	dispatched := of("dispatched_total", "Events that a plugin was given, by what happened.", "kind")
	untaken := of("untaken_total", "Events that it did not take, since too many wait or it is down.", "kind")
	ended := of("ended_total", "Events that are at their end, by what happened, and by result: applied, or failed if nothing came of them.", "kind", "result")
	again := of("again_total", "Outcomes that could not be applied, so that the event was handled again, by reason: conflict or storage.", "reason")
	missed := of("verdicts_missed_total", "Stanzas that waited for a verdict in vain.")
	skipped := of("verdicts_skipped_total", "Stanzas for which it was not asked, since it had missed too many.")
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Subsystem: "plugin", Name: "event_seconds",
		Help: "Time from an event to the end of what was asked for with it.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10)}, []string{"plugin"})
	broken := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Subsystem: "plugin", Name: "handlers_skipped",
		Help: "Handlers that are not asked for verdicts for a while."}, []string{"plugin"})
	m.registry.MustRegister(took, broken)
	return observe.Remote{
		Dispatched: func(name, kind string, err error) {
			if err != nil {
				untaken.WithLabelValues(name, kind).Inc()
				return
			}
			dispatched.WithLabelValues(name, kind).Inc()
		},
		Ended: func(name, kind string, after time.Duration, err error) {
			result := "applied"
			if err != nil {
				result = "failed"
			}
			ended.WithLabelValues(name, kind, result).Inc()
			took.WithLabelValues(name).Observe(after.Seconds())
		},
		Again: func(name string, why error) {
			reason := "storage"
			if errors.Is(why, extension.ErrConflict) {
				reason = "conflict"
			}
			again.WithLabelValues(name, reason).Inc()
		},
		Missed:  func(name string) { missed.WithLabelValues(name).Inc() },
		Skipped: func(name string) { skipped.WithLabelValues(name).Inc() },
		Broke: func(name string, open bool) {
			if open {
				broken.WithLabelValues(name).Inc()
				return
			}
			broken.WithLabelValues(name).Dec()
		},
	}
}
