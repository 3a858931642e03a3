# Hull. `make help` lists the targets.

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN    := $(TARGET)/hull/bin
KERNEL := $(TARGET)/hull/kernel
BUILDX := $(TARGET)/hull/buildx
PREFIX ?= /usr/local
UNITS  := $(PREFIX)/lib/systemd/system
SHARE  := $(PREFIX)/share

# Static: they run in a container's or a guest's root, or before there is any.
STATIC  := hull-runtime hull-agent containerd-shim-hull-v2
DYNAMIC := hulld hull
COMPLETIONS := bash-completion/completions/hull zsh/site-functions/_hull \
    fish/vendor_completions.d/hull.fish
TRIPLE  := x86_64-unknown-linux-gnu

export HULL_BIN_DIR    := $(BIN)
export HULL_KERNEL_DIR := $(KERNEL)
export HULL_BUILDX_DIR := $(BUILDX)

.PHONY: quickstart test soak fuzz bench check build install place deb uninstall vm-kernel guest-kernel clean help \
        deps-run deps-test deps-bench buildx
.DEFAULT_GOAL := help

quickstart: ## one image behind both walls, from a bare Debian 12
	scripts/quickstart.sh

# One seed for all that is drawn at random, so that the gate's verdict is the commit's; soak draws anew.
test: export PROPTEST_RNG_SEED ?= 1
test: deps-test build buildx guest-kernel check ## everything: checks, unit tests, whole-system suites
	HULL_VM_TESTS=1 HULL_VM_KERNEL=$(KERNEL) cargo test --workspace --exclude tests
	cargo test -p tests -- --test-threads=1

soak: deps-test build buildx guest-kernel ## the suites again and again: HULL_SOAK=N rounds (10)
	scripts/soak.sh

bench: deps-bench build guest-kernel ## ratios against crun, runc, dockerd, containerd and podman, in one run
	cargo run --quiet --release -p benches

fuzz: ## cargo-fuzz on configurations, profiles, mount options, guests' messages: FUZZ_SECONDS=N each (60)
	scripts/fuzz.sh

check: ## format, lints, layers, file lengths
	cargo xtask check

# Relocations in a twentieth of the space, and no tables for unwinding, which a program that aborts
# does not do: a tenth of hull-runtime, and of what its start reads.
STATIC_FLAGS := -C target-feature=+crt-static -C force-unwind-tables=no \
    -C link-arg=-Wl,-z,pack-relative-relocs

build: ## all programs, into target/hull/bin
	RUSTFLAGS="$(STATIC_FLAGS)" cargo build --profile static --target $(TRIPLE) \
	    -p runtime -p agent -p shim
	cargo build --release -p daemon -p cli
	@mkdir -p $(BIN)
	@cd $(TARGET)/$(TRIPLE)/static && install -C $(STATIC) $(BIN)
	@cd $(TARGET)/release && install -C $(DYNAMIC) $(BIN)

install: build place ## programs, systemd's units, completions and man pages into PREFIX (/usr/local)

place: # what is built
	install -d $(DESTDIR)$(PREFIX)/bin
	cd $(BIN) && install $(STATIC) $(DYNAMIC) $(DESTDIR)$(PREFIX)/bin
	install -d $(addprefix $(DESTDIR)$(PREFIX)/lib/,systemd/system sysusers.d hull)
	sed 's,@BINDIR@,$(PREFIX)/bin,' dist/hulld.service > $(DESTDIR)$(UNITS)/hulld.service
	install -m 644 dist/hulld.socket $(DESTDIR)$(UNITS)
	install -m 644 dist/hull.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/hull.conf
	install scripts/vm-kernel.sh $(DESTDIR)$(PREFIX)/lib/hull/vm-kernel
	install scripts/uninstall.sh $(DESTDIR)$(PREFIX)/lib/hull/uninstall
	install -d $(dir $(addprefix $(DESTDIR)$(SHARE)/,$(COMPLETIONS)))
	$(BIN)/hull completion bash > $(DESTDIR)$(SHARE)/$(word 1,$(COMPLETIONS))
	$(BIN)/hull completion zsh > $(DESTDIR)$(SHARE)/$(word 2,$(COMPLETIONS))
	$(BIN)/hull completion fish > $(DESTDIR)$(SHARE)/$(word 3,$(COMPLETIONS))
	$(BIN)/hull man $(DESTDIR)$(SHARE)/man/man1

# Where there is a hull to end the engine with: a quickstart leaves it where it was built.
INSTALLED = $(patsubst %/hull,%,$(wildcard $(addsuffix /hull,$(PREFIX)/bin $(BIN))))

uninstall: ## takes away every trace of them, and of what they ran: images and volumes too
	[ -n "$(DESTDIR)" ] || HULL_BIN_DIR=$(firstword $(INSTALLED) $(PREFIX)/bin) scripts/uninstall.sh
	cd $(DESTDIR)$(PREFIX)/bin && rm -f $(STATIC) $(DYNAMIC)
	cd $(DESTDIR)$(PREFIX)/lib && rm -rf $(addprefix systemd/system/,hulld.service hulld.socket) \
	    sysusers.d/hull.conf hull
	cd $(DESTDIR)$(SHARE) && rm -f $(COMPLETIONS) man/man1/hull.1 man/man1/hull-*.1

deb: build ## a Debian package, into target/hull
	scripts/deb.sh $(TARGET)/hull

vm-kernel: ## Debian's cloud kernel where hulld looks for it: /var/lib/hull/vm/kernel
	scripts/vm-kernel.sh

guest-kernel: # the same beside the build, for tests and the quickstart
	scripts/vm-kernel.sh $(KERNEL)

clean: ## removes what was built
	cargo clean

deps-run deps-test deps-bench: deps-%:
	@scripts/deps.sh $*

buildx: # docker's buildx for the suites, which Debian 12 has not
	@scripts/buildx.sh $(BUILDX)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST) | expand -t 14
