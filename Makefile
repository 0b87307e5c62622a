# Few targets; CI calls `make test` and nothing cleverer.
.PHONY: run build test units system system.a-l system.m-z check install bench sim fuzz

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

# The main job on this very machine: a collector, one real agent, one simulated hub.
run: build
	./target/release/bijli-collector demo

# One after the other: together, the agent would be built with what the collector asks of the
# libraries that both use.
build:
	$(CARGO) build --release --locked -p bijli-agent
	$(CARGO) build --release --locked -p bijli-collector

# Everything: installs what the tests need (Debian packages, PyPI tools), then runs all checks.
test: install check
	$(CARGO) test --workspace --locked --no-run
	$(CARGO) build --workspace --locked
	$(MAKE) --jobs=4 units system sim SEEDS=2000

# What needs no program but itself.
units:
	$(CARGO) test --workspace --locked --no-fail-fast --lib --bins
	$(CARGO) test --workspace --locked --doc

# The real programs, and those of others. They wait a good deal, for intervals to close and for
# clocks; so they go in two halves by name, and units and simulation have that time too.
system: system.a-l system.m-z

system.a-l system.m-z: system.%:
	$(CARGO) test --workspace --locked --no-fail-fast --test '[$*]*'

# Style and lints.
check:
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

install:
	./tests/install.sh

# Speed and size: results are written down with their command in docs/BENCHMARKS.md.
bench:
	./tests/install.sh
	$(MAKE) build
	$(CARGO) build --release --locked -p bijli-tests
	./target/release/bijli-bench

# Seeded histories of the whole system in virtual time; see docs/faults.md.
SEEDS ?= 2000
sim:
	nice $(CARGO) build --profile sim --locked -p bijli-sim
	nice ./target/sim/bijli-sim --seeds $(SEEDS) --jobs $$(nproc)

# Any bytes at all: batches, segments, configurations, texts, snapshots; ten minutes each.
SECONDS ?= 600
fuzz:
	SECONDS_EACH=$(SECONDS) ./fuzz/run.sh
