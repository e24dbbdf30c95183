# cardwatch: everything a developer types. Needs python3 (3.11 or newer), git and make; the rest goes into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
# Passed on to the command behind the verb: make demo ARGS="--until-case", make test ARGS="-k policy".
ARGS ?=

BIN := $(VENV)/bin
PACKAGES := $(VENV)/.packages
INSTALLED := $(VENV)/.installed
# Where kafka_2.13 and what it needs are put; ignored by git.
export CARDWATCH_KAFKA_LIBS ?= $(CURDIR)/.kafka/4.1.0

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'
	@echo '  ARGS="..."   goes to the command behind the verb, as in: make demo ARGS="--until-case"'

.PHONY: demo
demo: $(INSTALLED) ## Run everything on this machine and watch an attack being caught (Ctrl-C ends it)
	@$(BIN)/cardwatch demo $(ARGS)

# The two halves of `make test`, for two cores, each one after the other; CI divides them otherwise and adds test-kafka.
MAIN ?= test-most
BESIDE ?= test-plain test-plain-models test-sim
# Of the larger half only what has these marks; CI leaves out what it runs on a real Kafka beside.
MOST ?=
# How tests are run; `make coverage` watches what they reach, which takes half as long again.
RUN ?= python -m

.PHONY: test
test: $(INSTALLED) ## Run the tests on embedded services, and the kernels once more as plain Python
	@mkdir -p .cache; $(MAKE) --no-print-directory -j1 --keep-going $(BESIDE) > .cache/test-beside.log 2>&1 & beside=$$!; \
	ended=0; $(MAKE) --no-print-directory -j1 --keep-going $(MAIN) || ended=1; \
	echo "== the other half, which ran meanwhile"; wait $$beside || ended=1; cat .cache/test-beside.log; exit $$ended

.PHONY: coverage
coverage: $(INSTALLED) ## Run the tests as `make test` does, and report what they do not reach
	@$(BIN)/coverage erase
	@$(MAKE) --no-print-directory test RUN="coverage run -m"
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

# Simulation and drills compute, or wait for alerts to fire, and disturb what runs beside but little.
.PHONY: test-most test-plain test-plain-models test-sim
test-most: $(INSTALLED)
	CARDWATCH_TEST_JIT=on NUMBA_DISABLE_JIT=0 $(BIN)/$(RUN) pytest --durations=15 \
		$(if $(ARGS),$(ARGS),$(if $(MOST),-m "$(MOST)") --ignore=tests/sim --ignore=tests/integration)

# The kernels and what calls them once more, as plain Python.
PLAIN := CARDWATCH_TEST_JIT=off NUMBA_DISABLE_JIT=1 $(BIN)/$(RUN) pytest --durations=5 \
	-m "not kafka and not compiled and not slow"

test-plain: $(INSTALLED)
	$(PLAIN) tests/detector --ignore=tests/detector/models tests/style/test_jit.py \
		tests/streams/test_scanning.py tests/streams/test_record_table.py tests/streams/test_plain_decisions.py

test-plain-models: $(INSTALLED)
	$(PLAIN) tests/detector/models

test-sim: $(INSTALLED)
	$(if $(ARGS),,CARDWATCH_TEST_JIT=on NUMBA_DISABLE_JIT=0 $(BIN)/python -m pytest --durations=15 \
		tests/sim tests/integration)

# The first seed that `make sim` plays; with ARGS="--count 1000" it plays many.
SEED ?= 0

.PHONY: sim
sim: $(INSTALLED) ## Play one seed of the simulation and show what happened (SEED=17)
	@$(BIN)/python -W ignore -m tests.sim $(SEED) $(ARGS)

.PHONY: check
check: $(PACKAGES) ## Lint, format check, types, floors, tidiness, pages that are generated
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.style.tidy
	$(BIN)/python -m pytest -q -m generated tests/cardwatch tests/dashboards tests/telemetry

.PHONY: bench
bench: $(INSTALLED) ## Run the benchmarks and write their tables into docs/
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-check
bench-check: $(INSTALLED) ## Fail where the hot path has become slower than at the last release (ARGS="--base COMMIT")
	@$(BIN)/python -m benchmarks.check $(ARGS)

.PHONY: lock
lock: $(INSTALLED) ## Resolve requirements.lock anew from pyproject.toml (ARGS="--upgrade" for newer versions)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet \
		--output-file requirements.lock $(ARGS)
	$(BIN)/uv pip compile pyproject.toml --extra postgres --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet \
		--output-file deploy/container/requirements.lock

.PHONY: test-kafka
test-kafka: $(INSTALLED) $(CARDWATCH_KAFKA_LIBS)/.fetched ## Run the integration tests on a real Kafka and Debian's Redis (needs java, mvn, redis-server)
	CARDWATCH_TEST_JIT=on $(BIN)/python -m pytest -m kafka --durations=15 $(ARGS)

.PHONY: test-faults
test-faults: $(INSTALLED) $(CARDWATCH_KAFKA_LIBS)/.fetched ## Inflict every fault of the matrix on a real Kafka and Redis, and count (CARDWATCH_FAULTS=300 for more)
	CARDWATCH_TEST_JIT=on $(BIN)/python -m pytest -s -m faults $(ARGS)

$(PACKAGES): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "cardwatch needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.lock names into $(VENV) ..."
	@# The lock is whole; what a package asks for beyond it was left out on purpose (tool.uv in pyproject.toml).
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --no-compile --requirement requirements.lock
	@# pip would compile on one core. What does not compile is a template or test that some package carries along.
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED): $(PACKAGES)
	@echo "Compiling the kernels and training the demo's first model (once) ..."
	@$(BIN)/cardwatch warm
	@touch $@

$(CARDWATCH_KAFKA_LIBS)/.fetched: tests/kafka/pom.xml
	@echo "Fetching Kafka from Maven Central into $(@D) ..."
	@mvn --batch-mode --quiet --file tests/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=$(@D)
	@touch $@
