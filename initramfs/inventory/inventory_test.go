package inventory

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

var full = Inventory{
	Machine: "52:54:00:77:00:01", Vendor: "QEMU", Product: "Standard PC", Serial: "A1", Arch: "amd64", CPU: "Some CPU", CPUs: 4, Memory: 1 << 30,
	Cards: []Card{{Name: "eth0", MAC: "52:54:00:77:00:01", Driver: "e1000", Link: true, Switch: "sw1", Port: "Gi1/0/7"}},
	Disks: []Disk{{Name: "sda", Bytes: 1 << 40, Model: "Disk", Spins: true}},
}

func TestSendAndDecode(t *testing.T) {
	var got Inventory
	answer := `{"do":"wait"}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := make([]byte, r.ContentLength)
		r.Body.Read(data)
		var err error
		if got, err = Decode(data); err != nil || r.URL.Path != Path || r.Method != http.MethodPost {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		w.Write([]byte(answer))
	}))
	defer server.Close()
	client := NewClient(server.URL)
	if order, err := client.Send(t.Context(), full); order != Wait || err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("Send = %q, %v, the server had %+v; want wait and %+v", order, err, got, full)
	}
	answer = `{"do":"format the disk"}`
	if order, err := client.Send(t.Context(), full); err == nil {
		t.Errorf("Send = %q; want an order that no machine knows refused", order)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, bad := range []string{``, `{}`, `{"machine":"52:54:00:77:00:01:02:03"}`, `{"machine":"52:54:00:77:00:01","memory":-1}`,
		`{"machine":"52:54:00:77:00:01","disks":[{"bytes":-1}]}`, `{"machine":"52:54:00:77:00:01","cards":[` + strings.Repeat("{},", 99) + `{}]}`} {
		if i, err := Decode([]byte(bad)); err == nil {
			t.Errorf("Decode(%.60s) = %+v; want it refused", bad, i)
		}
	}
	i, err := Decode([]byte(`{"machine":"52:54:00:77:00:01","serial":" a\u001b[2J\n b ` + strings.Repeat("x", 200) + `"}`))
	if err != nil || !strings.HasPrefix(i.Serial, "a[2J bxx") && !strings.HasPrefix(i.Serial, "a[2J b") || len(i.Serial) > maxText {
		t.Errorf("serial = %q, %v; want plain text", i.Serial, err)
	}
}

func FuzzDecode(f *testing.F) {
	data, err := full.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"machine":"52-54-00-77-00-01","cpu":"\ud800\u0000"}`))
	f.Add([]byte(`{"machine":"00:00:00:00:00:00","cards":[]}`)) // an empty list is as good as none
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := Decode(data)
		if err != nil {
			return
		}
		again, err := i.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(again) <= MaxSize {
			if j, err := Decode(again); err != nil || fmt.Sprintf("%+v", i) != fmt.Sprintf("%+v", j) {
				t.Errorf("Decode of what Decode gave = %+v, %v; want %+v", j, err, i)
			}
		}
	})
}
