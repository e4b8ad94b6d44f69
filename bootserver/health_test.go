package bootserver

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"swarmboot/initramfs/stage"
)

var update = flag.Bool("update", false, "rewrite docs/troubleshooting.md")

// What admins read is what the pages say.
func TestTroubleshootingIsPublished(t *testing.T) {
	const file, begin, end = "../docs/troubleshooting.md", "-update -->\n", "<!-- end -->"
	var table strings.Builder
	fmt.Fprintf(&table, "| stands at | for more than | what is wrong | what to do |\n|---|---|---|---|\n")
	for _, s := range stage.All {
		if p, ok := patiences[s]; ok {
			limit := "at once"
			if p.limit >= time.Second {
				limit = p.limit.String()
			}
			fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", s, limit, p.why, p.remedy)
		}
	}
	fmt.Fprintf(&table, "| `ready` and later | %v | nothing was heard of it | %s |\n", silence, judge(MachineStatus{Stage: stage.Ready}, time.Unix(1<<31, 0)).Remedy)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := bytes.Cut(text, []byte(begin))
	_, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	want := string(head) + begin + table.String() + end + string(tail)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("%s says something else than the pages; go test ./bootserver -run Troubleshooting -update", file)
	}
}
