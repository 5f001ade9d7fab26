# Everything that a developer types. Each target sets up what it needs, in a virtual environment in this folder.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SITE   := $(VENV)/.ready-docs
DEMO   := runs/demo
C      := $(wildcard $(addsuffix /*.[ch],src/bittailor/runtime src/bittailor/runtime/device \
            src/bittailor/export/emulator tests/unit benchmarks))

.PHONY: dist docs help setup demo test test-all campaign lint format types tables bench clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## a virtual environment with everything (done by the other targets too)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bittailor needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "== setting up $(VENV) (once, a few minutes: PyTorch is large)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## train a small GRU on real data, search its bit widths, report, export to C
	@rm -rf $(DEMO)
	@echo "== searching bit widths for 'digits' (trains the float GRU first)"
	$(BIN)/bittailor search digits --out $(DEMO) --population 40 --generations 40
	@echo "== writing the report"
	$(BIN)/bittailor report $(DEMO)
	@echo "== exporting the pick that holds to C, and proving it on this machine"
	$(BIN)/bittailor export $(DEMO) $(DEMO)/firmware
	$(BIN)/bittailor verify $(DEMO)/firmware --cores host
	@echo "== done; open this page:  $(abspath $(DEMO)/report/index.html)"

test: lint types ## lint, types, unit and property tests
	$(BIN)/python -m pytest -n auto -m "not slow"

test-all: lint types ## also the slow tests
	$(BIN)/python -m pytest -n auto

campaign: $(READY) ## an hour of random programs through everything, killed searches, flipped bits
	$(BIN)/python benchmarks/campaign.py --minutes 60

lint: $(READY) ## ruff for Python, clang-format for C
	$(BIN)/ruff check src tests benchmarks docs examples tools
	$(BIN)/clang-format --dry-run --Werror $(C)

format: $(READY) ## lay out all C in the style of .clang-format
	$(BIN)/clang-format -i $(C)

types: $(READY) ## mypy alone, as on Linux, Windows and macOS; benchmarks, too
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

tables: $(READY) ## regenerate the tables in docs/ from results/
	$(BIN)/python docs/make_tables.py

$(SITE): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(SITE) ## the documentation as a site, its tutorials run: build/site/index.html
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs . build/site
	@echo "built: build/site/index.html; links that lead outside, not fetched: build/external_links.txt"

dist: $(READY) ## sdist, wheel for any system, wheel with libraries for this one; tried where there is no compiler
	@rm -rf dist
	$(BIN)/python tools/wheels.py
	$(BIN)/python tools/check_wheel.py dist

clean: ## remove what was built; runs/ and results/ stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
