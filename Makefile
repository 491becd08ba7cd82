# Everything happens in .venv; `make demo` and `make test` are all that a newcomer needs.
# PYTHON picks the interpreter: make demo PYTHON=python3.12

SUITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
  $$p -c '$(SUITS)' 2>/dev/null && echo $$p && break; done),python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test docs lint lock format transcript clean

help:
	@echo "make demo    convert, compress, deploy and measure two networks; no board needed"
	@echo "make test    the whole test suite"
	@echo "make docs    the documentation as a site, in site/"
	@echo "make lint    ruff and mypy"
	@echo "make lock    pin the wheels for boards by what the package index has now"
	@echo "make format  let ruff format the code"
	@echo "make transcript  record the README transcript and the page of the demo again"
	@echo "make clean   remove .venv and caches"

setup: $(VENV)/ready

# The runtimes that go to the board are fetched here, so that demo and tests need no network. Python compiles what is
# imported, a fraction of what is installed.
$(VENV)/ready: pyproject.toml sdk/deploy/provision/wheels_lock.json
	@$(PYTHON) -c '$(SUITS)' || \
	  { echo "armlet needs Python 3.10 to 3.13 on the host; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no ensurepip, which a virtual environment needs. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --no-compile --editable '.[host,demo,dev,docs]'
	$(BIN)/sdk board fetch local --all-runtimes
	@touch $@

demo: setup
	$(BIN)/sdk demo

# Side by side, a file of tests at a time (tests/conftest.py says how many); then what wants the machine for itself.
test: setup
	$(BIN)/python -m pytest -m 'not alone' --numprocesses auto --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -m alone $$(grep -rl --include='test_*.py' 'mark\.alone' tests)

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: setup
	$(BIN)/python -m sdk.deploy.provision.renewing
	$(BIN)/sdk board fetch local --all-runtimes

transcript: setup
	$(BIN)/python benchmarks/pages/readme_transcript.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site *.egg-info
