# Everything a person or a machine does with the project. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PIP := $(if $(UV),VIRTUAL_ENV=$(VENV) $(UV) pip,$(BIN)/python -m pip --disable-pip-version-check)

.PHONY: help demo demo-real ui test test-long check bench screenshots lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

demo: $(VENV)/.runs  ## the main job on the embedded default: synthetic trades in, signals out
	@$(BIN)/trader demo

demo-real: $(VENV)/.runs  ## the same on two weeks of BTC and ETH from Binance's public archive
	@$(BIN)/trader demo --venue binance --symbols BTCUSDT,ETHUSDT --days 2024-01-01..2024-01-14

ui: $(VENV)/.runs  ## the Dagster web UI over the same instance
	@$(BIN)/trader ui

test: $(VENV)/.tests  ## all tests but the long ones
	@$(BIN)/python -m pytest -m "not long" -n auto --maxprocesses 8 --dist loadfile

test-long: $(VENV)/.tests  ## the soak and kill tests
	@$(BIN)/python -m pytest -m long

check: $(VENV)/.tests  ## ruff, mypy, import rules, Dagster's own check of the definitions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@VIRTUAL_ENV="$(CURDIR)/$(VENV)" PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dg check defs

bench: $(VENV)/.tests  ## the benchmarks, each against its peer in the same run
	@$(BIN)/python -m trader_pipelines_tests.bench

screenshots: $(VENV)/.tests  ## the README's pictures, from the running UI
	@$(BIN)/python -m trader_pipelines_tests.screenshots

# One environment, two depths: what runs the product, and that plus what tests it.
$(VENV)/.runs: requirements.lock pyproject.toml
	$(call install,requirements.lock)
	@touch $@

$(VENV)/.tests: requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch $(VENV)/.runs $@

define install
@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
@echo "installing the locked dependencies into $(VENV) (once; a few minutes) ..."
@$(PIP) install --quiet --require-hashes -r $(1)
@$(PIP) install --quiet --no-deps --no-build-isolation -e .
endef

# Hashes and no index address, for every Python and platform that the project runs on.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-strip-extras --custom-compile-command "make lock" --group build
lock:  ## resolve the dependencies anew (needs uv)
	@$(LOCK) -o requirements.lock
	@$(LOCK) --group dev -c requirements.lock -o requirements-dev.lock

clean:  ## stop the embedded database and forget everything under .trader
	@-$(BIN)/trader db stop
	@rm -rf .trader
