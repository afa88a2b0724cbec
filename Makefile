# Turnpike. `make help` explains each target.

CARGO ?= cargo
TARGET ?= $(or $(CARGO_TARGET_DIR),target)
FUZZ_SECONDS ?= 30
# Where `make install` installs: below $(DESTDIR)$(PREFIX).
PREFIX ?= /usr/local
# A program that is built already, for install, deb and rpm: PROGRAM=target/debug/turnpike
PROGRAM ?=
# The system's where pkg-config finds it, built from source otherwise.
OPENSSL = $(shell scripts/openssl-source)

.DEFAULT_GOAL := help
.PHONY: help fast-path build run test unit lint packaging interop soak bench bench-compare fuzz doc install static deb rpm clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1mmake %-14s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

fast-path: ## Build the kernel program, where the compiler for it is installed
	scripts/build-fast-path

build: fast-path ## Build the optimised program into target/release, under all its names
	$(CARGO) build --release --locked --bin turnpike -p turnpike $(OPENSSL)
	@scripts/name-programs $(TARGET)/release/turnpike

run: build ## Start a server that works at once, and print how to use it (Ctrl-C stops it)
	@exec $(TARGET)/release/turnpike up $(ARGS)

test: ## Install what the tests need and run them all
	scripts/install-test-needs
	scripts/test all

unit: ## Run only the tests that need nothing installed
	scripts/test unit

lint: ## Check formatting, lints and documentation
	scripts/test lint

packaging: ## Check packages, unit, image and examples; install the Debian package in a throw-away layer
	scripts/test packaging

interop: ## Run real clients (browsers, coturn's tools) against the server
	scripts/test interop

soak: ## Throw ten million hostile packets at the server
	scripts/test soak

bench: build ## Measure against coturn in network namespaces (root) and rewrite docs/benchmarks.md
	$(CARGO) build --release --locked -p turnpike-bench $(OPENSSL)
	@mkdir -p bench/results
	$(TARGET)/release/turnpike-bench --ours $(TARGET)/release/turnserver --json bench/results/latest.json \
		--markdown docs/benchmarks.md --chart docs/benchmarks.svg $(ARGS)

bench-compare: ## Measure two versions in turn: OLD=REVISION|PROGRAM NEW=REVISION|PROGRAM [ARGS="--quick audio"]
	@test -n "$(OLD)" && test -n "$(NEW)" || { scripts/bench-compare --help; exit 2; }
	CARGO="$(CARGO)" scripts/bench-compare "$(OLD)" "$(NEW)" $(ARGS)

fuzz: ## Fuzz every target for FUZZ_SECONDS seconds each
	@for target in $$(fuzz/run --list); do fuzz/run $$target $(FUZZ_SECONDS) || exit 1; done

doc: ## Build the API documentation
	$(CARGO) doc --locked --no-deps --workspace $(OPENSSL)

install: $(if $(PROGRAM),,build) ## Install programs, manual, completions and unit below PREFIX (/usr/local)
	scripts/stage "$(or $(PROGRAM),$(TARGET)/release/turnpike)" "$(DESTDIR)" "$(PREFIX)"

static: fast-path ## Build one program that runs on any Linux of this architecture, and print its path
	@scripts/build-static

deb: $(if $(PROGRAM),,build) ## Make a Debian package of what is built, in target/
	@scripts/make-deb "$(or $(PROGRAM),$(TARGET)/release/turnpike)" "$(TARGET)"

rpm: ## Make an RPM of the static program, in target/
	@scripts/make-rpm "$(or $(PROGRAM),$$(scripts/build-static))" "$(TARGET)"

clean: ## Remove what was built
	$(CARGO) clean
