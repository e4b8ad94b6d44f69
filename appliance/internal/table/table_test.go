package table

import (
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/images"
	"swarmboot/initramfs/stage"
)

func TestMachines(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	var b strings.Builder
	err := Machines(&b, []fleet.MachineStatus{
		{MAC: "52:54:00:77:00:01", Name: "r1-n01", Image: "lab@1", Stage: stage.Ready, Since: ago(75*time.Second + 300*time.Millisecond),
			AtReady:  &stage.Progress{Pieces: 389, Have: 100},
			Progress: &stage.Progress{Pieces: 389, Have: 388, Hot: 69, HotHave: 69, FromPeers: 70 << 20, FromServer: 1536}},
		{MAC: "52:54:00:77:00:02", Image: "lab@1", Stage: stage.Failed, Since: ago(2 * time.Hour), Health: fleet.Health{Condition: fleet.Failed, Why: "at root: mount /dev/loop0:\nno such device"}},
		{MAC: "52:54:00:77:00:03"},
		{MAC: "52:54:00:77:00:04", Image: "lab@1", Stage: stage.Loader, Since: ago(time.Hour), Health: fleet.Health{Condition: fleet.Stuck, Why: "it has not asked for its script"}},
	})
	want := `
MAC                NAME    IMAGE  STAGE   HOT   TOTAL  AT LOGIN  FROM PEERS  FROM SERVER  SINCE   REASON
52:54:00:77:00:01  r1-n01  lab@1  ready   100%  99%    25%       70 MiB      1.5 KiB      1m15s   -
52:54:00:77:00:02  -       lab@1  failed  -     -      -         -           -            2h0m0s  at root: mount /dev/loop0: no such device
52:54:00:77:00:03  -       -      -       -     -      -         -           -            -       -
52:54:00:77:00:04  -       lab@1  loader  -     -      -         -           -            1h0m0s  it has not asked for its script
`
	if got := "\n" + b.String(); err != nil || got != want {
		t.Errorf("Machines wrote, %v,%s\nwant%s", err, got, want)
	}
}

func TestSwarmsAndImages(t *testing.T) {
	var b strings.Builder
	if err := Swarms(&b, []bootserver.SwarmStatus{{Image: "lab@1", ImageBytes: 100 << 20, Peers: 3, SeederBytes: 115 << 20, HTTPBytes: 5 << 20, Copies: 1.2, PeerBytes: 180 << 20, FarBytes: 9 << 20}}); err != nil {
		t.Error(err)
	}
	m := images.Manifest{Name: "lab", Version: "1", Arch: "amd64", KernelRelease: "6.12", Root: images.Part{Size: 1 << 20},
		Kernel: images.Part{Size: 8 << 20}, Modules: images.Part{Size: 2 << 20}, Pieces: images.Pieces{Size: 1 << 20, Length: 256 << 10}}
	if err := Images(&b, []ImageRow{{m, "0123456789abcdef", []string{"canary", "stable"}}}); err != nil {
		t.Error(err)
	}
	want := `
IMAGE  SIZE     PEERS  SEEDED   BY HTTP  COPIES SENT  BY PEERS  RACK TO RACK
lab@1  100 MiB  3      115 MiB  5.0 MiB  1.20         180 MiB   9.0 MiB
IMAGE  TAGS           ARCH   KERNEL  ROOT     PIECES  KERNEL SIZE  MODULES  DIGEST
lab@1  canary,stable  amd64  6.12    1.0 MiB  4       8.0 MiB      2.0 MiB  0123456789ab
`
	if got := "\n" + b.String(); got != want {
		t.Errorf("wrote%s\nwant%s", got, want)
	}
}
