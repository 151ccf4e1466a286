# kaigi: the few commands people need. `make run` and `make test` install what a fresh Debian machine lacks.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test check soak bench deb web setup-run setup-test setup-bench test-rust test-web test-e2e

TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release
WEB := controlplane/web
# Builds leave the machine responsive; override with JOBS=N.
CARGO_FLAGS := $(if $(JOBS),-j $(JOBS)) --locked

help: ## lists these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup-run setup-test setup-bench: setup-%:
	@tools/setup.sh $*

# The web client is rebuilt when a source or the lock file is newer than its bundle.
WEB_SOURCES := $(shell find $(WEB) -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
$(WEB)/dist/index.html: $(WEB)/node_modules/.package-lock.json $(WEB_SOURCES)
	cd $(WEB) && npm run --silent build
	@touch $@
web: $(WEB)/dist/index.html

$(BIN)/kaigid: FORCE | web
	cargo build --release $(CARGO_FLAGS) --workspace --exclude tests --bins
FORCE:

# Tests judge binaries of the profile the tests have: optimised, with overflow checks and debug assertions, and their dependencies are
# compiled for the tests anyway.
TEST_BIN := $(TARGET)/debug
$(TEST_BIN)/kaigid: FORCE | web
	cargo build $(CARGO_FLAGS) --workspace --bins

run: setup-run web $(BIN)/kaigid ## builds and starts the appliance in demo mode on http://localhost:7880
	exec $(BIN)/kaigid serve --demo --data ./data

test: setup-test test-web test-rust test-e2e ## runs every test: unit, simulation, HTTP, loopback, real browsers

test-web: web
	cd $(WEB) && npm run --silent check && npm run --silent test

test-rust: $(TEST_BIN)/kaigid
	KAIGI_BIN=$(abspath $(TEST_BIN)) cargo test --workspace $(CARGO_FLAGS)

tests/e2e/node_modules/.package-lock.json: tests/e2e/package-lock.json
	cd tests/e2e && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

test-e2e: $(TEST_BIN)/kaigid tests/e2e/node_modules/.package-lock.json
	KAIGI_BIN=$(abspath $(TEST_BIN)) node --test --test-concurrency=1 --test-reporter=spec tests/e2e/*.test.mjs

check: web ## the quick gate: format, lints as errors, unit tests, architecture
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	cargo test --workspace --lib --bins --test architecture $(CARGO_FLAGS) --quiet
	cd $(WEB) && npm run --silent check

soak: setup-test web ## the long versions: all seeds, all kill rounds, fuzzing
	cargo build --release $(CARGO_FLAGS) --workspace --bins
	tests/soak.sh $(BIN)

bench: setup-bench web ## the benchmark harness's short run
	cargo build --release $(CARGO_FLAGS) -p perf
	$(BIN)/kaigi-perf kernels
	$(BIN)/kaigi-perf forward --publishers 1 --subscribers 20 --profile gcm --payload 1150 --seconds 5
	$(BIN)/kaigi-perf forward --publishers 1 --subscribers 20 --profile cm --payload 1150 --seconds 5
	$(BIN)/kaigi-perf scale --meetings 10,100 --total-pps 6000 --seconds 2
	$(BIN)/kaigi-perf store
	$(BIN)/kaigi-perf fleet

deb: ## a Debian package (not yet)
	@echo "make deb: not yet; the package comes with the appliance install. Use 'make run' or target/release/kaigid." >&2
	@exit 1
