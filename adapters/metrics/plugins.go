package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/observe"
)

// WatchPlugins has the plugins asked at each scrape. It is called once.
func (m *Metrics) WatchPlugins(ask func() []observe.Plugin) {
	m.registry.MustRegister(&plugins{ask: ask})
}

// plugins collects observe.Plugin.
type plugins struct{ ask func() []observe.Plugin }

var pluginStates = []admin.PluginState{
	admin.PluginStarting, admin.PluginReady, admin.PluginDegraded, admin.PluginDraining, admin.PluginFailed, admin.PluginDisabled,
}

var pluginState = pluginDesc("state", "1 for the state that the plugin is in, 0 for all others.", "state")

// pluginValues are the metrics with one value for each plugin.
var pluginValues = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*observe.Plugin) float64
}{
	{pluginDesc("generation", "Processes of the plugin that acted."), prometheus.GaugeValue, func(p *observe.Plugin) float64 { return float64(p.Generation) }},
	{pluginDesc("restarts_total", "Starts of a new process after a crash."), prometheus.CounterValue, func(p *observe.Plugin) float64 { return float64(p.Restarts) }},
	{pluginDesc("reloads_total", "Processes that a reload put in place."), prometheus.CounterValue, func(p *observe.Plugin) float64 { return float64(p.Reloads) }},
	{pluginDesc("queue", "Events that wait for the plugin."), prometheus.GaugeValue, func(p *observe.Plugin) float64 { return float64(p.Queue) }},
	{pluginDesc("in_flight", "Events that the plugin was given and has not answered."), prometheus.GaugeValue, func(p *observe.Plugin) float64 { return float64(p.InFlight) }},
	{pluginDesc("events_total", "Events that the plugin answered."), prometheus.CounterValue, func(p *observe.Plugin) float64 { return float64(p.Events) }},
	{pluginDesc("handling_seconds_total", "Time from when the plugin was given an event to its outcome, of all events together."), prometheus.CounterValue, func(p *observe.Plugin) float64 { return p.Handling.Seconds() }},
	{pluginDesc("events_dropped_total", "Events that nobody waited for and that had no room."), prometheus.CounterValue, func(p *observe.Plugin) float64 { return float64(p.Dropped) }},
	{pluginDesc("events_refused_total", "Events that were answered with an error since the plugin was full or away."), prometheus.CounterValue, func(p *observe.Plugin) float64 { return float64(p.Refused) }},
	{pluginDesc("events_poisoned_total", "Events that were given up, since processes of the plugin died of them."), prometheus.CounterValue, func(p *observe.Plugin) float64 { return float64(p.Poisoned) }},
	{pluginDesc("frames_stale_total", "Frames of processes that acted no more."), prometheus.CounterValue, func(p *observe.Plugin) float64 { return float64(p.Stale) }},
	{pluginDesc("memory_bytes", "Resident memory of the plugin's process and those that it started; 0 if it is not known."), prometheus.GaugeValue, func(p *observe.Plugin) float64 { return float64(p.Memory) }},
}

func pluginDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "plugin", name), help, slices.Concat([]string{"plugin"}, labels), nil)
}

// Describe implements prometheus.Collector.
func (g *plugins) Describe(to chan<- *prometheus.Desc) {
	to <- pluginState
	for _, v := range pluginValues {
		to <- v.desc
	}
}

// Collect implements prometheus.Collector.
func (g *plugins) Collect(to chan<- prometheus.Metric) {
	list := g.ask()
	for i := range list {
		p := &list[i]
		for _, state := range pluginStates {
			is := 0.0
			if p.State == string(state) {
				is = 1
			}
			to <- prometheus.MustNewConstMetric(pluginState, prometheus.GaugeValue, is, p.Name, string(state))
		}
		for _, v := range pluginValues {
			to <- prometheus.MustNewConstMetric(v.desc, v.kind, v.value(p), p.Name)
		}
	}
}
