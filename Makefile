# blobkit: every target sets up what it needs in .venv, and nothing outside this directory. `make help` lists them.
#
#   PYTHON=python3.12   the interpreter that makes .venv (3.11 or newer; found by itself when on the PATH)
#   FILE=clip.mp4       the file that `make demo` moves (generated when not given)
#   ARGS="-k signing"   more arguments for pytest

PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What is never imported need not be compiled: that is most of what installing takes.
INSTALL := $(PIP) install --no-compile
SERVERS := tests/servers

# Tests start hundreds of processes: what was compiled is kept.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check bench venv clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/demo.stamp  ## Run the whole flow on this machine: upload, crash, resume, download (FILE= your own file)
	@$(BIN)/blobkit demo $${FILE:+"$$FILE"}

test: $(VENV)/dev.stamp servers  ## Run the tests (ARGS= more arguments for pytest)
	@$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal $(ARGS)

check: $(VENV)/dev.stamp  ## Lint, types, architecture, docstrings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/interrogate src
	@echo '$(BIN)/mypy and $(BIN)/pyright'  # both at once: each keeps one core busy
	@$(BIN)/mypy & mypy=$$!; $(BIN)/pyright --pythonpath $(BIN)/python; pyright=$$?; wait $$mypy && exit $$pyright

bench: $(VENV)/dev.stamp  ## Measure speed and weight
	@$(BIN)/python -m benchmarks

venv: $(VENV)/dev.stamp  ## Install everything that development needs in .venv

clean:  ## Remove .venv and everything that the tools left
	rm -rf $(VENV) build dist site .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf $(SERVERS)/node_modules
	find src tests -type d -name __pycache__ -exec rm -rf {} +

# ── set-up: a stamp is newer than the file that it was installed from ─────────────────────────────────────────────

$(VENV)/made.stamp:
	@for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV) && $(PIP) install --upgrade pip && touch $@ && exit 0; \
		echo "make: the venv module of $$python does not work (on Debian: apt-get install python3-venv)" >&2; exit 1; \
	done; \
	echo "make: blobkit needs Python 3.11 or newer; none of these is: $(PYTHONS). Name one: make PYTHON=/path/to/python" >&2; \
	exit 1

$(VENV)/demo.stamp: pyproject.toml $(VENV)/made.stamp
	@echo "Installing what the demo needs"
	@$(INSTALL) --editable '.[cli,local,transfer]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(VENV)/made.stamp
	@echo "Installing what development needs (the first time takes a minute or two)"
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/demo.stamp


# ── test servers from npm, pinned by a lock file; a test whose server is missing is skipped and counted ──────────

.PHONY: servers
servers: $(if $(wildcard $(SERVERS)/package-lock.json),$(SERVERS)/node_modules/made.stamp)

$(SERVERS)/node_modules/made.stamp: $(SERVERS)/package-lock.json $(VENV)/dev.stamp
	@echo "Installing the test servers that come from npm"
	@if PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix $(SERVERS) --no-audit --no-fund --loglevel=error; then \
		touch $@; \
	else \
		echo "make: npm could not install $(SERVERS)/package.json: the tests that need these servers are skipped" >&2; \
		test -z "$$CI"; \
	fi
