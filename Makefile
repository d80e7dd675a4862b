# nsinit: build, test, try, measure, install. `make help` lists the targets.
# What is longer than a line or two lives in packaging/*.sh.

GO        ?= go
BIN       ?= bin
GOARCH    ?= $(shell $(GO) env GOARCH)
DESTDIR   ?=
PREFIX    ?= /usr
SYSCONFDIR ?= /etc
SBINDIR   ?= $(PREFIX)/sbin
BINDIR    ?= $(PREFIX)/bin
MANDIR    ?= $(PREFIX)/share/man
UNITDIR   ?= $(PREFIX)/lib/nsinit/units
SYSTEMDDIR ?= $(if $(filter /usr,$(PREFIX)),/usr/lib/systemd/system,$(PREFIX)/lib/systemd/system)
FUZZTIME  ?= 60s
LANES     ?=
DAEMONS   ?= 0
MACHINE   ?= 0
COMPAT    ?= 0
BENCHFLAGS ?=
LIST      ?= packaging/appliance/example/appliance.list
APPLIANCE ?= bin/appliance

# Static and never PIE: nsinit's launch code runs in a bare fork and refuses to
# start from a binary built any other way. -s -w is what is shipped.
# nethttpomithttp2 leaves HTTP/2 out of net/http, 0.35 MB in each binary: the
# control socket speaks HTTP/1.1.
GOTAGS = nethttpomithttp2
# What runs once per boot, request or unit, or never (TLS comes with net/http), is
# not inlined: 0.9 MB of nsinit and 0.6 MB of nsctl, and less to read from a slow
# disk. What a launch, the loop and the logs run through is. The last match counts.
COLD = fmt reflect crypto/... vendor/... net/... encoding/... regexp/... mime/... compress/... math/big \
	github.com/google/... github.com/mdlayher/... github.com/BurntSushi/... github.com/spf13/... \
	github.com/nsinit/nsinit/unit/... github.com/nsinit/nsinit/network/... \
	github.com/nsinit/nsinit/supervisor/... github.com/nsinit/nsinit/cmd/...
HOT = github.com/nsinit/nsinit/supervisor/logs
GOBUILD = CGO_ENABLED=0 GOARCH=$(GOARCH) $(GO) build -trimpath -buildmode=exe -tags '$(GOTAGS)' -ldflags '-s -w' \
	$(foreach p,$(COLD),-gcflags=$(p)=-l) $(foreach p,$(HOT),-gcflags=$(p)=)

.DEFAULT_GOAL := build
.PHONY: help build build-arm64 test vet demo appliance vm bench man install clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## */\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build nsinit and nsctl into bin/ (BIN=DIR, GOARCH=arm64)
	$(GOBUILD) -o $(BIN)/nsinit ./cmd/nsinit
	$(GOBUILD) -o $(BIN)/nsctl ./cmd/nsctl

build-arm64: ## check that everything builds for arm64
	GOARCH=arm64 CGO_ENABLED=0 $(GO) build -tags '$(GOTAGS)' ./...
	GOARCH=arm64 CGO_ENABLED=0 $(GO) vet -tags '$(GOTAGS)' ./...

test: ## install what the tests need and run all of them (LANES="pure fuzz" picks some, FUZZTIME=60s)
	GO='$(GO)' FUZZTIME='$(FUZZTIME)' packaging/test.sh $(LANES)

vet: ## gofmt and go vet
	GO='$(GO)' packaging/test.sh vet

demo: build ## run examples/ on an instance of its own and take it down (DAEMONS=1: nginx, redis, postgresql)
	DAEMONS='$(DAEMONS)' GO='$(GO)' packaging/demo.sh

appliance: build ## make a bootable image with nsinit as /sbin/init in bin/appliance (LIST=FILE, APPLIANCE=DIR)
	packaging/deps.sh squashfs-tools zstd
	$(if $(filter packaging/appliance/example/%,$(LIST)),packaging/deps.sh busybox-static nginx redis-server)
	packaging/appliance/kernel.sh $(APPLIANCE)/kernel
	$(GO) run ./packaging/appliance -kernel $(APPLIANCE)/kernel -o $(APPLIANCE) $(LIST)

vm: appliance ## boot that image in QEMU, its console on this terminal (APPEND="words for the kernel", MEMORY=MiB, ACCEL=tcg)
	packaging/deps.sh qemu-system-x86
	packaging/appliance/vm.sh $(APPLIANCE)

bench: build ## compare with bubblewrap, crun, runc, s6, runit and tini on this machine, and boot inits in QEMU (BENCHFLAGS=-help)
	packaging/deps.sh gcc libc6-dev util-linux bubblewrap crun runc s6 runit tini qemu-system-x86 zstd iproute2 nftables iptables containernetworking-plugins iperf3
	GO='$(GO)' packaging/bench/boots/images.sh bin/boots
	$(GOBUILD) -o bin/nsbench ./cmd/nsbench
	bin/nsbench -nsinit bin/nsinit -nsctl bin/nsctl -accel "$$(packaging/appliance/accel.sh bin/boots/nsinit/vmlinuz)" $(BENCHFLAGS)

man: ## convert the manual pages into bin/man
	GO='$(GO)' packaging/man.sh bin/man

install: build man ## install under $(DESTDIR)$(PREFIX) (MACHINE=1: poweroff, reboot, halt and shutdown too; COMPAT=1: systemctl for Debian's packages)
	MACHINE='$(MACHINE)' COMPAT='$(COMPAT)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SBINDIR='$(SBINDIR)' BINDIR='$(BINDIR)' MANDIR='$(MANDIR)' \
	UNITDIR='$(UNITDIR)' SYSTEMDDIR='$(SYSTEMDDIR)' SYSCONFDIR='$(SYSCONFDIR)' packaging/install.sh

clean: ## remove what the other targets built
	rm -rf bin
