# make demo    upscale the bundled clip into ./demo (ARGS=--full: all of it)
# make test    lint, types and tests (DATA=DIR: a folder with benchmarks/, corpus/ and samples/; PYTEST_ARGS=...)
# make lint    ruff and basedpyright alone
# make .venv   the virtual environment alone; brought up to date by itself when pyproject.toml or constraints.txt change
# make clean   remove what the others made
# PIP_ARGS=... goes to pip, for instance an index of CPU-only builds of PyTorch.

PYTHON ?= python3
PIP_ARGS ?=
DATA ?= $(wildcard ../shared)
ARGS ?=
PYTEST_ARGS ?=
BIN := .venv/bin

# Threads that wait must sleep: on a busy machine spinning ones cost several times their work.
export OMP_WAIT_POLICY ?= passive

.PHONY: .venv demo test lint clean
.DEFAULT_GOAL := demo

.venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/stinet demo $(ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

test: lint
	$(BIN)/python -m pytest $(if $(DATA),--data=$(DATA)) $(PYTEST_ARGS)

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis demo build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
