PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
ARGS ?=
# The forerunner of the interpreter, tflite-runtime, has its last wheels for Python 3.11 and numpy 1.
OLD := .venv-tflite
SECONDS ?= 3600
# Most tests wait for processes and browsers: as many at once as there are cores. PARALLEL= runs one after another.
PARALLEL ?= -n auto --dist worksteal

DEPLOY := .venv-deploy
# The release on which make test-deploy builds its site: bookworm or trixie.
DEBIAN ?= bookworm

# Passwords and keys that were left in a file. High entropy alone is no sign here: hashes of models have it.
SECRETS := git ls-files | grep -vE 'vendor/|[.](png|tflite|wav)$$|^constraints|^models/zoo/|^docs/study/|/locales/' | xargs \
	$(BIN)/detect-secrets-hook --disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString

.PHONY: demo dev check test test-deploy test-arm audit dist bench chaos soak screenshots lint format api-docs packages clean

demo: $(VENV)/.demo  ## an alarm, from sound to screen; ARGS="--help" shows the choices
	$(BIN)/tocsin demo $(ARGS)

dev: $(VENV)/.dev  ## everything a developer needs, in .venv

check: $(VENV)/.dev  ## style, types, contracts and the fast tests: about four minutes on two cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(SECRETS)
	$(BIN)/pytest -q $(PARALLEL) -m "not slow and not deploy and not arm"

test: packages $(VENV)/.dev $(OLD)/.ready  ## everything, with real broker, browser and sound
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(SECRETS)
	$(BIN)/pytest $(PARALLEL)

test-deploy: packages $(VENV)/.dev $(DEPLOY)/.ready  ## a site from nothing on booted containers (DEBIAN=trixie: of 13); needs root
	tests/install-packages debootstrap systemd-container mosquitto-clients
	TOCSIN_DEPLOY_DEBIAN=$(DEBIAN) $(BIN)/pytest -m deploy tests/deploy

test-arm: packages $(VENV)/.dev  ## the node under qemu, as on a Raspberry Pi; needs root
	tests/install-packages debootstrap qemu-user-static
	$(BIN)/pytest -m arm tests/deploy

audit: $(VENV)/.dev  ## known weaknesses of the exact versions that we test with; asks the package index
	$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip

dist: $(VENV)/.dev  ## the wheel that the playbooks install, and what is in it (CycloneDX), in dist/
	rm -rf dist
	$(PIP) wheel --no-deps -w dist .
	$(BIN)/cyclonedx-py requirements constraints.txt --pyproject pyproject.toml -o dist/tocsin.cdx.json

chaos: packages $(VENV)/.dev  ## SECONDS of faults by a script (SEED=…): nothing lost, nothing twice, everybody told
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: packages $(VENV)/.dev  ## SECONDS of a site that runs: nothing lost, nothing leaked, no growth
	TOCSIN_SOAK_SECONDS=$(SECONDS) $(BIN)/pytest -q -s tests/integration/test_soak.py --timeout 0

bench: packages $(VENV)/.dev  ## what this machine bears, beside loops that do less; ARGS="--help" shows the choices
	tests/install-packages mosquitto-clients
	$(BIN)/python -m tests.benchmarks $(ARGS)

screenshots: packages $(VENV)/.dev  ## pictures of every page from a made site, into docs/screens
	$(BIN)/python -m tests.integration.screenshots docs/screens

api-docs: $(VENV)/.dev  ## renew docs/openapi.json and the generated half of docs/asyncapi.yaml
	$(BIN)/python -m tests.hub.documents

format: $(VENV)/.dev  ## lay the code out
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

packages:  ## what the tests need from Debian
	tests/install-packages

clean:  ## forget the environment and all caches
	rm -rf $(VENV) $(OLD) $(DEPLOY) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=24"

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.demo

$(OLD)/.ready: pyproject.toml
	@command -v python3.11 >/dev/null || { echo "the tests of tflite-runtime need python3.11" >&2; exit 1; }
	python3.11 -m venv $(OLD)
	$(OLD)/bin/python -m pip --disable-pip-version-check -q install -e ".[node-tflite,gpio,clips,ota]" \
		hypothesis iotcore jinja2 prometheus-client pytest pytest-timeout "python-socketio[client]" voluptuous
	touch $@

$(DEPLOY)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DEPLOY)
	$(DEPLOY)/bin/python -m pip --disable-pip-version-check -q install -c constraints.txt "ansible>=12" "ansible-lint>=25"
	touch $@
