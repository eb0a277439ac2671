// Package metrics makes Prometheus metrics of what ports/observe tells. Names end
// in the unit; counters in _total. docs/operating/metrics.md lists them.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Metrics holds the metrics of one server.
type Metrics struct {
	registry *prometheus.Registry

	received, delivered [stanza.IQ + 1]prometheus.Counter
	logins              prometheus.Counter
	failedLogins        *prometheus.CounterVec
	resumptions         *prometheus.CounterVec
	restored            prometheus.Counter
	overflows           prometheus.Counter
	stored, fetched     prometheus.Counter
	notStored           *prometheus.CounterVec
	pauses, pausedTime  *prometheus.CounterVec
	refused             *prometheus.CounterVec
	delayed             prometheus.Counter
	refusedConnections  *prometheus.CounterVec

	commits      prometheus.Histogram
	commitWrites prometheus.Histogram
	failures     prometheus.Counter

	archivedRows    prometheus.Counter
	archived        prometheus.Histogram
	archiveCommits  prometheus.Histogram
	archiveFailures prometheus.Counter
}

const namespace = "hexmpp"

// New returns the metrics of a server of this version.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		logins:   counter("logins_total", "Logins that succeeded."),
		failedLogins: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "logins_failed_total",
			Help: "Logins that failed, by SASL condition."}, []string{"condition"}),
		resumptions: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "resumptions_total",
			Help: "Sessions that clients asked to resume, by result: ok or failed."}, []string{"result"}),
		restored:           counter("sessions_restored_total", "Sessions of the process before that could be resumed at the start."),
		overflows:          counter("sessions_overflowed_total", "Sessions that ended since their client did not read or did not acknowledge."),
		stored:             counter("offline_stored_total", "Messages that were stored for accounts that are offline."),
		fetched:            counter("offline_delivered_total", "Stored messages that have arrived: acknowledged, or written without stream management."),
		notStored:          vector("offline_refused_total", "Messages that were to be stored, and were refused: quota, size or storage.", "reason"),
		pauses:             vector("rate_pauses_total", "Times that a connection was not read for a while since its account sent faster than it may, by limit: bytes or stanzas.", "limit"),
		pausedTime:         vector("rate_paused_seconds_total", "How long all these took together, by limit.", "limit"),
		refused:            vector("stanzas_refused_total", "Stanzas that clients are to send again later, by reason: rate or disk.", "reason"),
		delayed:            counter("connections_delayed_total", "Connections that were served later, since their address made too many at once."),
		refusedConnections: vector("connections_refused_total", "Connections that were closed at once, by the limit in the configuration.", "limit"),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "storage_commit_seconds",
			Help: "Time of one transaction that writes.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		commitWrites: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "storage_commit_writes",
			Help: "Writes that share one transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		failures:     counter("storage_commits_failed_total", "Transactions that failed."),
		archivedRows: counter("archive_rows_total", "Messages that were written to archives, for each archive."),
		archived: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "archive_commit_seconds",
			Help: "Time from the beginning of a commit of archived messages to its end.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		archiveCommits: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "archive_commit_rows",
			Help: "Archived messages that share one commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		archiveFailures: counter("archive_commits_failed_total", "Commits of archived messages that failed: their senders got errors."),
	}
	for _, why := range []observe.Reason{observe.OverQuota, observe.TooLong, observe.StorageFailed} {
		m.notStored.WithLabelValues(string(why)) // 0 is known from the start
	}
	stanzas := func(name, help string) (all [stanza.IQ + 1]prometheus.Counter) {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{"kind"})
		m.registry.MustRegister(vec)
		for kind := stanza.Message; kind <= stanza.IQ; kind++ {
			all[kind] = vec.WithLabelValues(kind.String())
		}
		return all
	}
	m.received = stanzas("stanzas_received_total", "Stanzas that clients handed in.")
	m.delivered = stanzas("stanzas_delivered_total", "Stanzas that sessions took.")
	build := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "build_info",
		Help: "Always 1; the version is a label.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(build, m.logins, m.failedLogins, m.resumptions, m.restored, m.overflows, m.stored, m.fetched, m.notStored,
		m.pauses, m.pausedTime, m.refused, m.delayed, m.refusedConnections, m.commits, m.commitWrites, m.failures,
		m.archivedRows, m.archived, m.archiveCommits, m.archiveFailures,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func vector(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

// Kernel is what the kernel tells.
func (m *Metrics) Kernel() observe.Kernel {
	return observe.Kernel{
		Received:    func(k stanza.Kind) { m.received[k].Inc() },
		Delivered:   func(k stanza.Kind) { m.delivered[k].Inc() },
		LoggedIn:    m.logins.Inc,
		LoginFailed: func(condition string) { m.failedLogins.WithLabelValues(condition).Inc() },
		Resumed: func(ok bool) {
			result := "failed"
			if ok {
				result = "ok"
			}
			m.resumptions.WithLabelValues(result).Inc()
		},
		Restored:   func(n int) { m.restored.Add(float64(n)) },
		Overflowed: m.overflows.Inc,
		Stored:     m.stored.Inc,
		Fetched:    func(n int) { m.fetched.Add(float64(n)) },
		NotStored:  func(why observe.Reason) { m.notStored.WithLabelValues(string(why)).Inc() },
		Paused: func(limit string, d time.Duration) {
			m.pauses.WithLabelValues(limit).Inc()
			m.pausedTime.WithLabelValues(limit).Add(d.Seconds())
		},
		Refused: func(reason string) { m.refused.WithLabelValues(reason).Inc() },
		Archived: func(rows int, took time.Duration, err error) {
			if err != nil {
				m.archiveFailures.Inc()
				return
			}
			m.archivedRows.Add(float64(rows))
			m.archived.Observe(took.Seconds())
			m.archiveCommits.Observe(float64(rows))
		},
	}
}

// Connections is what the adapter of connections tells.
func (m *Metrics) Connections() observe.Connections {
	return observe.Connections{
		Delayed: func(time.Duration) { m.delayed.Inc() },
		Refused: func(limit string) { m.refusedConnections.WithLabelValues(limit).Inc() },
	}
}

// Storage is what the storage tells.
func (m *Metrics) Storage() observe.Storage {
	return observe.Storage{Committed: func(writes int, took time.Duration, err error) {
		if err != nil {
			m.failures.Inc()
			return
		}
		m.commits.Observe(took.Seconds())
		m.commitWrites.Observe(float64(writes))
	}}
}

// Watch has the kernel asked at each scrape. It is called once.
func (m *Metrics) Watch(ask func() observe.Gauges) {
	m.registry.MustRegister(&gauges{ask: ask})
}

// Handler serves the metrics in the formats that Prometheus reads.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Timeout: 10 * time.Second, MaxRequestsInFlight: 4})
}

