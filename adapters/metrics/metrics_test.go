package metrics

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestMetrics(t *testing.T) {
	m := New("1.2.3")
	m.Watch(func() observe.Gauges {
		return observe.Gauges{Streams: 5, Sessions: 4, Resumable: 3, Tasks: 2, Underway: 6, SpoolRecords: 7, SpoolBytes: 1234,
			Extensions: []observe.Extension{{Name: "muc", Groups: 1, Members: 2, MemoryEntries: 3, MemoryBytes: 4, Timers: 5}}}
	})
	m.WatchPlugins(func() []observe.Plugin {
		return []observe.Plugin{{Name: "muc", State: "degraded", Generation: 3, Restarts: 2, Reloads: 1, Queue: 4, InFlight: 5, Events: 60, Handling: 1500 * time.Millisecond,
			Dropped: 7, Refused: 8, Poisoned: 9, Stale: 10, Memory: 1 << 20}}
	})
	k, s := m.Kernel(), m.Storage()
	k.Received(stanza.Message)
	k.Received(stanza.IQ)
	k.Delivered(stanza.Presence)
	k.LoggedIn()
	k.LoginFailed("not-authorized")
	k.Resumed(true)
	k.Resumed(false)
	k.Overflowed()
	k.Stored()
	k.Fetched(3)
	k.NotStored(observe.OverQuota)
	s.Committed(3, 2*time.Millisecond, nil)
	s.Committed(1, time.Millisecond, errors.New("disk full"))
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`hexmpp_build_info{version="1.2.3"} 1`,
		`hexmpp_stanzas_received_total{kind="message"} 1`, `hexmpp_stanzas_received_total{kind="iq"} 1`, `hexmpp_stanzas_received_total{kind="presence"} 0`,
		`hexmpp_stanzas_delivered_total{kind="presence"} 1`,
		`hexmpp_logins_total 1`, `hexmpp_logins_failed_total{condition="not-authorized"} 1`,
		`hexmpp_resumptions_total{result="ok"} 1`, `hexmpp_resumptions_total{result="failed"} 1`,
		`hexmpp_sessions_overflowed_total 1`,
		`hexmpp_offline_stored_total 1`, `hexmpp_offline_delivered_total 3`,
		`hexmpp_offline_refused_total{reason="quota"} 1`, `hexmpp_offline_refused_total{reason="size"} 0`, `hexmpp_offline_refused_total{reason="storage"} 0`,
		`hexmpp_spool_records 7`, `hexmpp_spool_bytes 1234`,
		`hexmpp_storage_commit_writes_sum 3`, `hexmpp_storage_commit_seconds_count 1`, `hexmpp_storage_commits_failed_total 1`,
		`hexmpp_streams 5`, `hexmpp_sessions 4`, `hexmpp_sessions_resumable 3`, `hexmpp_tasks 2`, `hexmpp_messages_underway 6`,
		`hexmpp_plugin_state{plugin="muc",state="degraded"} 1`, `hexmpp_plugin_state{plugin="muc",state="ready"} 0`,
		`hexmpp_plugin_generation{plugin="muc"} 3`, `hexmpp_plugin_restarts_total{plugin="muc"} 2`, `hexmpp_plugin_reloads_total{plugin="muc"} 1`,
		`hexmpp_plugin_queue{plugin="muc"} 4`, `hexmpp_plugin_in_flight{plugin="muc"} 5`, `hexmpp_plugin_events_total{plugin="muc"} 60`,
		`hexmpp_plugin_handling_seconds_total{plugin="muc"} 1.5`, `hexmpp_plugin_events_dropped_total{plugin="muc"} 7`,
		`hexmpp_plugin_events_refused_total{plugin="muc"} 8`, `hexmpp_plugin_events_poisoned_total{plugin="muc"} 9`,
		`hexmpp_plugin_frames_stale_total{plugin="muc"} 10`, `hexmpp_plugin_memory_bytes{plugin="muc"} 1.048576e+06`,
		`hexmpp_extension_groups{extension="muc"} 1`, `hexmpp_extension_group_members{extension="muc"} 2`, `hexmpp_extension_memory_entries{extension="muc"} 3`,
		`hexmpp_extension_memory_bytes{extension="muc"} 4`, `hexmpp_extension_timers{extension="muc"} 5`,
		`go_goroutines `, `process_resident_memory_bytes `,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("missing: %s", want)
		}
	}
}

// The page for administrators lists what there is, and nothing else.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	m := New("1")
	m.Watch(func() observe.Gauges { return observe.Gauges{Extensions: []observe.Extension{{Name: "x"}}} })
	m.WatchPlugins(func() []observe.Plugin { return []observe.Plugin{{Name: "muc"}} })
	k := m.Kernel()
	k.LoginFailed("x")
	k.Resumed(true)
	k.Paused("x", time.Second)
	k.Refused("x")
	tellOfRemote(m)
	m.refusedConnections.WithLabelValues("x").Inc()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	names := func(pattern, text string) []string {
		var all []string
		for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, found[1])
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	there, told := names(`(?m)^# TYPE (hexmpp_\w+)`, w.Body.String()), names(`\b(hexmpp_[a-z_]+)`, string(page))
	if !slices.Equal(there, told) {
		t.Errorf("there are\n%q, and the page has\n%q", there, told)
	}
}

// tellOfRemote tells each thing that there is once.
func tellOfRemote(m *Metrics) {
	r := m.Remote()
	r.Dispatched("muc", "stanza", nil)
	r.Dispatched("muc", "iq", extension.ErrFull)
	r.Ended("muc", "stanza", time.Millisecond, nil)
	r.Ended("muc", "timer", time.Second, extension.ErrDown)
	r.Again("muc", fmt.Errorf("%w: somebody else", extension.ErrConflict))
	r.Again("muc", extension.ErrUnavailable)
	r.Missed("muc")
	r.Skipped("muc")
	r.Broke("muc", true)
	r.Broke("muc", true)
	r.Broke("muc", false)
}

func TestRemote(t *testing.T) {
	m := New("1")
	tellOfRemote(m)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`hexmpp_plugin_dispatched_total{kind="stanza",plugin="muc"} 1`, `hexmpp_plugin_untaken_total{kind="iq",plugin="muc"} 1`,
		`hexmpp_plugin_ended_total{kind="stanza",plugin="muc",result="applied"} 1`, `hexmpp_plugin_ended_total{kind="timer",plugin="muc",result="failed"} 1`,
		`hexmpp_plugin_event_seconds_count{plugin="muc"} 2`,
		`hexmpp_plugin_again_total{plugin="muc",reason="conflict"} 1`, `hexmpp_plugin_again_total{plugin="muc",reason="storage"} 1`,
		`hexmpp_plugin_verdicts_missed_total{plugin="muc"} 1`, `hexmpp_plugin_verdicts_skipped_total{plugin="muc"} 1`, `hexmpp_plugin_handlers_skipped{plugin="muc"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("missing: %s", want)
		}
	}
}

func BenchmarkReceived(b *testing.B) {
	k := New("").Kernel()
	for range b.N {
		k.Received(stanza.Message)
	}
}
