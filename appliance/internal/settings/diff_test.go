package settings

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func parsed(t *testing.T, text string) *Settings {
	t.Helper()
	s, err := parse("/f.yaml", []byte(text), lab)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDiff(t *testing.T) {
	const before = small + `groups: {web: {image: lab@1}}
machines:
  - {mac: 52:54:00:77:00:01-52:54:00:77:00:03, name: 'n[1-3]', group: web}
  - {mac: 52:54:00:77:00:04, image: lab@1}
`
	after := strings.NewReplacer("web: {image: lab@1}", "web: {image: lab12@1, kernel_args: quiet}", "52:54:00:77:00:04", "52:54:00:77:00:05",
		"10.77.0.199}", "10.77.0.150, dns: [9.9.9.9]}").Replace(before) + "server: {http: 8080}\n"
	want := []Change{
		{What: "network lab: pool 10.77.0.100-10.77.0.199 -> 10.77.0.100-10.77.0.150; dns none -> 9.9.9.9"},
		{What: "server: http_port 80 -> 8080", Restart: true},
		{What: `image lab@1 -> lab12@1; kernel_args "" -> "quiet"`, Machines: []string{"n1", "n2", "n3"}},
		{What: "added", Machines: []string{"52:54:00:77:00:05"}},
		{What: "removed", Machines: []string{"52:54:00:77:00:04"}},
	}
	if got := Diff(parsed(t, before).Complete, parsed(t, after).Complete); !reflect.DeepEqual(got, want) {
		t.Errorf("Diff =\n%+v; want\n%+v", got, want)
	}
	running := parsed(t, before).Complete
	running.Config = running.WithDefaults()
	if got := Diff(running, parsed(t, before).Complete); len(got) != 0 {
		t.Errorf("Diff of the same = %+v; want none", got)
	}
}

// What is not the boot server's own is told too, and no secret.
func TestDiffAroundTheServer(t *testing.T) {
	const before = small + `
admin: {listen: 127.0.0.1:8470}
origin: {url: "https://tux:pa55word@images.example.org/store"}
webhooks:
  chat: {url: "https://chat.example.org/hooks/pa55word", secret: chat.secret}
  old: {url: "http://127.0.0.1:9/", secret: old.secret}
power:
  pdu: {via: command, command: [pdu, --password, pa55word, "{{.Name}}"]}
  bmc: {via: ipmi, user: root, password: bmc.secret}
machines:
  - {mac: 52:54:00:77:00:01-52:54:00:77:00:03, name: 'n[1-3]', image: lab@1, power: pdu}
  - {mac: 52:54:00:77:00:04, name: n4, image: lab@1, power: bmc, bmc: 10.78.0.4}
  - {mac: 52:54:00:77:00:05, name: n5, image: lab@1}
`
	after := strings.NewReplacer("127.0.0.1:8470}", "10.77.0.1:8470, names: [boot]}", "pa55word", "pass2", "  old:", "  new:",
		"user: root", "user: admin", "name: n5,", "name: n5, power: bmc, bmc: 10.78.0.5,").Replace(before) + "traces: {url: \"http://127.0.0.1:4318/v1/traces?key=pass2\"}\n"
	got := Diff(parsed(t, before).Complete, parsed(t, after).Complete)
	want := []Change{
		{What: "origin: url changed (https://images.example.org)", Restart: true},
		{What: `admin: listen 127.0.0.1:8470 -> 10.77.0.1:8470; names "" -> "boot"`, Restart: true},
		{What: "traces: url none -> http://127.0.0.1:4318", Restart: true},
		{What: "webhook chat: url changed (https://chat.example.org)", Restart: true},
		{What: "webhook new: url none -> http://127.0.0.1:9; secret_file none -> /old.secret; stages none -> ready failed", Restart: true},
		{What: "webhook old: removed", Restart: true},
		{What: "power command changed (pdu)", Machines: []string{"n1", "n2", "n3"}},
		{What: "power user root -> admin", Machines: []string{"n4"}},
		{What: "bmc none -> 10.78.0.5; power name none -> bmc; power kind none -> ipmi; power user none -> admin; power password none -> /bmc.secret", Machines: []string{"n5"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Diff =\n%+v; want\n%+v", got, want)
	}
}

func TestValues(t *testing.T) {
	s, err := Load("testdata/full.yaml", lab)
	if err != nil {
		t.Fatal(err)
	}
	told := func(mac []byte, network string) (all []string) {
		for _, v := range s.Values(mac, network) {
			all = append(all, fmt.Sprintf("%s: %s, %v", v.Path, v.Text, v.Over))
		}
		return all
	}
	want := []string{
		"defaults.image: stable, which is lab@1, true",
		"defaults.kernel_args: console=ttyS0, false",
		"networks.hall.kernel_args: net=hall, false",
		"racks.r1.kernel_args: rack=1, false",
		"racks.r1.rescue: true, true",
		"groups.web.image: new, which is lab12@1, false",
		"groups.web.kernel_args: quiet loglevel=3, false",
		"groups.web.boot_from_peers: true, false", "groups.web.cache: swarmboot-cache, false",
		"groups.web.persistent: swarmboot-writes, false",
		"groups.web.persistent_over: image, false",
		"groups.web.network_setup: dhcp, false",
		"groups.web.authorized_keys: anna@example.org, false",
		"groups.web.files: /etc/motd, /etc/web/key, false",
		"groups.web.user_data: web.cloud, false",
		"machines[0].rescue: false, false",
	}
	if got := told([]byte{0x52, 0x54, 0, 0x77, 0, 1}, ""); !reflect.DeepEqual(got, want) {
		t.Errorf("Values =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := told([]byte{2, 0, 0, 0, 0, 9}, "hall"); len(got) != 3 {
		t.Errorf("Values of a machine that is not listed = %q; want the defaults and its network's", got)
	}
	if v := s.Values([]byte{0x52, 0x54, 0, 0x77, 0, 1}, "")[0]; v.Line == 0 || v.Key != "image" {
		t.Errorf("Values = %+v; want its line", v)
	}
}
