# `make help` lists everything. The first `make setup` downloads about 2.3 GB; later ones take a second.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3.11
# Relative on purpose: the path of the project may contain spaces.
VENV := .local/venv/bin
STACK := $(VENV)/python -m infra.local.stack
# A Spark job against the stack.
JOB := eval "$$($(STACK) env)" && exec spark-submit spark_jobs
# Two processes, each takes the next file, or what shares a stack, when it is free, in the order of tests/conftest.py.
PYTEST := $(VENV)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup up down status logs env clean check test soak bench bench-segmentation bench-dashboard run \
	backfill replay query requeue rollback forget maintain segments dashboard
# As it was given: make would take the $p of "table$partitions" for a variable.
export SQL_TEXT := $(value SQL)
export FORGOTTEN_USER := $(value USER)
export WHERE_TEXT := $(value WHERE)
export PAYLOAD_TEXT := $(value PAYLOAD)

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | awk -F '\t' '{printf "make %-18s %s\n", $$1, $$2}'

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

check: setup ## lint, types and unit tests, without Spark
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(PYTEST) -q tests/unit

test: setup ## lint, types and every test, with a few faults; they start stacks of their own
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(PYTEST) --durations 40 tests

soak: setup ## 50 kill -9 and every outage, then a table of them: FAULTS_KILLS=50, FAULTS_SEED=the seed of a failed one
	@FAULTS_KILLS=$${FAULTS_KILLS:-50} ANY_ORDER_EXAMPLES=10 \
		$(VENV)/pytest tests/faults tests/lake/test_any_order.py tests/integration/test_any_order.py

bench: setup ## measure
	@$(VENV)/python -m tests.benchmarks.run

bench-segmentation: setup ## what the segments are worth and cost, beside scikit-learn: a quarter of an hour
	@$(VENV)/python -m tests.benchmarks.segmentation

bench-dashboard: up ## loads 30 dates of 100,000 events into the stack, then times the pages; PICTURES=folder
	@$(VENV)/python -m tests.benchmarks.dashboard $(if $(PICTURES),--pictures "$(PICTURES)")

run: up ## the whole pipeline over three dates, through Airflow; then what stands in the lake
	@$(VENV)/python -m infra.local.run_pipeline

backfill: $(VENV)/python ## the DAG over past dates: FROM=2025-04-01 TO=2025-04-30; DRY_RUN=1, FORCE=1, SOURCE, EVENTS, FILE
	@test -n "$(FROM)" -a -n "$(TO)" || { echo 'say which dates: make backfill FROM=2025-04-01 TO=2025-04-30' >&2; exit 2; }
	@$(VENV)/python -m infra.local.backfill --from-date "$(FROM)" --to-date "$(TO)" $(if $(filter-out 0,$(DRY_RUN)),--dry-run) \
		$(if $(filter-out 0,$(FORCE)),--force) $(if $(SOURCE),--source "$(SOURCE)") $(if $(EVENTS),--events "$(EVENTS)") \
		$(if $(FILE),--replay-file "$(FILE)")

query: $(VENV)/python ## ask Athena: SQL="SELECT ...", or NAME=segments_today; alone it lists the named queries
	@$(VENV)/python -m infra.local.athena.query_command $(if $(value SQL),--sql "$$SQL_TEXT") $(if $(NAME),--name $(NAME))

requeue: $(VENV)/python ## publish quarantined records again: WHERE="error_type = 'bad_price'", PAYLOAD="SQL over payload_text", DRY_RUN=1
	@test -n "$$WHERE_TEXT" || { echo "say which: make requeue WHERE=\"error_type = 'bad_price'\" DRY_RUN=1" >&2; exit 2; }
	@$(JOB)/requeue_quarantined.py --where "$$WHERE_TEXT" \
		$(if $(value PAYLOAD),--payload "$$PAYLOAD_TEXT") $(if $(filter-out 0,$(DRY_RUN)),--dry-run)

rollback: $(VENV)/python ## a table back to what it held before: TABLE=events with DATE=2025-04-01, SNAPSHOT=..., or both
	@test -n "$(TABLE)" || { echo 'say which table: make rollback TABLE=events DATE=2025-04-01' >&2; exit 2; }
	@$(JOB)/rollback_table.py --table "$(TABLE)" $(if $(DATE),--date "$(DATE)") $(if $(SNAPSHOT),--snapshot "$(SNAPSHOT)")

forget: $(VENV)/python ## remove a user from every table and every retained snapshot, for good: USER=0000700123
	@test "$(origin USER)" = 'command line' || { echo 'say whom: make forget USER=0000700123' >&2; exit 2; }
	@$(JOB)/forget_user.py "--user=$$FORGOTTEN_USER"

maintain: $(VENV)/python ## compact small files, expire old snapshots, delete orphan files
	@$(JOB)/maintain_tables.py

segments: $(VENV)/python ## the newest segments as a table, and a report with plots: DATE=2025-04-03
	@$(JOB)/report_segments.py --html .local/segments.html $(if $(DATE),--date "$(DATE)")

dashboard: up ## the pages of the stack, at http://127.0.0.1:8501

replay: setup ## a real file through Kafka and the DAG: FILE=events.csv.gz
	@test -n "$(FILE)" || { echo 'say which file: make replay FILE=events.csv.gz' >&2; exit 2; }
	@$(STACK) up
	@$(VENV)/python -m infra.local.replay_file "$(FILE)"
