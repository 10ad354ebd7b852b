# Two commands: `make walk` shows what cryowalk does, `make test` is the whole gate.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.cryowalk-ready
WORKERS ?= 2
# Two workers with a thread each: most tests are too small for two threads. The files of a folder's fixtures stay together.
# A test that hangs fails by its name after its time, and failures stand last in the summary.
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --durations=15 -rsfE
export MPLBACKEND := Agg

.PHONY: walk test quick setup lint types docs notebooks clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cryowalk needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[course,data,dev,docs,zarr]'
	touch $(STAMP)

walk: setup
	$(BIN)/cryowalk walk --output walk

# The site is built by tests/test_docs.py, warnings as errors and without a network.
test: lint types
	$(BIN)/pytest --doctest-modules src
	$(PARALLEL) --timeout 300 -m 'not slow and not agreement'
	$(PARALLEL) --timeout 1200 -m 'slow or agreement'

quick: setup
	$(BIN)/pytest -m 'not slow and not agreement' -x

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs course benchmarks README.md CHANGELOG.md CONTRIBUTING.md
	$(BIN)/deptry src

types: setup
	$(BIN)/mypy

docs: setup
	CRYOWALK_DOCS_EXECUTE=0 $(BIN)/sphinx-build -n -W --keep-going -q docs docs/_build/html

notebooks: setup
	$(BIN)/python -m cryowalk.course.build notebooks

clean:
	rm -rf $(VENV) docs/_build docs/_generated build
