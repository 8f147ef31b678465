# `make run`, `make test`, `make lab` and `make bench` each install the Debian
# packages that they need, then do what the README says.

GO      ?= go
BIN     := bin/ravenboot
CLIENT  := bin/ravenboot-client
DEMO    := .cache/demo
QEMU    := qemu-system-x86 ipxe-qemu seabios

# The demonstration: a kernel, an initrd that says what it was given, loaders.
RUN_PACKAGES   := linux-image-cloud-amd64 busybox-static cpio kmod curl ipxe
# One machine in a network of its own.
LAB_PACKAGES   := $(RUN_PACKAGES) $(QEMU) iproute2 util-linux
# Whole boots, and the programs of others that judge us.
TEST_PACKAGES  := $(LAB_PACKAGES) gcc libc6-dev git \
	qemu-system-arm qemu-efi-aarch64 ovmf nix-bin squashfs-tools e2fsprogs iputils-ping \
	dnsmasq-base isc-dhcp-client isc-dhcp-relay isc-dhcp-server kea-dhcp4-server udhcpc atftp iptables tcpdump systemd udev strace \
	dosfstools xfsprogs btrfs-progs fdisk mount sqlite3 xz-utils zstd bzip2
# The peers that the figures in docs/performance.md are beside.
BENCH_PACKAGES := $(TEST_PACKAGES) nginx-light tftpd-hpa wrk

.PHONY: build run test check unit boots lab bench packages-run packages-lab packages-test packages-bench clean

build:
	$(GO) build -trimpath -o $(BIN) ./cmd/ravenboot
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(CLIENT) ./cmd/ravenboot-client

run: packages-run build
	scripts/demo.sh $(DEMO)
	$(BIN) serve -config $(DEMO)/ravenboot.toml

test: packages-test check unit boots

check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet -tags boots ./...
	$(GO) tool staticcheck -tags boots ./...

unit: .cache/nix/trixie
	scripts/as-root.sh $(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v /integration)

# -v, because `go test` shows the table of boots of a run that passed to nobody
# else.
boots: build .cache/loaders/trixie .cache/loaders/sid
	RAVENBOOT_BIN=$(CURDIR)/$(BIN) RAVENBOOT_CLIENT_BIN=$(CURDIR)/$(CLIENT) scripts/as-root.sh $(GO) test -tags boots -v -count=1 -timeout 45m ./integration

# Before as-root.sh, which may leave the network behind.
.cache/loaders/%:
	integration/fetch-loaders.sh $* $@

# A current Nix, for the tests of internal/nixcache.
.cache/nix/%:
	integration/fetch-nix.sh $* $@

lab: packages-lab build
	scripts/demo.sh $(DEMO)
	scripts/as-root.sh scripts/lab.sh $(BIN) $(DEMO)

bench: packages-bench build
	$(GO) test -run '^$$' -bench . -benchmem ./bootscript ./cmd/ravenboot ./dhcp/... ./internal/boot ./internal/generation ./internal/nar ./internal/web
	scripts/as-root.sh $(GO) run ./integration/bench -ravenboot $(CURDIR)/$(BIN) -client $(CURDIR)/$(CLIENT)

packages-run:
	@scripts/packages.sh $(RUN_PACKAGES)

packages-lab:
	@scripts/packages.sh $(LAB_PACKAGES)

packages-test:
	@scripts/packages.sh $(TEST_PACKAGES)

packages-bench:
	@scripts/packages.sh $(BENCH_PACKAGES)

clean:
	rm -rf bin .cache
