# The usual errands. `make` alone lists them.

CARGO ?= cargo
# Rows of the demos: make demo ROWS=1000
ROWS ?= 10000
# How long each fuzz target runs: make fuzz SECONDS_EACH=600
SECONDS_EACH ?= 60
# More arguments of the demo, the tests or the benches: make demo ARGS='--senders 0,2 --target 1'
ARGS ?=
# Where `make bench` and `make bench-e2e` write their tables.
CSV ?= target/$@.csv

.DEFAULT_GOAL := help
.PHONY: help setup tools build dist demo demo-deployed test lint deny fuzz bench bench-quick bench-e2e clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-15s%s\n", $$1, $$2 }'

setup: tools ## Install all that is missing beside Rust (PostgreSQL server, age, LocalStack ...)
	@scripts/python-env
	@scripts/localstack-env

# What the program itself is shown with: the environments of the tests take longer.
tools:
	@scripts/setup

build: ## Build target/release/reshare
	$(CARGO) build --release --locked --package reshare-cli

dist: ## Build target/dist/reshare: slow to build, and blinds faster
	$(CARGO) build --profile dist --locked --package reshare-cli

demo: tools build ## Do the whole job on 10,000 synthetic rows (ROWS: how many, ARGS: more flags)
	target/release/reshare demo --rows $(ROWS) $(ARGS)

demo-deployed: tools build ## The same as deployed: separate processes, certificates, KMS, nginx (ROWS, KEEP=1)
	@scripts/localstack-env
	@ROWS=$(ROWS) scripts/demo-deployed

test: setup ## Run every test, those against a real PostgreSQL and KMS too (ARGS: more flags)
	$(CARGO) test --workspace --locked $(ARGS)

lint: ## Check the format, clippy, the docs' links and the TLS dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	@scripts/one-tls

deny: ## Check licences, duplicate versions and sources of the dependencies
	@scripts/deny

fuzz: ## Fuzz every reader of foreign input (SECONDS_EACH: for how long)
	@scripts/fuzz $(SECONDS_EACH)

bench: ## Run the benches that need no database, and print one table (CSV: where to write it)
	@mkdir -p target && touch target/bench.began
	$(CARGO) bench --offline --locked --package reshare-benches $(ARGS)
	$(CARGO) run --release --offline --locked --package reshare-benches --bin table -- --since target/bench.began --csv $(CSV)

bench-quick: ## Run every bench once and small, for its answers and not for its figures
	$(CARGO) bench --locked --package reshare-benches -- --test

bench-e2e: tools build ## Measure send and rebuild against psql (ARGS: see --help; CSV: where to write)
	$(CARGO) run --release --locked --package reshare-benches --bin e2e -- --csv $(CSV) $(ARGS)

clean: ## Remove everything that was built
	$(CARGO) clean
