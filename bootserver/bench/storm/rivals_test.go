package storm

import (
	"os"
	"os/exec"
)

// rivals are measured at their best: all have the torrent or the address of the
// image before they are switched on, no search for peers but by the tracker, no
// encryption, no limit, no file allocated ahead, and they seed until the end.
// The tracker is ours, for all alike.
var rivals = []system{
	{
		name:    "nginx+curl",
		needs:   []string{"nginx", "curl"},
		server:  []string{`sh -c 'echo up; read go; ` + nginx + until},
		most:    4,
		machine: `sh -c 'read go; curl -sS --retry 9 --retry-delay 1 --retry-connrefused -o {dir}/image http://{server}:8080/image && echo complete; cat'`,
	},
	{
		name:    "aria2",
		needs:   []string{"aria2c"},
		torrent: true,
		server:  []string{announcer, `sh -c 'echo up; read go; ` + aria2 + `--dir={load} --check-integrity=true ` + until},
		machine: `sh -c 'read go; ` + aria2 + `--dir={dir} --on-bt-download-complete={load}/complete ` + until,
	},
	{
		name:    "udpcast",
		needs:   []string{"udp-sender", "udp-receiver"},
		server:  []string{`sh -c 'echo up; read go; udp-sender --file {load}/image --interface eth0 --min-receivers {n} --nokbd --max-bitrate 23m --full-duplex --max-wait 5 ` + until},
		machine: `sh -c 'read go; udp-receiver --file {dir}/image --interface eth0 --nokbd && echo complete; cat'`,
	},
	{
		name:    "libtorrent",
		needs:   []string{libtorrent},
		torrent: true,
		server:  []string{announcer, `/usr/bin/python3 {source}/libtorrent_peer.py {load}/announced.torrent {load} {address}`},
		machine: `/usr/bin/python3 {source}/libtorrent_peer.py {load}/announced.torrent {dir} {address}`,
	},
}

// lazyRivals boot while the image arrives, all from the server.
var lazyRivals = []system{{
	name:    "nbd",
	needs:   []string{"nbdkit", "nbdfuse", "/dev/fuse"},
	lazy:    true,
	most:    4,
	server:  []string{`sh -c 'echo up; read go; nbdkit -f -p 10809 -t 32 -r file {load}/image ` + until},
	machine: `sh -c 'touch {dir}/root; ({self} storm-reader --load {load} --file {dir}/root --boot {boot} --mount "nbdfuse -r {dir}/root nbd://{server}:10809"); cat'`,
}}

const (
	// until ends a program, begun in the background, with the input.
	until = `& cat >/dev/null; kill $!; wait'`

	announcer = `{self} storm-server --load {load} --tracker-only`

	nginx = `nginx -e stderr -p {dir} -g "daemon off; error_log stderr; pid {dir}/pid; events { worker_connections 1024; } ` +
		`http { access_log off; sendfile on; tcp_nopush on; server { listen 8080; root {load}; } }" -c /dev/null `

	aria2 = `aria2c -q --seed-ratio=0 --enable-dht=false --bt-enable-lpd=false --enable-peer-exchange=false --bt-max-peers=0 ` +
		`--file-allocation=none --bt-tracker-interval=2 --bt-request-peer-speed-limit=1024M --disk-cache=64M --listen-port=6881 ` +
		`--interface=eth0 {load}/announced.torrent `

	libtorrent = "/usr/lib/python3/dist-packages/libtorrent.egg-info"
)

// here tells whether all that a system needs is on this computer.
func (s system) here() bool {
	for _, thing := range s.needs {
		_, program := exec.LookPath(thing)
		_, file := os.Stat(thing)
		if program != nil && file != nil {
			return false
		}
	}
	return true
}
