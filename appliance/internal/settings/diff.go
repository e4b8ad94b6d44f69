package settings

import (
	"fmt"
	"reflect"
	"strings"

	"swarmboot/bootserver"
)

// A Change is one difference between two configs, and the machines that it is
// about; none for one that is about a network or the server.
type Change struct {
	What     string
	Machines []string // names, or MAC addresses of those without one
}

// Diff tells what would change if now were replaced by next: first what is about
// networks, then what is about machines, the same change of many told once.
func Diff(now, next bootserver.Config) []Change {
	now, next = now.WithDefaults(), next.WithDefaults() // which a running server has
	var all []Change
	before := map[string]bootserver.Network{}
	for _, n := range now.Networks {
		before[n.Name] = n
	}
	for _, n := range next.Networks {
		old, known := before[n.Name]
		delete(before, n.Name)
		if !known {
			all = append(all, Change{What: fmt.Sprintf("network %s added: %v", n.Name, n.Subnet)})
		} else if fields := differences(old, n); len(fields) > 0 {
			all = append(all, Change{What: "network " + n.Name + ": " + strings.Join(fields, "; ")})
		}
	}
	for _, n := range now.Networks {
		if _, gone := before[n.Name]; gone {
			all = append(all, Change{What: "network " + n.Name + " removed"})
		}
	}
	now.Networks, next.Networks = nil, nil
	machines := diffMachines(now.Machines, next.Machines)
	now.Machines, next.Machines = nil, nil
	if fields := differences(now, next); len(fields) > 0 {
		all = append(all, Change{What: "server, after a restart: " + strings.Join(fields, "; ")})
	}
	return append(all, machines...)
}

func diffMachines(now, next []bootserver.Machine) (all []Change) {
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
	for _, m := range now {
		before[m.MAC.String()] = m
	}
	for _, m := range next {
		old, known := before[m.MAC.String()]
		delete(before, m.MAC.String())
		if !known {
			note(m, "added")
			continue
		}
		if fields := differences(old, m); len(fields) > 0 {
			note(m, strings.Join(fields, "; "))
		}
	}
	for _, m := range now {
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
		all = append(all, fmt.Sprintf("%s %s -> %s", words(f.Name), show(x), show(y)))
	}
	return all
}

// show is a value for people.
func show(v any) string {
	switch v := v.(type) {
	case []string:
		return fmt.Sprintf("%q", strings.Join(v, " "))
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
