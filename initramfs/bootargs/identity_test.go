package bootargs

import (
	"net"
	"reflect"
	"strings"
	"testing"

	"swarmboot/initramfs/envelope"
)

func TestIdentityRoundTrip(t *testing.T) {
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}
	want := Identity{
		Machine: mac.String(), MachineID: strings.Repeat("0f", 16), HostKey: "k", AuthorizedKeys: []string{"a"}, DHCP: true,
		Files: []File{{Path: "/etc/motd", Mode: 0o644, Content: []byte("hello")}},
	}
	sealed, err := want.Seal(key)
	if err != nil {
		t.Fatal(err)
	}
	trusted := []envelope.PublicKey{key.Public()}
	if got, err := OpenIdentity(trusted, mac, sealed); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("OpenIdentity = %+v, %v; want %+v", got, err, want)
	}
	if _, err := OpenIdentity(trusted, net.HardwareAddr{2, 0, 0, 0, 0, 1}, sealed); err == nil {
		t.Error("the identity of another machine was taken")
	}
	if _, err := OpenDescription(trusted, mac, sealed); err == nil {
		t.Error("an identity passes for a boot description")
	}
	other, _ := envelope.NewKey()
	if _, err := OpenIdentity([]envelope.PublicKey{other.Public()}, mac, sealed); err == nil {
		t.Error("an identity that nobody trusted has signed was taken")
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(`{"machine":"52:54:00:77:00:01","machine_id":"00112233445566778899aabbccddeeff","files":[{"path":"/etc/motd","mode":420,"content":"aGk="}]}`))
	f.Add([]byte(`{"files":[{"path":"/etc/../dev/sda","mode":438}]}`))
	f.Add([]byte(`{"files":[{"path":"/proc/1/mem","mode":4294967295}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := parseIdentity(data)
		if err != nil {
			return
		}
		for _, file := range i.Files {
			if !strings.HasPrefix(file.Path, "/") || strings.Contains(file.Path, "/../") || strings.HasPrefix(file.Path, "/dev/") || file.Mode > 0o777 {
				t.Errorf("file %+v was taken", file)
			}
		}
	})
}
