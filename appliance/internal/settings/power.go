package settings

import (
	"maps"
	"net/netip"
	"path/filepath"
	"slices"

	"swarmboot/appliance/internal/power"
	"swarmboot/bootserver"
)

// checkWays looks at the ways to switch machines.
func (c *checker) checkWays() {
	for _, name := range slices.Sorted(maps.Keys(c.file.Power)) {
		w, path := c.file.Power[name], "power."+name
		if w.Via == "" {
			c.fail(path+".via", "is missing; want one of %v", power.Kinds)
			continue
		}
		there := map[string]bool{
			"user": w.User != "", "password": w.Password != "", "port": w.Port != 0, "certificate": w.Certificate != "",
			"verify": w.Verify != nil, "bios": w.BIOS != nil, "command": len(w.Command) > 0,
		}
		keys := wayKeys[w.Via]
		for _, key := range slices.Sorted(maps.Keys(there)) {
			switch {
			case slices.Contains(keys.must, key) && !there[key]:
				c.fail(path+"."+key, "is missing")
			case there[key] && !slices.Contains(keys.must, key) && !slices.Contains(keys.may, key):
				c.fail(path+"."+key, "is not for %s; leave it out", w.Via)
			}
		}
		if _, err := power.Fill(w.Command, power.Call{}); err != nil {
			c.fail(path+".command", "%v; there are {{.Action}}, {{.Name}}, {{.MAC}} and {{.BMC}}", err)
		}
	}
}

// wayKeys are the settings that each way has.
var wayKeys = map[power.Kind]struct{ must, may []string }{
	power.IPMI:    {[]string{"user", "password"}, []string{"port", "bios"}},
	power.Redfish: {[]string{"user", "password"}, []string{"port", "certificate", "verify"}},
	power.Command: {[]string{"command"}, nil},
}

// checkPower looks at the way that the level at path names.
func (c *checker) checkPower(path string, b Boot) {
	c.known(path+".power", b.Power, "power", slices.Sorted(maps.Keys(c.file.Power)))
}

// power notes how a machine is switched; bmc is invalid if it has none.
func (c *checker) power(path string, where place, m bootserver.Machine, bmc netip.Addr) {
	name := ""
	for _, l := range c.file.levels(where) {
		if l.Power != "" {
			name = l.Power
		}
	}
	w, known := c.file.Power[name]
	switch {
	case name == "" && bmc.IsValid():
		c.fail(path+".bmc", "is there, but no power that says how to speak with it; give it here, to its rack, group or network, or under defaults")
	case !known || c.broken["power."+name]:
	case w.Via != power.Command && !bmc.IsValid():
		// Not every machine of a rack has a controller.
	default:
		way := power.Way{
			Name: name, Kind: w.Via, User: w.User, Password: c.absolute(w.Password), Port: w.Port, Certificate: c.absolute(w.Certificate),
			Unverified: w.Verify != nil && !*w.Verify, BIOS: w.BIOS != nil && *w.BIOS, Command: w.Command,
		}
		c.settings.Power[m.MAC.String()] = power.Machine{Name: m.Name, MAC: m.MAC, BMC: bmc, Way: way}
	}
}

// absolute is a path that the file names, relative to its own folder.
func (c *checker) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.dir, path)
}
