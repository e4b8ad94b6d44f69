package metrics

import (
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

type source struct{}

func (source) Machines() []fleet.MachineStatus {
	return []fleet.MachineStatus{
		{Stage: stage.Root, Boots: 2, Health: fleet.Health{Condition: fleet.Booting}},
		{Stage: stage.Failed, Boots: 1, Health: fleet.Health{Condition: fleet.Failed}},
	}
}
func (source) Stays() []fleet.Stays {
	within := make([]uint64, len(fleet.StayBounds))
	within[len(within)-1] = 2
	return []fleet.Stays{{Stage: stage.Kernel, Count: 3, Seconds: 700.5, Within: within, Failures: 1}}
}
func (source) Swarms() []bootserver.SwarmStatus {
	return []bootserver.SwarmStatus{{Image: "lab@1", ImageBytes: 100, SeederBytes: 120, HTTPBytes: 30, PeerBytes: 900, Peers: 9}}
}
func (source) Networks() []bootserver.NetworkStatus {
	return []bootserver.NetworkStatus{{Name: "hall", PoolSize: 100, PoolUsed: 7}}
}
func (source) Strangers() []bootserver.Stranger { return make([]bootserver.Stranger, 4) }
func (source) DHCPStats() bootserver.DHCPStats {
	return bootserver.DHCPStats{Received: 12, Dropped: 2, Acks: 5}
}
func (source) Refusals() map[bootserver.Refusal]int64 {
	return map[bootserver.Refusal]int64{{What: "report", Status: 403}: 6}
}

func scrape(t *testing.T) string {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(source{}, func() map[string]int64 { return map[string]int64{"401": 3} }).ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
	if w.Code != 200 {
		t.Fatalf("scrape = %d %s", w.Code, w.Body)
	}
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestScrape(t *testing.T) {
	got := scrape(t)
	for _, want := range []string{
		`swarmboot_machines{condition="failed"} 1`, `swarmboot_machines{condition="stuck"} 0`, `swarmboot_machines_at_stage{stage="root"} 1`,
		`swarmboot_boots_total 3`, `swarmboot_stage_seconds_bucket{stage="kernel",le="500"} 2`, `swarmboot_stage_seconds_bucket{stage="kernel",le="+Inf"} 3`,
		`swarmboot_failures_total{stage="kernel"} 1`, `swarmboot_image_sent_bytes_total{by="http",image="lab@1"} 30`, `swarmboot_image_given_bytes_total{image="lab@1"} 900`,
		`swarmboot_pool_used{network="hall"} 7`, `swarmboot_unknown_machines 4`, `swarmboot_dhcp_dropped_total{reason="overload"} 2`, `swarmboot_dhcp_answers_total{kind="ack"} 5`, `swarmboot_admin_refused_total{why="401"} 3`,
		`swarmboot_machine_refused_total{what="report",why="403"} 6`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("a scrape lacks %s", want)
		}
	}
}

// Alerts and dashboard must not ask for what is not there.
func TestAlertsAndDashboardKnowTheMetrics(t *testing.T) {
	there := scrape(t)
	for _, file := range []string{"alerts.yml", "alerts_test.yml", "grafana.json"} {
		text, err := os.ReadFile("../../../docs/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`swarmboot_[a-z_]+`).FindAllString(string(text), -1) {
			if !strings.Contains(there, "\n"+name+"{") && !strings.Contains(there, "\n"+name+" ") {
				t.Errorf("%s asks for %s, which there is not", file, name)
			}
		}
	}
}

func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool of Debian's package prometheus")
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(scrape(t))
	rules := exec.Command(promtool, "check", "rules", "alerts.yml")
	tests := exec.Command(promtool, "test", "rules", "alerts_test.yml")
	rules.Dir, tests.Dir = "../../../docs/monitoring", "../../../docs/monitoring"
	for _, cmd := range []*exec.Cmd{check, rules, tests} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
}
