package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver/bench/bars"
)

const ours = "swarmboot"

// A goal is what a measurement of ours has to keep to.
type goal struct {
	Text string  `json:"text"`
	Got  float64 `json:"got"`
	Goal float64 `json:"goal"`
	Unit string  `json:"unit"`
	Kept bool    `json:"kept"`
}

// goals compares ours with the rivals of the same run.
func (b *bench) goals() []goal {
	atMost := func(text string, got, limit float64, unit string) goal {
		return goal{text, got, limit, unit, got <= limit}
	}
	atLeast := func(text string, got, limit float64, unit string) goal {
		return goal{text, got, limit, unit, got >= limit}
	}
	best := func(part, measure string) float64 {
		least := 0.0
		for _, server := range b.servers(part) {
			if v := b.median(part, measure, server); server != ours && v > 0 && (least == 0 || v < least) {
				least = v
			}
		}
		return least
	}
	const (
		clean, cpu, avalanche = "clean rate (under 1 % lost)", "CPU per exchange", "1,000 machines at once, until all have leases"
		loss                  = "4 MiB when 1 packet in 1,000 is lost"
	)
	kea := "Kea, 1 thread"
	all := []goal{
		atLeast("DHCP: clean rate, at least Kea's with one thread", b.median("DHCP", clean, ours), b.median("DHCP", clean, kea), "/s"),
		atMost("DHCP: CPU per exchange, of Kea's with one thread", b.median("DHCP", cpu, ours)/b.median("DHCP", cpu, kea), 2, "x"),
		atMost("DHCP: 1,000 machines at once, sooner than Kea", b.median("DHCP", avalanche, ours), min(b.median("DHCP", avalanche, kea), b.median("DHCP", avalanche, "Kea, 2 threads")), "s"),
		atMost("DHCP: 1,000 machines at once, sooner than dnsmasq", b.median("DHCP", avalanche, ours), b.median("DHCP", avalanche, "dnsmasq"), "s"),
		atLeast("DHCP: goodput at 4 x the peak, of the peak", b.median("DHCP", "goodput at 4 x the peak, of the peak", ours), 80, "%"),
		atMost("DHCP: memory at 4 x the peak", b.median("DHCP", "memory at 4 x the peak", ours), 64, "MiB"),
	}
	for _, crowd := range []string{"1 machine", "64 machines"} {
		all = append(all,
			atMost("TFTP: CPU per MB, of the best of the others, "+crowd, b.median("TFTP", "CPU per MB, "+crowd, ours)/best("TFTP", "CPU per MB, "+crowd), 2, "x"),
			atMost("TFTP: IP fragments, "+crowd, b.median("TFTP", "IP fragments, "+crowd, ours), 0, ""))
	}
	return append(all,
		atMost("TFTP: "+loss, b.median("TFTP", loss, ours), 4, "s"),
		atMost("HTTP: CPU per GB, of nginx's", b.median("HTTP", "CPU per GB, 64 machines", ours)/b.median("HTTP", "CPU per GB, 64 machines", "nginx"), 1, "x"))
}

// servers of a part, in the order in which they were measured.
func (b *bench) servers(part string) (names []string) {
	for _, k := range b.order {
		if k.Part == part && !slices.Contains(names, k.Server) {
			names = append(names, k.Server)
		}
	}
	return names
}

func (b *bench) measures(part string) (keys []key) {
	for _, k := range b.order {
		k.Server = ""
		if k.Part == part && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// report writes table, raw results and picture.
func (b *bench) report(folder string) {
	b.t.Helper()
	for name, text := range map[string]string{"bootserver.md": b.table(), "bootserver.json": b.raw(), "bootserver.svg": b.picture()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			b.t.Error(err)
		}
	}
	b.t.Logf("\n%s", b.table())
}

func (b *bench) table() string {
	var t strings.Builder
	fmt.Fprintf(&t, `# The boot server beside others

Written by `+"`make bench-bootserver`"+` on %s: %d rounds, of HTTP %d, medians; raw results in bootserver.json.
%s, %d processors, shared by servers and load. The package doc of bootserver/bench
tells how. Rates of the wall depend on the computer; compare the ratios.

![CPU time and time to a lease, beside others](bootserver.svg)

| goal | got | goal | kept |
|---|---|---|---|
`, time.Now().Format(time.DateOnly), rounds, httpRounds, computer(), runtime.NumCPU())
	for _, g := range b.goals() {
		kept := "yes"
		if !g.Kept {
			kept = "**no**"
		}
		fmt.Fprintf(&t, "| %s | %s | %s | %s |\n", g.Text, figure(g.Got, g.Unit), figure(g.Goal, g.Unit), kept)
	}
	for _, part := range []string{"DHCP", "TFTP", "HTTP"} {
		servers := b.servers(part)
		fmt.Fprintf(&t, "\n| %s | %s |\n|---%s|\n", part, strings.Join(servers, " | "), strings.Repeat("|---", len(servers)))
		for _, m := range b.measures(part) {
			fmt.Fprintf(&t, "| %s |", m.Measure)
			for _, server := range servers {
				fmt.Fprintf(&t, " %s |", figure(b.median(part, m.Measure, server), m.Unit))
			}
			t.WriteString("\n")
		}
	}
	return t.String()
}

// figure is a value with three digits.
func figure(v float64, unit string) string {
	text := fmt.Sprintf("%.3g", v)
	if v >= 100 {
		text = fmt.Sprintf("%.0f", v)
	}
	return strings.TrimSpace(text + " " + unit)
}

func (b *bench) raw() string {
	type result struct {
		Part, Measure, Server, Unit string
		Values                      []float64
	}
	var results []result
	for _, k := range b.order {
		results = append(results, result{k.Part, k.Measure, k.Server, k.Unit, b.values[k]})
	}
	text, err := json.MarshalIndent(map[string]any{"computer": computer(), "goals": b.goals(), "results": results}, "", "\t")
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text) + "\n"
}

// picture shows what the servers cost; shorter is better.
func (b *bench) picture() string {
	var charts []bars.Chart
	for _, m := range []key{
		{Part: "DHCP", Measure: "CPU per exchange", Unit: "µs"},
		{Part: "DHCP", Measure: "1,000 machines at once, until all have leases", Unit: "s"},
		{Part: "TFTP", Measure: "CPU per MB, 64 machines", Unit: "ms"},
		{Part: "HTTP", Measure: "CPU per GB, 64 machines", Unit: "s"},
	} {
		c := bars.Chart{Title: m.Part + ": " + m.Measure}
		for _, server := range b.servers(m.Part) {
			v := b.median(m.Part, m.Measure, server)
			c.Bars = append(c.Bars, bars.Bar{Name: server, Value: v, Figure: figure(v, m.Unit), Ours: server == ours})
		}
		charts = append(charts, c)
	}
	svg, err := bars.Draw(charts)
	if err != nil {
		b.t.Fatal(err)
	}
	return svg
}

// TestReport: what is missed is said.
func TestReport(t *testing.T) {
	b := &bench{t: t, values: map[key][]float64{}}
	for server, x := range map[string]float64{ours: 3, "Kea, 1 thread": 1, "Kea, 2 threads": 2, "dnsmasq": 4} {
		b.add("DHCP", "CPU per exchange", server, "µs", 100*x)
		b.add("DHCP", "1,000 machines at once, until all have leases", server, "s", x)
	}
	table := b.table()
	for _, want := range []string{
		"| DHCP: CPU per exchange, of Kea's with one thread | 3 x | 2 x | **no** |",
		"| DHCP: 1,000 machines at once, sooner than dnsmasq | 3 s | 4 s | yes |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
}
