# Two commands matter: `make demo` and `make test`. Both install what they need.
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
JOBS ?= 2
RERUNS ?= 0
export PYTHONDONTWRITEBYTECODE = 1
NEUTRON_PYTEST := $(VENV)-openstack/bin/python -m pytest -c /dev/null --rootdir . --noconftest -p no:cacheprovider \
	-q -W ignore --timeout 240 tests/upstream/ml2_suite.py

.PHONY: help deps runtimes openstack demo test check unit contract functional neutron neutron-suite tempest system bench mutants docs clean

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

deps: ## Install Debian packages and the locked virtual environment
	@packaging/bootstrap $(VENV)

runtimes: deps ## Install the container runtimes that the tests drive as well
	@packaging/bootstrap $(VENV) runtimes

openstack: deps ## Install Neutron in an environment of its own, and PostgreSQL, for the tests of the driver
	@packaging/bootstrap $(VENV) openstack

demo: deps ## A real multi-host network on this machine, with policy that packets obey
	@$(BIN)/calico lab demo

test: check unit contract functional neutron system ## Everything: lint, types, layers, and all tests
	@echo "make test: all green"

check: deps ## Lint, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: deps ## Tests of the pure core
	$(PYTEST) tests/unit -n $(JOBS) -q

contract: deps ## Fakes and real things held by one suite
	$(PYTEST) tests/contract -q

functional: runtimes openstack ## One real kernel namespace, etcd, BIRD, Neutron
	$(PYTEST) tests/functional -q --reruns $(RERUNS)

neutron: openstack ## Neutron's own tests of how ports are bound, with our driver
	$(NEUTRON_PYTEST) -k "Binding or PortSecurity"

neutron-suite: openstack ## All of Neutron's own ML2 tests with our driver: 20 minutes
	$(NEUTRON_PYTEST)

tempest: openstack ## OpenStack's own API tests against Neutron with our driver and a real Keystone
	@packaging/bootstrap $(VENV) tempest
	$(VENV)-tempest/bin/python tests/tempest_suite/run.py $(SUITE)

system: openstack ## Many hosts in the lab, with real packets; also those of a cloud
	$(PYTEST) tests/system -q --reruns $(RERUNS)

bench: runtimes openstack ## Measurements as ratios against a peer; results in bench/results
	@for bench in bench/[a-z]*.py; do echo "== $$bench"; $(BIN)/python $$bench $(BENCH_ARGS) || exit 1; done

mutants: deps ## Break rules and calc in one place at a time: does a test notice? ONLY=rules/lists for one module
	$(BIN)/python tests/mutation/run.py $(ONLY)

docs: deps ## Build the documentation site
	UV_SYSTEM_CERTS=true UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --frozen --quiet --group docs
	$(BIN)/mkdocs build --strict --quiet
	@echo "the site is in site/"

clean: ## Remove everything that was built, and all labs
	@if [ -x $(BIN)/calico ]; then $(BIN)/calico lab down --all || true; fi
	rm -rf $(VENV) $(VENV)-openstack $(VENV)-tempest .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache site dist build bench/results
