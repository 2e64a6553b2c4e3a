# make demo     install into .venv, train both families on the digits, print the report's path
# make test     install into .venv, run every test           (make test ARGS="tests/test_readme.py -x" runs some)
# make check    install into .venv, lint, formatting, types
# make mutants  plant bugs in the samplers one by one, print which check notices each
# make install  install into .venv and nothing else          (make install CONSTRAINTS= drops the pinned versions)
# make siege    kill, interrupt, starve and damage everything that is written, for hours; run again, it goes on
# make bench    the same work in the peers, here and at the floor, in environments of its own   (make bench ARGS="--threads 1 --clock cpu")
# make clean    remove .venv and what the tools cached; runs/ is kept
#
# To use the torch that your own Python already has:  make install CONSTRAINTS= VENV_FLAGS=--system-site-packages

PYTHON ?= python3
VENV ?= .venv
VENV_FLAGS ?=
CONSTRAINTS ?= constraints.txt
ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check mutants siege install bench clean
.DEFAULT_GOAL := install

demo: $(INSTALLED)
	@$(BIN)/equilibria demo --out runs/demo --overwrite

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -q $(ARGS)

check: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

mutants: $(INSTALLED)
	@PYTHONPATH=src:tests $(BIN)/python -m mutants

siege: $(INSTALLED)
	@$(BIN)/python experiments/siege/siege.py $(ARGS)

install: $(INSTALLED)

# pip, the last thing venv writes, is the target: a virtual environment that broke half-way is made again
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "equilibria needs Python 3.11 or later, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1). Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV_FLAGS) $(VENV)

$(INSTALLED): pyproject.toml $(wildcard constraints.txt) | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[dev]'
	@touch $@

bench:
	$(PYTHON) benchmarks/run.py $(ARGS)

clean:
	rm -rf $(VENV) benchmarks/.envs build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
