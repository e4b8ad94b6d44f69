// Package metrics shows a running boot server to Prometheus.
//
// Nothing is counted here: each scrape asks the server what it knows and writes
// it down (Collect). docs/monitoring has alert rules and a Grafana dashboard for
// what is written; cmd/swarmboot puts Handler beside the API.
package metrics

import (
	"net/http"
	"strconv"

	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Path is where Prometheus scrapes.
const Path = "/metrics"

// A Source knows the numbers; bootserver.Server is one.
type Source interface {
	Machines() []fleet.MachineStatus
	Stays() []fleet.Stays
	Swarms() []bootserver.SwarmStatus
	Networks() []bootserver.NetworkStatus
	Strangers() []bootserver.Stranger
	DHCPStats() bootserver.DHCPStats
	Refusals() map[bootserver.Refusal]int64
}

// Handler answers scrapes from source and from refused, which counts the requests
// of admins that were refused, by why.
func Handler(source Source, refused func() map[string]int64) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{source, refused}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("swarmboot_"+name, help, labels, nil)
}

var (
	machines        = describe("machines", "Machines by how they fare: unseen, booting, stuck, failed, up, silent.", "condition")
	atStage         = describe("machines_at_stage", "Machines by the stage they are at.", "stage")
	boots           = describe("boots_total", "Boots that have begun.")
	stays           = describe("stage_seconds", "How long machines were at a stage before they went on.", "stage")
	failures        = describe("failures_total", "Machines that failed, by the stage at which they did.", "stage")
	sent            = describe("image_sent_bytes_total", "Bytes of an image's root that the server has sent.", "image", "by")
	given           = describe("image_given_bytes_total", "Bytes of an image's root that machines had from each other.", "image")
	givenFar        = describe("image_given_far_bytes_total", "Bytes of an image's root that machines had from machines of other racks; among those of image_given_bytes_total.", "image")
	bootGiven       = describe("boot_given_bytes_total", "Bytes of an image's kernel and initramfs that machines had from each other.", "image")
	size            = describe("image_bytes", "Size of an image's root.", "image")
	peers           = describe("swarm_peers", "Machines in the swarm of an image.", "image")
	poolSize        = describe("pool_addresses", "Addresses in a network's pool.", "network")
	poolUsed        = describe("pool_used", "Addresses of a network's pool that are given out.", "network")
	strangers       = describe("unknown_machines", "Machines that asked for a boot and are not in the settings.")
	received        = describe("dhcp_received_total", "DHCP packets received.")
	dropped         = describe("dhcp_dropped_total", "DHCP packets that got no answer: of no use (ignored), too many at once (overload), or an error (failed).", "reason")
	answered        = describe("dhcp_answers_total", "DHCP answers sent.", "kind")
	machineRefusals = describe("machine_refused_total", "Requests of machines by HTTP that were refused, by what they were for (report, failure, inventory, identity, cloud-init) and the status of the answer.", "what", "why")
	adminRefusals   = describe("admin_refused_total", "Requests on the admin's listener that were refused, by the status of the answer, or cut as unfinished.", "why")
	inUse           = describe("dhcp_conflicts_total", "Addresses that another computer was found to use.")
)

type collector struct {
	Source
	refused func() map[string]int64
}

// Describe is required; what there is to say follows from Collect.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{machines, atStage, boots, stays, failures, sent, given, givenFar, bootGiven, size, peers, poolSize, poolUsed, strangers, received, dropped, answered, inUse, machineRefusals, adminRefusals} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	conditions, stages, begun := map[fleet.Condition]int{}, map[stage.Stage]int{}, 0
	for _, m := range c.Machines() {
		conditions[m.Condition]++
		stages[m.Stage]++
		begun += m.Boots
	}
	for _, condition := range fleet.Conditions { // zeros too, so that alerts have something to compare
		gauge(machines, float64(conditions[condition]), string(condition))
	}
	for _, s := range append([]stage.Stage{stage.Failed}, stage.All...) {
		gauge(atStage, float64(stages[s]), string(s))
	}
	count(boots, int64(begun))
	for _, s := range c.Stays() {
		within := make(map[float64]uint64, len(s.Within))
		for i, n := range s.Within {
			within[fleet.StayBounds[i]] = n
		}
		ch <- prometheus.MustNewConstHistogram(stays, s.Count, s.Seconds, within, string(s.Stage))
		count(failures, int64(s.Failures), string(s.Stage))
	}
	for _, s := range c.Swarms() {
		count(sent, s.SeederBytes, s.Image, "bittorrent")
		count(sent, s.HTTPBytes, s.Image, "http")
		count(given, s.PeerBytes, s.Image)
		count(givenFar, s.FarBytes, s.Image)
		count(bootGiven, s.BootBytes, s.Image)
		gauge(size, float64(s.ImageBytes), s.Image)
		gauge(peers, float64(s.Peers), s.Image)
	}
	for _, n := range c.Networks() {
		gauge(poolSize, float64(n.PoolSize), n.Name)
		gauge(poolUsed, float64(n.PoolUsed), n.Name)
	}
	gauge(strangers, float64(len(c.Strangers())))
	d := c.DHCPStats()
	count(received, d.Received)
	count(dropped, d.Ignored, "ignored")
	count(dropped, d.Dropped, "overload")
	count(dropped, d.Failed, "failed")
	count(answered, d.Offers, "offer")
	count(answered, d.Acks, "ack")
	count(answered, d.Naks, "nak")
	count(inUse, d.InUse)
	for r, n := range c.Refusals() {
		count(machineRefusals, n, r.What, strconv.Itoa(r.Status))
	}
	for why, n := range c.refused() {
		count(adminRefusals, n, why)
	}
}
