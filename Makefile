# Each target does all the set-up it needs: a Python 3.11+ with venv, and make, are enough to begin with.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=
# Compiled modules are kept: where the environment forbids it, each process of the tests compiles all that it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo test fuzz lint lock clean

help:           ## what there is
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*## /\t/' | expand -t 12

install: $(STAMP)  ## own .venv with the locked dependencies

$(STAMP): pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3 python3-venv   (macOS: brew install python)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $$($(PYTHON) -V) is here: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "the module venv is missing: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/uv || { echo "installing uv ..."; $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@echo "installing the locked dependencies ..."
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv sync --frozen --active --inexact --quiet
	@touch $@

demo: install   ## a simulated AI factory, live: open the address it prints
	@$(BIN)/tokenwatt demo $(ARGS)

test: install   ## lint, types and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: install   ## 100,000 damaged answers of each protocol; `make test` has a tenth of them
	TOKENWATT_FUZZ_CASES=100000 $(BIN)/pytest -q -n 4 tests/fuzz $(ARGS)

lint: install   ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:           ## after a change of dependencies
	$(BIN)/uv lock

clean:          ## remove what was installed and cached
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