// gauges collects observe.Gauges.
type gauges struct{ ask func() observe.Gauges }

var (
	streams   = desc("streams", "Client streams, logged in or not.")
	sessions  = desc("sessions", "Bound resources.")
	resumable = desc("sessions_resumable", "Sessions that can be resumed, with a connection or without.")
	resting   = desc("streams_paused", "Client streams that are not read for a while, since their accounts send faster than they may.")
	tasks     = desc("tasks", "Work that waits or runs and that no stream waits for.")
	underway  = desc("messages_underway", "Messages of clients that were accepted and wait for a commit.")
	records   = desc("spool_records", "Messages that were accepted and that no client has acknowledged yet.")
	logBytes  = desc("spool_bytes", "Size of the spool on the disk.")

	groups        = ofExtension("groups", "Groups that an extension keeps in the server's memory, such as rooms with occupants.")
	members       = ofExtension("group_members", "Members of all groups of an extension.")
	memoryEntries = ofExtension("memory_entries", "Entries that an extension keeps in the server's memory.")
	memoryBytes   = ofExtension("memory_bytes", "Size of these entries, which is bounded.")
	timers        = ofExtension("timers", "Timers of an extension that are set, or whose handlers run.")
)

// ofExtension is desc for a gauge of each extension.
func ofExtension(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "extension", name), help, []string{"extension"}, nil)
}

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil)
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{streams, sessions, resumable, resting, tasks, underway, records, logBytes, groups, members, memoryEntries, memoryBytes, timers} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	now := g.ask()
	for _, v := range []struct {
		desc  *prometheus.Desc
		value int64
	}{
		{streams, int64(now.Streams)}, {sessions, int64(now.Sessions)}, {resumable, int64(now.Resumable)}, {resting, int64(now.Resting)}, {tasks, int64(now.Tasks)},
		{underway, int64(now.Underway)}, {records, int64(now.SpoolRecords)}, {logBytes, now.SpoolBytes},
	} {
		to <- prometheus.MustNewConstMetric(v.desc, prometheus.GaugeValue, float64(v.value))
	}
	for i := range now.Extensions {
		x := &now.Extensions[i]
		for _, v := range []struct {
			desc  *prometheus.Desc
			value int64
		}{
			{groups, int64(x.Groups)}, {members, int64(x.Members)}, {memoryEntries, int64(x.MemoryEntries)}, {memoryBytes, x.MemoryBytes}, {timers, int64(x.Timers)},
		} {
			to <- prometheus.MustNewConstMetric(v.desc, prometheus.GaugeValue, float64(v.value), x.Name)
		}
	}
}
