# Every target starts from nothing: it makes .venv, installs what is missing and runs.
# Offline the second time: nothing is installed while pyproject.toml and constraints.txt stand.
# pip compiles no source of an editable install, and a process that may write none compiles anew.
SHELL := /bin/bash
ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
PYTHON ?= python3
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
STAMP := $(shell cat '$(ROOT)/pyproject.toml' '$(ROOT)/constraints.txt' 2>/dev/null | sha256sum | cut -c1-16)
RUN_STAMP := $(VENV)/.mlg-run-$(STAMP)
DEV_STAMP := $(VENV)/.mlg-dev-$(STAMP)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c '$(ROOT)/constraints.txt'

.PHONY: help demo test check unit e2e chaos docs clean
help:
	@echo 'make demo | test | check (lint, types, imports) | unit | e2e | chaos | clean'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'mlg needs Python 3.11 or newer; say which one: make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 2; }
	@echo 'making $(VENV) ...'
	@$(PYTHON) -m venv '$(VENV)'

$(RUN_STAMP): | $(VENV)/bin/python
	@echo 'installing mlg (about a minute) ...'
	@$(PIP) -e '$(ROOT)'
	@'$(BIN)/python' -m compileall -q '$(ROOT)/src'
	@touch '$@'

$(DEV_STAMP): | $(RUN_STAMP)
	@echo 'installing what tests need ...'
	@$(PIP) -e '$(ROOT)[dev]'
	@touch '$@'

demo: | $(RUN_STAMP)
	@'$(BIN)/mlg' demo --dir '$(ROOT)/mlg-demo' $(ARGS)

# two processes, each file in one of them, folders in their order: the long files of chaos and e2e
# come first, so that neither process is alone with one at the end; xdist's groups do nothing in
# pytest 9.2
test: | $(DEV_STAMP)
	@cd '$(ROOT)' && '$(BIN)/python' -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

unit: | $(DEV_STAMP)
	@cd '$(ROOT)' && '$(BIN)/python' -m pytest -q tests/unit $(ARGS)

e2e: | $(DEV_STAMP)
	@cd '$(ROOT)' && MLG_FULL=1 '$(BIN)/python' -m pytest -q tests/e2e tests/integration/test_pipeline_examples.py $(ARGS)

chaos: | $(DEV_STAMP)
	@cd '$(ROOT)' && MLG_FULL=1 '$(BIN)/python' -m pytest -q tests/chaos $(ARGS)

check: | $(DEV_STAMP)
	@cd '$(ROOT)' && '$(BIN)/ruff' check src tests examples && '$(BIN)/ruff' format --check src tests examples \
	  && '$(BIN)/pyright' && '$(BIN)/lint-imports' && '$(BIN)/deptry' src \
	  && '$(BIN)/vulture'

clean:
	@rm -rf '$(VENV)' '$(ROOT)/.mlg'
