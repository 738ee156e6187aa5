PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
ARGS ?=

.PHONY: demo dev check test lint format packages clean

demo: $(VENV)/.demo  ## an alarm, from sound to screen; ARGS="--help" shows the choices
	$(BIN)/tocsin demo $(ARGS)

dev: $(VENV)/.dev  ## everything a developer needs, in .venv

check: $(VENV)/.dev  ## style, types, contracts and the fast tests: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not slow"

test: packages $(VENV)/.dev  ## everything, with real broker, browser and sound
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

format: $(VENV)/.dev  ## lay the code out
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

packages:  ## what the tests need from Debian
	tests/install-packages

clean:  ## forget the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=24"

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.demo
