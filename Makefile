# Swarmboot. `make` alone lists the targets.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/swarmboot
STATE := $(CACHE)/lab-state
LOADERS := $(CACHE)/loaders
LAB_CABLES := $(if $(LAB_LINK),--link $(LAB_LINK))

# No cgo: the programs then run on any Linux, also in an initramfs without libc.
# -trimpath: the same source gives the same bytes in every folder.
export CGO_ENABLED := 0
GO_BUILD := go build -trimpath

# The initramfs takes a minute of compiling, so it is made from its sources only
# when they have changed; for the other programs go itself knows.
INITRAMFS := build/initramfs.cpio.zst
INITRAMFS_SOURCES := go.mod go.sum $(shell find initramfs peerd images -name '*.go' ! -name '*_test.go')

# The admin pages: npm fetches what package-lock.json names, esbuild bundles it.
PAGE := appliance/webui/dist/index.html
PAGE_SOURCES := docs/openapi.json $(shell find appliance/webui/page -type f -not -path '*/node_modules/*' -not -name openapi.d.ts)

.PHONY: help page build programs loaders deps lab lab-add lab-down test check race fuzz e2e e2e-web e2e-firmware e2e-images package e2e-package release appliance-disk e2e-disk vagrant-box vagrant-test bench-boot bench-images bench-bootserver bench-sim bench-sizing bench-storm clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
	@echo; echo "  make lab understands LAB_MACHINES=n, LAB_LINK=100mbit (rate of each machine's cable), LAB_KEEP=0 (stop at the end)"

build: programs $(INITRAMFS) ## build the programs and the initramfs into build/

page: $(PAGE)

$(PAGE): $(PAGE_SOURCES)
	cd appliance/webui/page && npm ci --silent --no-fund --no-audit && npm run --silent build

programs: $(PAGE)
	$(GO_BUILD) -o build/bin/ ./appliance/cmd/...

$(INITRAMFS): $(INITRAMFS_SOURCES)
	@mkdir -p $(@D)
	go run ./initramfs/cmd/mkinitramfs -o $@

build/initramfs-arm64.cpio.zst: $(INITRAMFS_SOURCES)
	@mkdir -p $(@D)
	go run ./initramfs/cmd/mkinitramfs -arch arm64 -o $@

loaders: programs
	build/bin/swarmboot loaders fetch --dir $(LOADERS)

deps: ## install what this computer lacks (Debian packages, as root)
	scripts/install-deps

lab: deps build loaders ## boot machines in QEMU and show how they come up
	scripts/lab-images $(STATE) lab
	build/bin/swarmboot lab up --state $(STATE) --image lab@1 --loaders $(LOADERS) --initramfs $(INITRAMFS) \
		$(if $(LAB_MACHINES),--machines $(LAB_MACHINES)) $(LAB_CABLES) $(if $(filter 0,$(LAB_KEEP)),--once)

lab-add: ## switch on one more machine in the running lab
	build/bin/swarmboot lab add $(LAB_CABLES)

lab-down: ## stop the lab
	build/bin/swarmboot lab down

test: deps check e2e ## all tests: check, then e2e (what continuous integration runs)

