package settings

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// A Value is one thing that the file says about what a machine boots.
type Value struct {
	Key  string // such as image
	Text string // as it is meant
	Path string // where it stands, such as groups.web.image
	Line int
	Over bool // something further in says otherwise
}

// adds are the keys whose values add up from level to level.
var adds = []string{"kernel_args", "authorized_keys", "files"}

// Values are all that the file says about what mac boots, the outermost first:
// its defaults, its network, its rack, its group, its own entry. For a machine
// that is not listed, network is the one that it asks on.
func (s *Settings) Values(mac net.HardwareAddr, network string) []Value {
	where, listed := s.places[mac.String()]
	if !listed {
		where = place{network: network, entry: noEntry}
	}
	var all []Value
	add := func(key, path, text string) {
		at := path + "." + key
		if text == "" || !s.decoder.has(at) {
			return
		}
		for i := range all {
			all[i].Over = all[i].Over || all[i].Key == key && !slices.Contains(adds, key)
		}
		all = append(all, Value{Key: key, Text: text, Path: at, Line: s.decoder.place(at).Line})
	}
	for _, l := range s.file.levels(where) {
		image := string(l.Image)
		if ref := s.refs[l.path+".image"]; !ref.IsZero() && ref.String() != image {
			image += ", which is " + ref.String()
		}
		add("image", l.path, image)
		add("kernel_args", l.path, strings.Join(l.KernelArgs, " "))
		add("loader", l.path, string(l.Loader))
		if l.Rescue != nil {
			add("rescue", l.path, fmt.Sprint(*l.Rescue))
		}
		if l.BootFromPeers != nil {
			add("boot_from_peers", l.path, fmt.Sprint(*l.BootFromPeers))
		}
		add("cache", l.path, string(l.Cache))
		add("persistent", l.path, string(l.Persistent))
		add("persistent_over", l.path, string(l.PersistentOver))
		add("install", l.path, string(l.Install))
		add("network_setup", l.path, string(l.NetworkSetup))
		add("power", l.path, l.Power)
		var keys, files []string
		for _, key := range l.AuthorizedKeys {
			_, comment, _, _, _ := ssh.ParseAuthorizedKey([]byte(key))
			keys = append(keys, cmp.Or(comment, "a key without a comment"))
		}
		for _, f := range l.Files {
			files = append(files, f.Path)
		}
		add("authorized_keys", l.path, strings.Join(keys, ", "))
		add("files", l.path, strings.Join(files, ", "))
		add("user_data", l.path, l.UserData)
	}
	return all
}
