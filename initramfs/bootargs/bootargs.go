// Package bootargs is what the boot server tells a machine: in a few words on
// the kernel command line (Args), and at length in the boot description and the
// identity that init then fetches (Description, Identity).
//
// bootweb writes both, init and peerd read them.
package bootargs

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Args are the kernel arguments that our init obeys. Everything else on the
// command line belongs to the kernel and to the image's own init.
type Args struct {
	Server string           // swarmboot.server=URL: the boot server, http://HOST[:PORT] without a path
	MAC    net.HardwareAddr // swarmboot.mac=MAC: the NIC that the machine boots from
	Rescue bool             // swarmboot.rescue: open a shell on the console when the boot fails
	Token  string           // swarmboot.token=WORD: gives the machine its identity, once; empty: it has none

	// Discover (swarmboot.discover) has the machine tell what it is, and wait
	// until it is adopted, before it asks what to boot.
	Discover bool

	// Local (swarmboot.local) has the machine start from its disk, where an earlier
	// boot has put its image.
	Local bool

	// Prefetch (swarmboot.prefetch) has the whole image fetched before it is
	// started, for systems that must not meet a slow read.
	Prefetch bool

	// Trace (swarmboot.trace) has the machine tell which files its system opens
	// as it starts.
	Trace bool
}

const prefix = "swarmboot."

// Token is the argument for Args.Token.
func Token(word string) string { return prefix + "token=" + word }

// Discover is the argument for Args.Discover.
const Discover = prefix + "discover"

// Local is the argument for Args.Local.
const Local = prefix + "local"

// String renders the arguments as they stand on a kernel command line.
func (a Args) String() string {
	s := prefix + "server=" + a.Server + " " + prefix + "mac=" + a.MAC.String()
	if a.Rescue {
		s += " " + prefix + "rescue"
	}
	if a.Token != "" {
		s += " " + Token(a.Token)
	}
	if a.Discover {
		s += " " + Discover
	}
	if a.Local {
		s += " " + Local
	}
	if a.Prefetch {
		s += " " + prefix + "prefetch"
	}
	if a.Trace {
		s += " " + prefix + "trace"
	}
	return s
}

// Parse finds our arguments on a kernel command line, such as /proc/cmdline
// has it. It names every problem at once. An unknown swarmboot argument is an
// error: a typing mistake must not change what is booted.
func Parse(cmdline string) (Args, error) {
	var a Args
	var errs []error
	for _, field := range strings.Fields(cmdline) {
		arg, ok := strings.CutPrefix(field, prefix)
		if !ok {
			continue
		}
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "server":
			u, err := url.Parse(value)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("%s: %w", field, err))
			case u.Scheme != "http" || u.Host == "" || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "":
				errs = append(errs, fmt.Errorf("%s: want http://HOST or http://HOST:PORT", field))
			default:
				a.Server = "http://" + u.Host
			}
		case "mac":
			mac, err := net.ParseMAC(value)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", field, err))
			}
			a.MAC = mac
		case "rescue":
			a.Rescue = value == "" || value == "1"
		case "token":
			a.Token = value
		case "discover":
			a.Discover = value == "" || value == "1"
		case "local":
			a.Local = value == "" || value == "1"
		case "prefetch":
			a.Prefetch = value == "" || value == "1"
		case "trace":
			a.Trace = value == "" || value == "1"
		default:
			// Without its value: an older init than its server may not know a secret.
			errs = append(errs, fmt.Errorf("%s%s: unknown argument", prefix, key))
		}
	}
	if a.Server == "" && len(errs) == 0 {
		errs = append(errs, errors.New(prefix+"server is missing"))
	}
	if a.MAC == nil && len(errs) == 0 {
		errs = append(errs, errors.New(prefix+"mac is missing"))
	}
	if len(errs) > 0 {
		return Args{}, fmt.Errorf("kernel command line: %w", errors.Join(errs...))
	}
	return a, nil
}
