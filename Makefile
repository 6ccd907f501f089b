# `make help` lists everything. The first `make setup` downloads about 2.3 GB; later ones take a second.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3.11
# Relative on purpose: the path of the project may contain spaces.
VENV := .local/venv/bin
STACK := $(VENV)/python -m infra.local.stack
# Two processes, each takes the next test when it is free, in the order of tests/conftest.py.
PYTEST := $(VENV)/pytest -n 2 --dist loadgroup --no-loadscope-reorder

.PHONY: help setup up down status logs env clean check test bench run replay query requeue
# As it was given: make would take the $p of "table$partitions" for a variable.
export SQL_TEXT := $(value SQL)
export WHERE_TEXT := $(value WHERE)
export PAYLOAD_TEXT := $(value PAYLOAD)

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' Makefile | awk -F '\t' '{printf "make %-8s %s\n", $$1, $$2}'

setup: ## install everything below .local/; changes nothing when it is up to date
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is missing: install it, or name it: make PYTHON=/path/to/python3.11 $@" >&2; exit 1; }
	@$(PYTHON) -m infra.local.setup

up: setup ## start Kafka, S3 + Glue, PostgreSQL, Airflow and Athena, and wait until they answer
	@$(STACK) up

down: $(VENV)/python ## stop them; their state stays
	@$(STACK) down

status: $(VENV)/python ## one line for each service
	@$(STACK) status

logs: $(VENV)/python ## follow the logs: all, or SERVICE=kafka
	@$(STACK) logs $(SERVICE)

env: $(VENV)/python ## print the variables for your own shell: eval "$(make -s env)"
	@$(STACK) env

clean: $(VENV)/python ## stop the services and delete their state
	@$(STACK) clean

$(VENV)/python:
	@echo 'nothing is installed yet: run `make setup`' >&2; exit 1

check: setup ## lint, types and unit tests: two minutes
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(PYTEST) -q tests/unit

test: setup ## lint, types and every test; those of tests/integration start a stack of their own
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(PYTEST) tests

bench: setup ## measure
	@$(VENV)/python -m tests.benchmarks.run

run: up ## the whole pipeline over three dates, through Airflow; then what stands in the lake
	@$(VENV)/python -m infra.local.run_pipeline

query: $(VENV)/python ## ask Athena: SQL="SELECT ...", or NAME=segments_today; alone it lists the named queries
	@$(VENV)/python -m infra.local.athena.query_command $(if $(value SQL),--sql "$$SQL_TEXT") $(if $(NAME),--name $(NAME))

requeue: $(VENV)/python ## publish quarantined records again: WHERE="error_type = 'bad_price'", PAYLOAD="SQL over payload_text", DRY_RUN=1
	@test -n "$$WHERE_TEXT" || { echo "say which: make requeue WHERE=\"error_type = 'bad_price'\" DRY_RUN=1" >&2; exit 2; }
	@eval "$$($(STACK) env)"; exec spark-submit spark_jobs/requeue_quarantined.py --where "$$WHERE_TEXT" \
		$(if $(value PAYLOAD),--payload "$$PAYLOAD_TEXT") $(if $(DRY_RUN),--dry-run)

replay: setup ## a real file through Kafka and the DAG: FILE=events.csv.gz
	@test -n "$(FILE)" || { echo 'say which file: make replay FILE=events.csv.gz' >&2; exit 2; }
	@$(STACK) up
	@$(VENV)/python -m infra.local.replay_file "$(FILE)"
