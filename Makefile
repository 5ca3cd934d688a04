# Each target works from a fresh clone: it installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check lint lock

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 22

$(READY): requirements/dev.txt pyproject.toml
	@scripts/setup "$(PYTHON)" "$(VENV)"
	@touch $@
