# What can be done here. `make` alone prints this list from the comments below.

PREFIX ?= /usr/local
# Evaluated only by the rules that use it: it may install a toolchain, and says so.
CARGO = directory=$$(./build-static.sh --cargo) && PATH="$$directory:$$PATH" cargo
TEST_PACKAGES = busybox-static musl-tools gcc libc6-dev iproute2 nftables curl procps strace

.PHONY: help build demo check test torture fuzz test-vm bench ways install clean

help: ## Print this list
	@sed -n 's/^\([a-zA-Z./-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-26s %s\n", $$1, $$2 }'

build: ## Make target/rocker, the static binary; sets up a Rust toolchain where there is none
	@./build-static.sh

demo: ## Show a container's whole life, from nothing: toolchain, binary, image, container (as root)
	@tests/demo.sh

check: ## Format, lints, unit tests, layers: under a minute, no root
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test --bins --test layers --test left_out

test: build base-image/busybox.tar ## All tests, those that need root included; installs what they use
	@tests/packages.sh $(TEST_PACKAGES)
	ROCKER_BIN=$(CURDIR)/target/rocker $(CARGO) test

torture: build base-image/busybox.tar ## The tests of faults at every system call, of many jobs, runs, connects and attacks (as root, over an hour)
	@tests/packages.sh $(TEST_PACKAGES)
	ROCKER_TORTURE=1 ROCKER_BIN=$(CURDIR)/target/rocker $(CARGO) test --test integration -- --nocapture faults escapes attacks damage jobs leftovers many_connects

test-vm: build base-image/busybox.tar ## The same tests in virtual machines, all or MACHINES="1 3 6" (as root)
	@tests/vm/run.sh $(MACHINES)

fuzz: ## Fuzz every parser for SECONDS each (600); needs a nightly toolchain and cargo-fuzz
	@tests/fuzz/run.sh $(SECONDS)

bench: build base-image/busybox.tar ## The numbers beside their yardsticks, crun, runc, podman, docker, bwrap (as root, 5 minutes)
	@tests/bench/run.sh

ways: ## Prove that each way to build works here and gives the same bytes twice (minutes)
	@tests/build/ways.sh

install: build ## Copy the binary to PREFIX/bin (/usr/local), below DESTDIR
	install -D -m 755 target/rocker $(DESTDIR)$(PREFIX)/bin/rocker

clean: ## Remove everything that was made
	rm -rf target base-image/busybox.tar

base-image/busybox.tar: base-image/make.sh ## Make the root file system that the examples use
	@base-image/make.sh
