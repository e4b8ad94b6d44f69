package stage

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	want := Report{Machine: "52:54:00:12:34:56", Image: "lab@1", Stage: Failed, At: Kernel, Reason: "disk full",
		Progress: &Progress{Pieces: 4, Have: 2}, Touched: []Touch{{Piece: 3, Millis: 12}}}
	got := make(chan Report, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := make([]byte, r.ContentLength)
		r.Body.Read(data)
		report, err := Decode(data)
		if err != nil || r.URL.Path != Path {
			t.Errorf("Decode at %s: %v", r.URL.Path, err)
		}
		got <- report
	}))
	defer srv.Close()
	if err := NewClient(srv.URL).Send(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.Machine != want.Machine || r.At != want.At || r.Reason != want.Reason || *r.Progress != *want.Progress || r.Touched[0] != want.Touched[0] {
		t.Errorf("report arrived as %+v; want %+v", r, want)
	}
}

func TestSendTellsTheServersReason(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no such machine", http.StatusForbidden)
	}))
	defer srv.Close()
	err := NewClient(srv.URL).Send(t.Context(), Report{Stage: Init})
	if err == nil || !strings.Contains(err.Error(), "no such machine") {
		t.Errorf("Send = %v; want the server's reason", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, data := range []string{
		`{}`, `[]`, `nonsense`,
		`{"machine":"x","stage":"init"}`,
		`{"machine":"52:54:00:12:34:56","stage":"lunch"}`,
		`{"machine":"52:54:00:12:34:56","stage":"failed","at":"lunch"}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","progress":{"pieces":-1}}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","progress":{"pieces":1,"have":2}}`,
		`{"machine":"52:54:00:12:34:56","stage":"ready","touched":[{"piece":-1}]}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","progress":{"pieces":8},"detail":{"have":"////"}}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","detail":{"have":"/w=="}}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","detail":{"console":["\u001b[2J"]}}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","detail":{"console":["` + strings.Repeat("x", maxConsole+1) + `"]}}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","detail":{"peers":[{"address":"","received":1}]}}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","detail":{"peers":[{"address":"10.77.0.2","down":-1}]}}`,
		`{"machine":"52:54:00:12:34:56","stage":"root","detail":{"peers":[` + strings.Repeat(`{"address":"10.77.0.2"},`, MaxPeers) + `{"address":"10.77.0.3"}]}}`,
	} {
		if r, err := Decode([]byte(data)); err == nil {
			t.Errorf("Decode(%s) = %+v; want an error", data, r)
		}
	}
}

func TestConsoleLines(t *testing.T) {
	got := consoleLines("<6>[    0.000000] Linux version 6.12\n<5>[    0.0] Kernel command line: quiet password=x\n<5>Unknown kernel Command Line parameters \"x\"\n<7>    swarmboot.token=x\n<7>    ds=nocloud-net;s=http://x/\n<30>[    2.5] systemd[1]: \x1b[1mdone\x1b[0m\n<7>swarmboot: stage root\xff")
	want := []string{"[    0.000000] Linux version 6.12", "[    2.5] systemd[1]:  [1mdone [0m", "swarmboot: stage root "}
	if !slices.Equal(got, want) {
		t.Errorf("consoleLines = %q; want %q", got, want)
	}
	r := Report{Machine: "52:54:00:12:34:56", Stage: Root, Detail: &Detail{Console: got}}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(data); err != nil {
		t.Errorf("the server does not take them: %v", err)
	}
}

func TestBitMap(t *testing.T) {
	if got := BitMap(10, func(piece int) bool { return piece == 0 || piece == 9 }); !slices.Equal(got, []byte{0x80, 0x40}) {
		t.Errorf("BitMap = %x; want 8040", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"machine":"52:54:00:12:34:56","stage":"ready","progress":{"pieces":2,"have":1},"touched":[{"piece":1,"ms":2}]}`))
	f.Add([]byte(`{"machine":"52:54:00:12:34:56","stage":"root","progress":{"pieces":9},"detail":{"have":"/4A=","peers":[{"address":"10.77.0.2","far":true,"received":7,"down":1}],"console":["[ 1.0] x"]}}`))
	f.Add([]byte(`{"machine":"","stage":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil {
			t.Errorf("Decode(Encode(%+v)): %v", r, err)
		}
	})
}
