# SPDX-License-Identifier: GPL-3.0-or-later
# Targets carry the names of the CI steps: .ci/run runs what the README tells people to run.

CARGO ?= cargo

.DEFAULT_GOAL := help
# The steps build upon each other and each uses all processors already.
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup build ## build, then show what netlab does (needs root)
	examples/demo.sh

# The tests drive the built daemon and command line in target/debug, so these are built first.
# Nothing follows cargo test: its summary stays the last thing on the screen.
.PHONY: test
test: setup lint build ## every check: formatting, clippy, unit tests, rootful tests (needs root)
	$(CARGO) test --workspace --locked --no-fail-fast

.PHONY: test-machines
test-machines: ## install and run netlab on three machines with systemd, booted in namespaces (needs root)
	tests/setup.sh machines
	$(CARGO) build --workspace --locked --release
	tests/machines/run.sh

.PHONY: lint
lint: fmt clippy deny typos ## formatting, clippy and, where installed, cargo-deny and typos

.PHONY: bench
bench: setup ## measure an optimised build beside its peers; ARGS='--only run' for a part (needs root)
	$(CARGO) build --workspace --locked --release
	$(CARGO) run --locked --release -p netlab-tests --bin bench -- $(ARGS)

# Seconds for each target; what is found is kept in fuzz/artifacts beside the target. What reads DNS
# has no unsafe code for a sanitizer to look at, and is fuzzed quicker without.
FUZZ_TIME ?= 60
.PHONY: fuzz
fuzz: ## random bytes for the decoders of netlink and DNS (needs a nightly toolchain and cargo-fuzz)
	cd netlabd/nft && $(CARGO) +nightly fuzz run decode -- -max_total_time=$(FUZZ_TIME) -max_len=8192
	cd netlabd && $(CARGO) +nightly fuzz run -s none query -- -max_total_time=$(FUZZ_TIME) -max_len=4096 -timeout=5
	cd netlabd && $(CARGO) +nightly fuzz run -s none reply -- -max_total_time=$(FUZZ_TIME) -max_len=4096 -timeout=5

.PHONY: docs
docs: ## the crates' documentation, in target/doc; a broken link is an error
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --locked --no-deps

.PHONY: build
build: ## netlabd and netlabctl, in target/debug
	$(CARGO) build --workspace --locked

# Only copies, so that root needs no Rust toolchain: run `make release` first.
PREFIX ?= /usr/local
DESTDIR ?=
SYSTEMD_DIR ?= $(PREFIX)/lib/systemd/system
SYSUSERS_DIR ?= $(PREFIX)/lib/sysusers.d

.PHONY: install
install: ## copy programs, units and documents below DESTDIR and PREFIX (default /usr/local)
	packaging/install.sh "$(DESTDIR)" "$(PREFIX)" "$(SYSTEMD_DIR)" "$(SYSUSERS_DIR)"

.PHONY: uninstall
uninstall: ## remove what install copied; pods and state are `netlabd teardown`'s
	packaging/install.sh --remove "$(DESTDIR)" "$(PREFIX)" "$(SYSTEMD_DIR)" "$(SYSUSERS_DIR)"

.PHONY: release
release: ## optimised netlabd and netlabctl, in target/release
	$(CARGO) build --workspace --locked --release

.PHONY: setup
setup: ## install the Debian packages that building and testing need, if any is missing
	tests/setup.sh

.PHONY: clean
clean: ## remove what was built
	$(CARGO) clean

.PHONY: fmt
fmt:
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# Advisories come and go without a change of ours, so they inform and do not block.
.PHONY: deny
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check bans licenses sources && \
		{ $(CARGO) deny --locked check advisories || echo "lint: advisories above are for information"; }; \
	else \
		echo "lint: skipped cargo-deny, it is not installed (cargo install --locked cargo-deny)"; \
	fi

.PHONY: typos
typos:
	@if command -v typos >/dev/null 2>&1; then typos; \
	else echo "lint: skipped typos, it is not installed (cargo install --locked typos-cli)"; fi
