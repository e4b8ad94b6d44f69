package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const mac = "52:54:00:77:00:01"

func TestLinesOfOneMachine(t *testing.T) {
	j := New()
	log := slog.New(j)
	log.Info("offer sent", "machine", mac, "image", "lab@1")
	log.Info("settings loaded", "file", "x")
	log.With("machine", mac, "stage", "root").Warn("machine is stuck", "err", "no pieces")
	log.Debug("packet", "machine", mac)
	log.Info("offer sent", "machine", "52:54:00:77:00:02")
	all := j.After(mac, 0)
	if len(all) != 2 || all[0].Text != "offer sent image=lab@1" || all[1].Text != `machine is stuck stage=root err="no pieces"` || all[1].Level != "WARN" {
		t.Fatalf("After(0) = %+v; want the two lines about the machine", all)
	}
	if rest := j.After(mac, all[0].Number); len(rest) != 1 || rest[0] != all[1] {
		t.Errorf("After(%d) = %+v; want the second alone", all[0].Number, rest)
	}
	if none := j.After("02:00:00:00:00:00", 0); none == nil || len(none) != 0 {
		t.Errorf("After of a machine without lines = %#v; want an empty list", none)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	j := New()
	log := slog.New(j)
	for i := range keptLines + 10 {
		log.Info("line", "machine", mac, "n", i, "err", strings.Repeat("x", 2*maxLine))
	}
	all := j.After(mac, 0)
	if len(all) != keptLines || len(all[0].Text) != maxLine || !strings.HasPrefix(all[0].Text, "line n=10 ") {
		t.Errorf("%d lines kept, the first of %d bytes: %.20s; want the last %d", len(all), len(all[0].Text), all[0].Text, keptLines)
	}
	for i := range maxMachines {
		log.Info("line", "machine", fmt.Sprint(i))
	}
	if n := len(j.machines); n != maxMachines || len(j.After(mac, 0)) != 0 {
		t.Errorf("%d machines kept, the oldest among them: %v", n, len(j.After(mac, 0)) > 0)
	}
}

func TestAuditIsWhatIsMarked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "audit.log")
	log := slog.New(Audit(file))
	log.Info("offer sent", "machine", mac)
	log.Info("tag moved", "audit", true, "admin", "anna", "tag", "lab@stable")
	log.With("audit", true, "admin", "otto").Warn("machine adopted", "machine", mac)
	var out bytes.Buffer
	if err := CopyAudit(&out, file); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		var r struct{ Msg, Admin string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, r.Admin+": "+r.Msg)
	}
	if want := "[anna: tag moved otto: machine adopted]"; fmt.Sprint(got) != want {
		t.Errorf("audit log = %v; want %s", got, want)
	}
	if err := os.WriteFile(file, append(out.Bytes(), `{"time":"2026-11-2`...), 0o600); err != nil { // the disk was full
		t.Fatal(err)
	}
	list, err := ReadAudit(file)
	if err != nil || len(list) != 3 || list[0].Admin != "anna" || list[0].Time.IsZero() || !strings.HasPrefix(list[0].Text, "tag moved ") || list[2].Text != `{"time":"2026-11-2` {
		t.Errorf("ReadAudit = %+v, %v; want two entries, and what was cut off", list, err)
	}
	if err := CopyAudit(&out, file+".none"); err != nil {
		t.Errorf("CopyAudit before the first record = %v", err)
	}
}

// BenchmarkStrangers is a flood of machines of which each is new.
func BenchmarkStrangers(b *testing.B) {
	log := slog.New(New())
	for i := range b.N {
		log.Info("dhcp ACK sent", "machine", fmt.Sprint(i), "network", "hall")
	}
}
