# Each target works from a fresh clone: it installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEEDS ?= 10000
KILLS ?= 500
COMMANDS ?= 1000000
FAULTS ?= 400
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format lock bench bench-kafka simulation kill chaos go-example kafka-broker containers docker polyglot

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(READY): requirements/dev.txt pyproject.toml scripts/setup
	@scripts/setup "$(PYTHON)" "$(VENV)"
	@touch $@

demo: $(READY)  ## start a platform, send it Commands, kill it, and see that nothing is lost
	@$(BIN)/python examples/demo.py

test: lint go-example kafka-broker containers  ## everything that is checked: style, types, imports, and all tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n 2

check: lint

lint: $(READY)  ## style, types and import contracts alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY)  ## put the source into the house's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

go-example: $(READY)  ## build the bank's Savings function in Go
	@scripts/build-go-example "$(VENV)"

kafka-broker:  ## take Apache Kafka for the tests
	@scripts/kafka-broker

containers:  ## Podman and a small image, for the tests of functions in containers
	@scripts/containers

simulation: $(READY)  ## the engine against 10,000 seeds of faults; SEEDS=… says how many
	@SEEDS=$(SEEDS) $(BIN)/pytest tests/simulation -n 2

kill: $(READY)  ## kill -9 of platform and functions in the middle of work, 500 times; KILLS=… says how many
	@EVENTO_KILLS=$(KILLS) $(BIN)/pytest tests/faults/test_kill.py -s

docker: $(READY) containers  ## the tests of functions in containers on Docker, which is started for them; as root, with dockerd installed
	@EVENTO_TEST_ENGINE=docker CI=1 $(BIN)/pytest tests/containers -n 2 --deselect tests/containers/test_polyglot.py

polyglot: $(READY) kafka-broker containers  ## a year of a real bank through containers in Python and Go that are killed, on SQLite and on Kafka
	@EVENTO_POLYGLOT_ROWS=23156 EVENTO_POLYGLOT_KILLS=48 $(BIN)/pytest tests/containers/test_polyglot.py -s

chaos: $(READY) kafka-broker  ## two nodes on three Kafka brokers while all of it fails, for a million Commands; COMMANDS=… FAULTS=… SEED=…
	@EVENTO_CHAOS_COMMANDS=$(COMMANDS) EVENTO_CHAOS_FAULTS=$(FAULTS) EVENTO_CHAOS_SEED=$(SEED) \
	  $(BIN)/pytest tests/faults/test_kafka_chaos.py -n 0 -s

bench: $(READY)  ## Evento beside its peers, with the same work; takes a while
	@$(BIN)/python bench/run.py

bench-kafka: $(READY) kafka-broker  ## the journal on Kafka beside stream processors; takes a while
	@$(BIN)/python bench/kafka.py

lock: $(READY)  ## write requirements/*.txt anew from pyproject.toml
	@scripts/lock "$(VENV)"
