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
		server:  []string{`sh -c '` + nginx + untilUp},
		machine: `sh -c 'read go; curl -sSf -o {dir}/image http://{server}:8080/image && echo complete; cat'`,
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
		server:  []string{announcer, libtorrentSeed},
		machine: `/usr/bin/python3 {source}/libtorrent_peer.py {load}/announced.torrent {dir} {address}`,
	},
	{
		name:    "transmission",
		needs:   []string{"transmission-daemon"},
		torrent: true,
		server:  []string{announcer, `sh -c 'echo up; read go; ` + transmission + `-w {load} ` + until},
		machine: `sh -c 'read go; ` + transmission + `-w {dir} ` + until,
	},
}

// wire is what the links can do, without an image.
var wire = system{
	name:    "iperf3",
	needs:   []string{"iperf3"},
	server:  []string{`sh -c 'iperf3 -s >/dev/null ` + untilUp},
	machine: `sh -c 'read go; iperf3 -c {server} -R -n {size} >&2 && echo complete; cat'`,
}

// best are the rivals that come nearest to the bound.
var best = rivals[1:4]

// lazyRivals boot while the image arrives, all from the server.
var lazyRivals = []system{
	{
		name:    "nbd",
		needs:   []string{"nbdkit", "nbdfuse", "/dev/fuse"},
		lazy:    true,
		server:  []string{`sh -c 'nbdkit -f -p 10809 -t 32 -r file {load}/image ` + untilUp},
		machine: `sh -c 'touch {dir}/root; ` + reader + `--file {dir}/root --mount "nbdfuse -r {dir}/root nbd://{server}:10809"; cat'`,
	},
	{
		name:    "nginx+range",
		needs:   []string{"nginx", "nbdkit", "nbdfuse", "/dev/fuse"},
		lazy:    true,
		server:  []string{`sh -c '` + nginx + untilUp},
		machine: `sh -c 'touch {dir}/root; ` + reader + `--file {dir}/root --mount "nbdfuse -r {dir}/root [ nbdkit -r curl http://{server}:8080/image ]"; cat'`,
	},
	{
		name:   "btfs",
		needs:  []string{"btfs", libtorrent, "/dev/fuse"},
		lazy:   true,
		server: []string{announcer, libtorrentSeed},
		machine: `sh -c 'mkdir {dir}/root {dir}/data; ` + reader + `--file {dir}/root/image --mount ` +
			`"btfs -f --data-directory={dir}/data --min-port=6881 --max-port=6881 {load}/announced.torrent {dir}/root"; cat'`,
	},
}

const (
	// until ends a program, begun in the background, with the input.
	until = `& cat >/dev/null; kill $!; wait'`

	// untilUp is the same for a server that is up before the machines.
	untilUp = `& sleep 0.3; echo up; cat >/dev/null; kill $!; wait'`

	announcer = `{self} storm-server --load {load} --tracker-only`

	nginx = `echo "user root; daemon off; error_log stderr; pid {dir}/pid; events { worker_connections 1024; } ` +
		`http { access_log off; sendfile on; tcp_nopush on; server { listen 8080; root {load}; } }" >{dir}/nginx.conf; ` +
		`nginx -e stderr -p {dir} -c {dir}/nginx.conf `

	aria2 = `aria2c -q --seed-ratio=0 --enable-dht=false --bt-enable-lpd=false --enable-peer-exchange=false --bt-max-peers=0 ` +
		`--file-allocation=none --bt-tracker-interval=2 --bt-request-peer-speed-limit=1024M --disk-cache=64M --listen-port=6881 ` +
		`--interface=eth0 {load}/announced.torrent `

	// Its own rounds are of half a second, whatever it's told.
	transmission = `mkdir -p {dir}/watch; cp {load}/announced.torrent {dir}/watch; ` +
		`echo "{\"script-torrent-done-enabled\": true, \"script-torrent-done-filename\": \"{load}/complete\", \"preallocation\": 0, \"upload-slots-per-torrent\": 60, \"pex-enabled\": false}" >{dir}/settings.json; ` +
		`transmission-daemon -f -g {dir} -c {dir}/watch -P 6881 -M -O -Y --no-utp --no-incomplete-dir -et -l 60 `

	// reader is a boot on a file that another program mounts.
	reader = `{self} storm-reader --load {load} --boot {boot} `

	libtorrentSeed = `/usr/bin/python3 {source}/libtorrent_peer.py {load}/announced.torrent {load} {address}`

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
