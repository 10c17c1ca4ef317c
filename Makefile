# The usual tasks. `make` alone lists them.

CARGO ?= cargo
# Rows of the demos: make demo ROWS=1000
ROWS ?= 10000
# How long each fuzz target runs: make fuzz SECONDS_EACH=600
SECONDS_EACH ?= 60
# How long the rounds of random kills go on: make soak MINUTES=30
MINUTES ?= 10
# More arguments of the demo, the tests or the benches: make demo ARGS='--senders 0,2 --target 1'
ARGS ?=
# A program that is built already, to install, to pack or for the demos: make demo BIN=target/release/reshare
BIN ?=
# Where `make install` puts the program: PREFIX/bin, with manual pages and completions in PREFIX/share.
PREFIX ?= $(or $(CARGO_HOME),$(HOME)/.cargo)
# Where `make bench`, `make bench-line` and `make bench-e2e` write their tables.
CSV ?= target/$@.csv

.DEFAULT_GOAL := help
.PHONY: help setup tools build install deb deb-check crates-check dist demo demo-deployed docs test lint deny fuzz soak bench bench-quick bench-line bench-e2e clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-15s%s\n", $$1, $$2 }'

setup: tools ## Install everything that is missing, except Rust (PostgreSQL server, age, LocalStack ...)
	@scripts/python-env
	@scripts/localstack-env
	@scripts/node-env

# What the demos need. The environments of the tests take longer.
tools:
	@scripts/setup

build: ## Build target/release/reshare
	$(CARGO) build --release --locked --package reshare-cli

install: ## Install reshare, manual pages and completions (PREFIX: below which folder, ~/.cargo unless given)
	$(if $(BIN),,$(MAKE) build)
	@DESTDIR=$(DESTDIR) scripts/install $(or $(BIN),target/release/reshare) $(PREFIX)

deb: ## Make a Debian package, with systemd units: target/debian/reshare_*.deb
	$(if $(BIN),,$(MAKE) build)
	@scripts/package $(or $(BIN),target/release/reshare)

deb-check: deb ## Check that package: lintian, the units, and that it installs and goes without a trace
	@scripts/setup --package
	@scripts/check-package

crates-check: ## Check that each crate can be packed as it is
	$(CARGO) package --workspace --exclude reshare-benches --exclude reshare-fuzz --locked --no-verify --allow-dirty --quiet

dist: ## Build target/dist/reshare: slow to build, and blinds faster
	$(CARGO) build --profile dist --locked --package reshare-cli

demo: tools ## Do the whole job on 10,000 synthetic rows (ROWS: how many, ARGS: more flags)
	$(if $(BIN),,$(CARGO) build --locked --package reshare-cli --no-default-features --features demo)
	$(or $(BIN),target/debug/reshare) demo --rows $(ROWS) $(ARGS)

demo-deployed: tools ## The same as deployed: separate processes, certificates, KMS, nginx (ROWS, KEEP=1)
	$(if $(BIN),,$(CARGO) build --locked --package reshare-cli --features demo)
	@scripts/localstack-env
	@ROWS=$(ROWS) scripts/demo-deployed $(or $(BIN),target/debug/reshare)

docs: ## Build the handbook as a website: target/book/index.html
	@scripts/docs-env
	target/docs-env/bin/mdbook build docs

test: setup ## Run every test, those against a real PostgreSQL and KMS too (ARGS: more flags)
	$(CARGO) test --workspace --locked $(ARGS)

lint: ## Check the format, clippy, links of the code's docs and of the handbook, and the TLS dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --package reshare-cli --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	@scripts/doc-links
	@scripts/one-tls

deny: ## Check licences, versions, sources and, where reachable, advisories of the dependencies
	@scripts/deny

fuzz: ## Fuzz every reader of foreign input (SECONDS_EACH: for how long)
	@scripts/fuzz $(SECONDS_EACH)

soak: setup ## Kill any of the processes and the server at random, round after round (MINUTES: for how long)
	RESHARE_SOAK_MINUTES=$(MINUTES) $(CARGO) test --workspace --locked --test faults -- --nocapture random_kills

bench: ## Run the benches that need no database, and print one table (CSV: where to write it)
	@mkdir -p target && touch target/bench.began
	$(CARGO) bench --offline --locked --package reshare-benches $(ARGS)
	$(CARGO) run --release --offline --locked --package reshare-benches --bin table -- --since target/bench.began --csv $(CSV)

bench-quick: ## Run every bench once and small, for its answers and not for its figures
	$(CARGO) test --workspace --locked --bench '*' -- --test

bench-line: tools build ## Measure send over long lines against curl (ARGS: see --help; CSV: where to write)
	$(CARGO) run --release --locked --package reshare-benches --bin e2e -- --line --rows 4000 --runs 3 --csv $(CSV) $(ARGS)

bench-e2e: tools build ## Measure send and rebuild against psql (ARGS: see --help; CSV: where to write)
	$(CARGO) run --release --locked --package reshare-benches --bin e2e -- --csv $(CSV) $(ARGS)

clean: ## Remove everything that was built
	$(CARGO) clean
