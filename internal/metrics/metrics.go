// Package metrics counts what the services do, for Prometheus. It is the only
// package that knows of Prometheus. No label ever carries a MAC address: a lab
// of a thousand machines would make a thousand series of each counter.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics holds the counters of one server.
type Metrics struct {
	registry  *prometheus.Registry
	dhcp      *prometheus.CounterVec
	transfers *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	scripts   *prometheus.CounterVec
	reports   *prometheus.CounterVec
	reloads   *prometheus.CounterVec
}

// New makes counters that stand at zero, and names the build that runs.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		dhcp: counter("dhcp_messages_total",
			"DHCP messages received, by message type and by what became of them.", "message", "result"),
		transfers: counter("transfers_total",
			"Downloads that ended, by protocol, kind of file and result.", "protocol", "kind", "result"),
		bytes: counter("transfer_bytes_total",
			"Bytes sent in downloads, by protocol and kind of file.", "protocol", "kind"),
		scripts: counter("scripts_total",
			"Boot scripts asked for, by kind and result.", "kind", "result"),
		reports: counter("reports_total",
			"Reports of machines about themselves, by step and outcome.", "step", "outcome"),
		reloads: counter("config_reloads_total",
			"Configuration files read after the start, by result.", "result"),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "ravenboot", Name: "build_info", Help: "1, with the version that runs.",
	}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.dhcp, m.transfers, m.bytes, m.scripts, m.reports, m.reloads, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ravenboot", Name: name, Help: help}, labels)
}

// DHCP counts a message and what became of it ("offer", "ack", "silent", ...).
func (m *Metrics) DHCP(message, result string) { m.dhcp.WithLabelValues(message, result).Inc() }

// Transfer counts a download that ended.
func (m *Metrics) Transfer(protocol, kind, result string, bytes int64) {
	m.transfers.WithLabelValues(protocol, kind, result).Inc()
	m.bytes.WithLabelValues(protocol, kind).Add(float64(bytes))
}

// Script counts a script that was asked for.
func (m *Metrics) Script(kind, result string) { m.scripts.WithLabelValues(kind, result).Inc() }

// Report counts a report of a machine about itself. Its step is one of a few:
// machines choose the word.
func (m *Metrics) Report(step, outcome string) { m.reports.WithLabelValues(step, outcome).Inc() }

// Reload counts a configuration file that was read after the start.
func (m *Metrics) Reload(ok bool) {
	result := "applied"
	if !ok {
		result = "refused"
	}
	m.reloads.WithLabelValues(result).Inc()
}

// LeaseCount is how many addresses of a subnet are in a state, "free",
// "leased" or "declined".
type LeaseCount struct {
	Network, State string
	Addresses      int
}

// Leases makes the counts that read returns appear at each scrape.
func (m *Metrics) Leases(read func() []LeaseCount) { m.registry.MustRegister(leaseCollector{read}) }

var leasesDesc = prometheus.NewDesc("ravenboot_leases",
	"Addresses of a subnet's ranges, by state.", []string{"network", "state"}, nil)

type leaseCollector struct{ read func() []LeaseCount }

func (c leaseCollector) Describe(ch chan<- *prometheus.Desc) { ch <- leasesDesc }

func (c leaseCollector) Collect(ch chan<- prometheus.Metric) {
	for _, count := range c.read() {
		ch <- prometheus.MustNewConstMetric(leasesDesc, prometheus.GaugeValue,
			float64(count.Addresses), count.Network, count.State)
	}
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