check: page ## the quick tests: format, vet, staticcheck, vulnerabilities, the API's description, unit tests
	@out=$$(gofmt -l $$(find . -name '*.go' -not -path './build/*' -not -path '*/node_modules/*')); [ -z "$$out" ] || { echo "not formatted by gofmt:"; echo "$$out"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	scripts/check-vulnerabilities
	cd appliance/webui/page && npx --no-install tsc && node lint.mjs
	go test ./...

# Not in `make check`: the race detector wants a C compiler, and some minutes.
race: ## the unit tests under the race detector
	CGO_ENABLED=1 go test -race ./...

# Not in `make test`, which tells about a change: what this finds is older. Its
# seeds, and what it has found, are in the unit tests.
fuzz: ## give every parser of foreign bytes odd input; FUZZTIME=60s each
	scripts/fuzz $(or $(FUZZTIME),60s)

# -count=1: machines are not among what the test cache knows of.
# -timeout: each wait in the tests has a limit of its own; this is for a hang.
# -p 1: the packages share two things, /dev/net/tun and the cores.
# -artifacts: console and capture of a failed test are kept.
# -skip: the pages want a computer that has nothing else to do; see e2e-web.
e2e: build loaders ## the machine tests: firmware, boots, faults (20 minutes without KVM)
	scripts/lab-images $(STATE) lab lab12
	@mkdir -p build/e2e
	SWARMBOOT_E2E=1 go test -count=1 -timeout 120m -p 1 -v -skip TestPages -artifacts -outputdir $(CURDIR)/build/e2e \
		./bootserver/internal/dhcp ./bootserver/internal/dhcp6 ./peerd/cmd/peerd ./images/builder ./appliance/e2e/...

# -timeout: as above.
e2e-firmware: build build/initramfs-arm64.cpio.zst loaders ## boot a machine of each kind of firmware to its login prompt
	scripts/lab-images $(STATE) lab arm64
	@mkdir -p build/e2e
	SWARMBOOT_E2E=1 SWARMBOOT_FIRMWARE=1 go test -count=1 -timeout 120m -v -artifacts -outputdir $(CURDIR)/build/e2e -run 'TestFirmware' ./appliance/e2e

# -timeout: as above.
e2e-web: build loaders ## the admin pages in Chromium, with 2 000 simulated machines and with some in QEMU; screenshots in build/e2e
	scripts/lab-images $(STATE) lab lab12
	@mkdir -p build/e2e
	SWARMBOOT_E2E=1 go test -count=1 -timeout 30m -v -artifacts -outputdir $(CURDIR)/build/e2e -run TestPages ./appliance/e2e

# -timeout: as above.
# versitygw: an S3 server for the test of stores; not among our own modules,
# as it has hundreds of its own.
e2e-images: build loaders ## images from containers, archives, folders and disks; training; machines as themselves; their disks; stores
	scripts/lab-images $(STATE) lab cloud
	@mkdir -p build/e2e
	GOBIN=$(CACHE)/bin go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	PATH=$(CACHE)/bin:$$PATH SWARMBOOT_E2E=1 go test -count=1 -v -run TestBucket ./images/origin
	SWARMBOOT_E2E=1 SWARMBOOT_IMAGES=1 go test -count=1 -timeout 60m -v -artifacts -outputdir $(CURDIR)/build/e2e -run 'TestImages|TestTrain|TestIdentity|TestCloudInit|TestCache|TestMates|TestPersistent|TestInstall' ./appliance/e2e

package: build ## make a Debian package, a container image, the list of what is in them and checksums: build/package
	scripts/package $(shell go env GOARCH)

# -timeout: as above.
e2e-package: package loaders ## install the package in a Debian system, run the container image, boot a machine from each, and the lab
	scripts/lab-images $(STATE) lab
	@mkdir -p build/e2e
	SWARMBOOT_E2E=1 SWARMBOOT_PACKAGE=1 go test -count=1 -timeout 30m -v -artifacts -outputdir $(CURDIR)/build/e2e -run 'TestPackage|TestContainer|TestLab' ./appliance/e2e

release: ## make package twice from the last commit, and keep it in build/release if both are the same
	scripts/release

appliance-disk: package loaders ## make the disk of a server that asks for its network on its console: build/package
	scripts/appliance-disk build/package/*.deb $(LOADERS) build/package/swarmboot-appliance.qcow2

# -timeout: as above.
e2e-disk: appliance-disk ## start a server from the appliance disk, set it up on its console and boot a machine from it
	scripts/lab-images $(STATE) lab
	@mkdir -p build/e2e
	SWARMBOOT_E2E=1 SWARMBOOT_DISK=1 go test -count=1 -timeout 30m -v -artifacts -outputdir $(CURDIR)/build/e2e -run 'TestApplianceDisk' ./appliance/e2e

vagrant-box: package loaders ## make what vagrant/ needs: the appliance disk as a box, and an image
	scripts/lab-images $(STATE) lab
	scripts/vagrant-box build/package/*.deb $(LOADERS) $(STATE)

vagrant-test: vagrant-box ## bring the Vagrant lab up without KVM, wait for its machines, destroy it
	scripts/vagrant-test

# -timeout: as above.
bench-boot: build loaders ## measure boots against their budgets, and write docs/bench/boot.md
	scripts/lab-images $(STATE) lab
	SWARMBOOT_E2E=1 SWARMBOOT_BENCH=$(CURDIR)/docs/bench go test -count=1 -timeout 120m -v -run 'TestBench$$' ./appliance/e2e
	SWARMBOOT_E2E=1 SWARMBOOT_BENCH=$(CURDIR)/docs/bench go test -count=1 -timeout 120m -v -run 'TestBench' ./peerd/cmd/peerd

# -timeout: as above.
bench-images: build loaders ## measure how images are made, laid out and updated, and write docs/bench/images.md and layout.md
	scripts/lab-images $(STATE) lab
	command -v casync >/dev/null || apt-get -qq install casync
	scripts/fetch-desync $(CACHE)/bin/desync
	SWARMBOOT_E2E=1 SWARMBOOT_BENCH=$(CURDIR)/docs/bench go test -count=1 -timeout 60m -v -run 'Test(Image|Layout)Benchmark' ./appliance/e2e

bench-bootserver: build loaders ## measure the boot server beside Kea, dnsmasq, tftpd-hpa, atftpd and nginx
	scripts/lab-images $(STATE) lab
	scripts/fetch-rivals $(CACHE)/rivals
	SWARMBOOT_BENCH=$(CURDIR)/docs/bench go test -count=1 -timeout 60m -v -run 'TestBench' ./bootserver/bench

bench-sim: ## boot halls of machines under virtual time, and write docs/bench/sim.md; SWARMBOOT_SIM=long for up to 10,000
	SWARMBOOT_BENCH=$(CURDIR)/docs/bench go test -count=1 -timeout 60m -v -run 'TestBench' ./bootserver/bench/sim

# -timeout: as above.
bench-sizing: programs loaders ## measure what the server takes for up to 1,000 simulated machines, and write docs/bench/sizing.md
	SWARMBOOT_E2E=1 SWARMBOOT_BENCH=$(CURDIR)/docs/bench go test -count=1 -timeout 60m -v -run 'TestSizing$$' ./appliance/e2e

# -timeout: as above. TMPDIR: memory, so that no disk is the limit.
bench-storm: ## measure a rack that boots at once, beside its rivals (10 minutes); STORM=long: all that docs/bench/storm.md has
	scripts/install-rivals
	TMPDIR=/dev/shm SWARMBOOT_BENCH=$(CURDIR)/docs/bench go test -count=1 -timeout 60m -v -run 'TestStorm$$' ./bootserver/bench/storm

clean: ## remove build/ (the cache in ~/.cache/swarmboot stays)
	rm -rf build
