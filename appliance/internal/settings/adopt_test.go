package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAdopt(t *testing.T) {
	const networks = "networks: # ours\n  lab: {interface: br0, address: 10.77.0.1/24, pool: 10.77.0.100-10.77.0.199}\ndefaults: {image: lab@1}\n"
	a := Adoption{MAC: []byte{0x52, 0x54, 0, 0x77, 0, 9}, Name: "r1-n09", Group: "web"}
	for _, c := range []struct{ name, before, after string }{
		{"no list", networks + "groups: {web: }\n", networks + "groups: {web: }\n\nmachines:\n  - mac: 52:54:00:77:00:09\n    name: r1-n09\n    group: web\n"},
		{"an empty list", networks + "machines: # none yet\n\ngroups: {web: }", networks + "machines: # none yet\n  - mac: 52:54:00:77:00:09\n    name: r1-n09\n    group: web\n\ngroups: {web: }\n"},
		{"a list", networks + "machines:\n- mac: 52:54:00:77:00:01 # the first\n  kernel_args:\n    - quiet # last of its words\n\n# groups come next\ngroups: {web: }\n",
			networks + "machines:\n- mac: 52:54:00:77:00:01 # the first\n  kernel_args:\n    - quiet # last of its words\n- mac: 52:54:00:77:00:09\n  name: r1-n09\n  group: web\n\n# groups come next\ngroups: {web: }\n"},
		{"entries in braces", networks + "groups: {web: }\nmachines:\n    - {mac: 52:54:00:77:00:01}\n", networks + "groups: {web: }\nmachines:\n    - {mac: 52:54:00:77:00:01}\n    - mac: 52:54:00:77:00:09\n      name: r1-n09\n      group: web\n"},
		{"a list in brackets", networks + "groups: {web: }\nmachines: [{mac: 52:54:00:77:00:01}]\n", ""},
		{"a value over many lines", networks + "groups: {web: }\nmachines:\n  - mac: 52:54:00:77:00:01\n    kernel_args: >\n      quiet\n      splash\n", ""},
		{"a group that is not there", networks, ""},
		{"listed already", networks + "groups: {web: }\nmachines:\n  - mac: 52:54:00:77:00:09\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "swarmboot.yaml")
			if err := os.WriteFile(file, []byte(c.before), 0o640); err != nil {
				t.Fatal(err)
			}
			link := file + ".link"
			if err := os.Symlink(file, link); err != nil {
				t.Fatal(err)
			}
			err := Adopt(link, a, lab)
			want := c.after
			if want == "" { // refused
				want = c.before
			}
			got, errRead := os.ReadFile(file)
			if errRead != nil || string(got) != want || (err != nil) != (c.after == "") {
				t.Errorf("Adopt = %v, the file holds\n%s\nwant\n%s", err, got, want)
			}
			if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("the link is no link any more: %v, %v", info, err)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode of the file = %v, %v; want it kept", info.Mode(), err)
			}
		})
	}
}

// What cannot be edited is said with what to write; what would be a mistake, as
// check tells it.
func TestAdoptRefusesInWords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "swarmboot.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(small+"defaults: {image: lab@1}\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := Adoption{MAC: []byte{0x52, 0x54, 0, 0x77, 0, 9}, Name: "n1", Rack: "r7"}
	write("racks: {r1: }\n")
	err := Adopt(file, a, lab)
	if _, ok := errors.AsType[Problems](err); !ok || !strings.Contains(err.Error(), `there is no rack "r7"`) {
		t.Errorf("Adopt = %v; want what is wrong", err)
	}
	write("racks: {r7: }\nmachines: []\n")
	if err := Adopt(file, a, lab); err == nil || !strings.Contains(err.Error(), "by hand:\n  - mac: 52:54:00:77:00:09\n    name: n1\n    rack: r7") {
		t.Errorf("Adopt = %v; want what to write by hand", err)
	}
	write("racks: {r7: }\nmachines:\n  - mac: 52:54:00:77:00:09\n")
	if err := Adopt(file, a, lab); err == nil || !strings.Contains(err.Error(), "is listed already") {
		t.Errorf("Adopt = %v; want it to say that the machine is listed", err)
	}
}
