# Segue: `make demo` and `make test` need Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOME_DIR ?= demo-home
PORT ?= 8080

.PHONY: help demo test check bench clean
help: ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Segue needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11 demo"; exit 2; }
	@echo "== environment in $(VENV)" && $(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "== installing Segue and what it runs on"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/run.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e . && touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "== installing what the tests and checks need"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/dev.txt && touch $@

demo: $(VENV)/.run ## set everything up, make a small town, train, serve the player
	@$(BIN)/segue --home $(HOME_DIR) demo --port $(PORT)

test: $(VENV)/.dev ## set everything up and run the tests
	@$(BIN)/python -m pytest -n auto --dist loadfile

check: $(VENV)/.dev ## format, lint, types
	@$(BIN)/ruff format --check src tests && $(BIN)/ruff check src tests && $(BIN)/mypy

bench: $(VENV)/.run ## the short benchmarks, a table each
	@$(BIN)/segue benchmark ingest --events 200000 && $(BIN)/segue benchmark serve --users 20000 --items 50000 --seconds 10 --rate 100

clean: ## remove the environment and the demo's data
	@rm -rf $(VENV) $(HOME_DIR) build dist
