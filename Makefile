# Two main targets: `make demo` and `make test`. Both create .venv first; only Python >= 3.10 is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/steradian compare digits --out runs/demo
	@echo 'before  source .venv/bin/activate'

test: $(VENV)/.installed-dev
	# Without a restart, a test process that the system ends is a named failure; pytest-xdist may hang after one.
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages in build/site can be opened without a web server.
docs: $(VENV)/.installed-dev
	$(BIN)/python -W ignore docs/reference/write.py
	$(BIN)/zensical build --strict

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
