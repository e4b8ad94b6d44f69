package settings

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"swarmboot/appliance/internal/power"
	"swarmboot/bootserver"
	"swarmboot/images/origin"
)

// A Change is one difference between two settings, and the machines that it is
// about; none for one that is about a network or the server.
type Change struct {
	What     string
	Machines []string // names, or MAC addresses of those without one
	Restart  bool     // the server must be started anew for it
}

// Diff tells what would change if now were replaced by next: first what is about
// networks, then what is about the server, then what is about machines, the same
// change of many told once. Of what may hold a secret it tells only that it
// changes.
func Diff(now, next Complete) []Change {
	now.Config, next.Config = now.WithDefaults(), next.WithDefaults() // which a running server has
	all := diffNetworks(now.Networks, next.Networks)
	restart := func(part string, fields []string) {
		if len(fields) > 0 {
			all = append(all, Change{What: part + ": " + strings.Join(fields, "; "), Restart: true})
		}
	}
	restart("server", differences(serverOf(now.Config), serverOf(next.Config)))
	restart("origin", differences(now.Origin, next.Origin))
	restart("admin", differences(now.Admin, next.Admin))
	restart("traces", differences(now.Traces, next.Traces))
	hooks := map[string]Hook{}
	for _, h := range now.Hooks {
		hooks[h.Name] = h
	}
	for _, h := range next.Hooks {
		old := hooks[h.Name]
		old.Name = h.Name
		restart("webhook "+h.Name, differences(old, h))
		delete(hooks, h.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(hooks)) {
		restart("webhook "+name, []string{"removed"})
	}
	return append(all, diffMachines(now, next)...)
}

func diffNetworks(now, next []bootserver.Network) (all []Change) {
	before := map[string]bootserver.Network{}
	for _, n := range now {
		before[n.Name] = n
	}
	for _, n := range next {
		old, known := before[n.Name]
		delete(before, n.Name)
		if !known {
			all = append(all, Change{What: fmt.Sprintf("network %s added: %v", n.Name, n.Subnet)})
		} else if fields := differences(old, n); len(fields) > 0 {
			all = append(all, Change{What: "network " + n.Name + ": " + strings.Join(fields, "; ")})
		}
	}
	for _, n := range now {
		if _, gone := before[n.Name]; gone {
			all = append(all, Change{What: "network " + n.Name + " removed"})
		}
	}
	return all
}

// serverOf is what is told apart from the rest.
func serverOf(c bootserver.Config) bootserver.Config {
	c.Networks, c.Machines, c.Origin = nil, nil, origin.Config{}
	return c
}

// diffPower is what changes about the way to switch a machine.
func diffPower(now, next power.Machine) []string {
	type controller struct{ BMC netip.Addr }
	all := differences(controller{now.BMC}, controller{next.BMC})
	for _, field := range differences(now.Way, next.Way) {
		all = append(all, "power "+field)
	}
	return all
}

func diffMachines(now, next Complete) (all []Change) {
	at := map[string]int{} // of each change in all
	note := func(m bootserver.Machine, what string) {
		name := m.Name
		if name == "" {
			name = m.MAC.String()
		}
		i, known := at[what]
		if !known {
			i = len(all)
			at[what] = i
			all = append(all, Change{What: what})
		}
		all[i].Machines = append(all[i].Machines, name)
	}
	before := map[string]bootserver.Machine{}
	for _, m := range now.Machines {
		before[m.MAC.String()] = m
	}
	for _, m := range next.Machines {
		mac := m.MAC.String()
		old, known := before[mac]
		delete(before, mac)
		if !known {
			note(m, "added")
			continue
		}
		fields := append(differences(old, m), diffPower(now.Power[mac], next.Power[mac])...)
		if len(fields) > 0 {
			note(m, strings.Join(fields, "; "))
		}
	}
	for _, m := range now.Machines {
		if _, gone := before[m.MAC.String()]; gone {
			note(m, "removed")
		}
	}
	return all
}

// differences names the fields in which two structs differ, with both values.
func differences[T any](a, b T) (all []string) {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for _, f := range reflect.VisibleFields(va.Type()) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		x, y := va.FieldByIndex(f.Index).Interface(), vb.FieldByIndex(f.Index).Interface()
		if show(x) == show(y) {
			continue
		}
		if was, is := veil(f.Name, x), veil(f.Name, y); was != is {
			all = append(all, fmt.Sprintf("%s %s -> %s", words(f.Name), was, is))
		} else {
			all = append(all, fmt.Sprintf("%s changed (%s)", words(f.Name), is))
		}
	}
	return all
}

// veil shows the value of a field but for what may be a secret in it: of a URL only
// the host, as the paths of chats' webhooks are secrets, of a command the program.
func veil(field string, v any) string {
	switch v := v.(type) {
	case string:
		if u, err := url.Parse(strings.TrimPrefix(v, "s3:")); field == "URL" && v != "" && err == nil {
			return u.Scheme + "://" + u.Host
		}
	case []string:
		if field == "Command" && len(v) > 0 {
			return v[0]
		}
	}
	return show(v)
}

// show is a value for people.
func show(v any) string {
	switch v := v.(type) {
	case []string:
		return fmt.Sprintf("%q", strings.Join(v, " "))
	case bool:
		return fmt.Sprint(v)
	case fmt.Stringer:
		if reflect.ValueOf(v).IsZero() {
			return "none"
		}
		return v.String()
	}
	if reflect.ValueOf(v).IsZero() {
		return "none"
	}
	return strings.Trim(fmt.Sprint(v), "[]{} ")
}

// words makes kernel_args of KernelArgs and http_port of HTTPPort.
func words(field string) string {
	upper := func(i int) bool { return 0 <= i && i < len(field) && 'A' <= field[i] && field[i] <= 'Z' }
	var b strings.Builder
	for i := range field {
		if i > 0 && upper(i) && (!upper(i-1) || i+1 < len(field) && !upper(i+1)) {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(field[i : i+1]))
	}
	return b.String()
}
