# `make` sets up and opens the assistant; `make test` sets up and runs every check. Both are quick the second time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := hone
.DELETE_ON_ERROR:

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
WORKERS ?= 2
OFFLINE := make: could not install the packages; is there a network? (pip's message is above)

.PHONY: hone setup test check model tests test-slow benchmarks screens clean

hone: setup
	@$(BIN)/hone models pull smollm2-135m > /dev/null
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/hone; else \
		echo "Hone is set up. In a terminal, run: $(BIN)/hone"; \
		echo "From a script: $(BIN)/hone chat \"What does a mutex do?\"   or: $(BIN)/hone --help"; fi

setup: $(VENV)/.installed

$(VENV)/.python:
	@[ -n "$(PYTHON)" ] && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: Python 3.11 or newer is needed (python3.11 was not found); install it or set PYTHON=/path/to/python"; exit 1; }
	@command -v git >/dev/null || { echo "make: git is needed; install it"; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { echo "make: python cannot create an environment; install its venv package"; exit 1; }
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "Installing Hone into $(VENV) (once; a few minutes)"
	@$(PIP) -e . || { echo "$(OFFLINE)"; exit 1; }
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing what the tests need"
	@$(PIP) -e '.[dev]' || { echo "$(OFFLINE)"; exit 1; }
	@touch $@

test: $(VENV)/.dev
	@$(MAKE) --no-print-directory -j2 check model
	@$(MAKE) --no-print-directory tests

# The embedded model in all its forms, made while the other core checks types.
model: $(VENV)/.dev
	@HONE_HOME="$${HONE_TEST_HOME:-$(CURDIR)/.hone/test}" $(BIN)/hone models pull smollm2-135m --tuning > /dev/null

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache

# A process for each core, see tests/conftest.py.
tests: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 20

# Minutes of training and evaluation on the embedded model, and jobs on a Ray of this machine.
test-slow: $(VENV)/.dev .hone/ray/.installed
	@$(BIN)/python -m pytest -m slow

# Ray wants other versions of some packages than Hone.
.hone/ray/.installed: | $(VENV)/.python
	@$(BIN)/python -m venv .hone/ray
	@.hone/ray/bin/python -m pip install --quiet --disable-pip-version-check 'ray[default]==2.60.0' || { echo "$(OFFLINE)"; exit 1; }
	@touch $@

$(VENV)/.benchmark: $(VENV)/.installed
	@$(PIP) -e '.[benchmark]' || { echo "$(OFFLINE)"; exit 1; }
	@touch $@

# What the README quotes; wants a quiet machine and about three hours. `python -m benchmarks.pays` takes many more.
benchmarks: $(VENV)/.benchmark
	@$(BIN)/python -m benchmarks.corpora
	@$(BIN)/python -m benchmarks.startup
	@$(BIN)/python -m benchmarks.decode
	@$(BIN)/python -m benchmarks.serving_form
	@$(BIN)/python -m benchmarks.complete
	@$(BIN)/python -m benchmarks.gateway
	@$(BIN)/python -m benchmarks.tui_stream
	@$(BIN)/python -m benchmarks.ops
	@$(BIN)/python -m benchmarks.tune_speed
	@$(BIN)/python -m benchmarks.tune_speed --curves
	@$(BIN)/python -m benchmarks.cached_start
	@$(BIN)/python -m benchmarks.loop
	@$(BIN)/python -m benchmarks.corpus
	@$(BIN)/python -m benchmarks.sandbox
	@$(BIN)/python -m benchmarks.eval_speed

# The pictures in the README, from sample data.
screens: $(VENV)/.dev
	@$(BIN)/python -m docs.screens

clean:
	rm -rf $(VENV) .hone .mypy_cache .ruff_cache .pytest_cache
