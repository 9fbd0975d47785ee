# `make help` lists what there is. Everything is installed into .venv, but for Debian packages that are missing:
# the one that Python needs to make it, and those that `make cluster`, `make lint` and `make test` need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGING := setup.py pyproject.toml

BACKEND ?= $(or $(PERSONA_BACKEND),memory)
URL_sqlite := sqlite:///var/development.sqlite

.DEFAULT_GOAL := help
.PHONY: help run run-evp cluster test test-pythons coverage lint lock format benchmark loadtest loadtest-promote clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 28

run: $(VENV)/installed ## start the development server on http://127.0.0.1:6543/ (BACKEND=sqlite keeps data)
	@PERSONA_BACKEND=$(BACKEND) PERSONA_BACKEND_URL='$(or $(PERSONA_BACKEND_URL),$(URL_$(BACKEND)))' exec $(BIN)/persona-profile serve

run-evp: $(VENV)/installed ## beside `make run`: a Chromium that proves addresses by email verification tokens
	@exec $(BIN)/python -m persona_profile.development.chromium $(ARGS)

cluster: $(VENV)/installed-redis ## start MariaDB nodes (SHARDS=3: shards), Redis, two service machines and nginx here
	@sh tests/install-debian-packages $$(sh deploy/cluster/missing-debian-packages)
	@exec $(BIN)/python deploy/cluster/cluster.py $(if $(SHARDS),--shards $(SHARDS) --folder var/shards) $(ARGS)

# One more than cores, and 4 at the most: many tests wait for a command, a crash or a time limit.
TESTERS = $(shell cores=$$(nproc); test $$cores -lt 4 && echo $$((cores + 1)) || echo 4)

test: $(VENV)/installed-tools ## install what the tests need, and run all of them
	@sh tests/install-debian-packages $$(sh tests/missing-debian-packages)
	node --test tests/unit/static/*.test.js
	$(BIN)/pytest --numprocesses=$(TESTERS) --dist=worksteal -m 'not alone' $(ARGS)
	$(BIN)/pytest -m alone $(ARGS)

test-pythons: $(VENV)/installed-tools ## unit tests under each Python of this machine, 3.11 to 3.14 (PYTHONS="3.13 3.14")
	@sh tests/install-debian-packages $$(sh tests/missing-debian-packages node)
	$(BIN)/python tests/run_pythons.py --pythons '$(PYTHONS)' $(ARGS)

coverage: $(VENV)/installed-tools ## run the tests, and list the lines that none of them reaches
	@sh tests/install-debian-packages $$(sh tests/missing-debian-packages)
	@mkdir -p var/coverage
	-$(BIN)/pytest --cov --cov-report= --numprocesses=$(TESTERS) --dist=worksteal -m 'not alone' $(ARGS)
	$(BIN)/pytest --cov --cov-append -m alone $(ARGS)

lint: $(VENV)/installed-tools node_modules/installed ## style, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy deploy/cluster/*.py
	$(BIN)/lint-imports
	$(BIN)/python .ci/plain-words
	npm run --silent lint

lock: $(VENV)/installed-tools ## renew the dependencies that production installs, with their hashes
	$(BIN)/python requirements/lock.py

format: $(VENV)/installed-tools node_modules/installed ## put the code into the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	npm run --silent format

# Those that need no more than the tests do; benchmarks/README.md describes the others. The last one needs two
# programs more, and says so.
BENCHMARKS := requests_per_second processes rate_limits tracing storage galera_reads shards key_wrapping \
  picture_saturation picture_reduction picture_cost

benchmark: $(VENV)/installed-tools ## measure, as ratios of two things run side by side
	@sh tests/install-debian-packages $$(sh tests/missing-debian-packages)
	@for each in $(BENCHMARKS); do echo "$$each"; $(BIN)/python benchmarks/$$each.py || exit 1; done

loadtest: $(VENV)/installed-tools ## a load test of some two minutes against a server of its own
	$(BIN)/python -m loadtest.run smoke $(ARGS)

loadtest-promote: $(VENV)/installed-tools ## may HOST=https://... carry USERS=1000000? (docs/how-to/load-test.md)
	@test -n '$(HOST)' -a -n '$(USERS)' || { echo 'make loadtest-promote HOST=https://... USERS=1000000' >&2; exit 2; }
	$(BIN)/python -m loadtest.run promote --host '$(HOST)' --users '$(USERS)' $(ARGS)

clean: ## remove everything that the other commands made
	rm -rf $(VENV) var build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf node_modules tests/oracle/node_modules

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh tests/install-debian-packages \
	  $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python $(PACKAGING)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-redis: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[redis]'
	@touch $@

$(VENV)/installed-tools: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lint,test]'
	@touch $(VENV)/installed-redis $@

node_modules/installed: package.json package-lock.json
	@sh tests/install-debian-packages $$(sh tests/missing-debian-packages node)
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
