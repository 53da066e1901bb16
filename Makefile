# The README's two commands are `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
VENV := .venv
BIN := $(VENV)/bin
# Processes of make test and make test-slow
WORKERS ?= 2
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow lint bench results check-python clean

demo: $(STAMP)
	$(BIN)/python scripts/run_pdu.py --config=configs/digits.py --workdir=runs/digits

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations=10

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadfile --no-loadscope-reorder --timeout=2000 --durations=10

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/unlearning.py
	$(BIN)/python benchmarks/audit.py --quick

# Many hours; goes on where it was stopped. More flags: make results FLAGS="--plan=paper --initial=..."
results: $(STAMP)
	$(BIN)/python scripts/results.py $(FLAGS)

check-python:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "tfpdu needs Python 3.11, found '$$($(PYTHON) --version 2>&1 || echo none)'. Name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }

$(STAMP): setup.py constraints.txt | check-python
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
