# Two commands matter: `make demo` and `make test`. Both install what they need.
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
JOBS ?= 2
RERUNS ?= 0
# rooms of tests/functional whose tests mostly wait for daemons: these run side by side
WAITING := bgp cli client compute datastore interop
# rooms whose tests have a kernel namespace of their own: as many side by side as there are processors, but for those
# that are marked alone
KERNEL := cni felix host nft packaging rules worlds
# speaks gRPC from within a namespace, so no other test may have spoken it in its process before
INSIDE := pods
export PYTHONDONTWRITEBYTECODE = 1
NEUTRON_PYTEST := $(VENV)-openstack/bin/python -m pytest -c /dev/null --rootdir . --noconftest -p no:cacheprovider \
	-q -W ignore --timeout 240 tests/upstream/ml2_suite.py

.PHONY: help deb image deps runtimes openstack kubernetes kubernetes-ahead kubernetes-e2e kubernetes-install demo test check unit contract functional neutron neutron-suite neutron-versions tempest system bench schedules leaks mutants docs clean

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

deps: ## Install Debian packages and the locked virtual environment
	@packaging/bootstrap $(VENV)

runtimes: deps ## Install the container runtimes that the tests drive as well
	@packaging/bootstrap $(VENV) runtimes

openstack: deps ## Install Neutron in an environment of its own, and PostgreSQL, for the tests of the driver
	@packaging/bootstrap $(VENV) openstack

kubernetes: deps ## Build Kubernetes 1.20.2 from Debian's source package, once: 12 minutes; CALICO_NO_KUBERNETES_BUILD=1 does not
	@packaging/bootstrap $(VENV) kubernetes
	@[ "$$CALICO_NO_KUBERNETES_BUILD" = 1 ] || packaging/kubernetes/build

kubernetes-ahead: deps
	@packaging/bootstrap $(VENV) kubernetes
	@[ "$$CALICO_NO_KUBERNETES_BUILD" = 1 ] || { nice -n 19 packaging/kubernetes/build >/dev/null 2>&1 & }

demo: deps ## A real multi-host network on this machine, with policy that packets obey
	@$(BIN)/calico lab demo

test: kubernetes-ahead check unit contract functional neutron system ## Everything: lint, types, layers, and all tests
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

functional: runtimes openstack kubernetes ## One real kernel namespace, etcd, BIRD, Neutron
	$(PYTEST) $(WAITING:%=tests/functional/%) -n $(shell expr $(JOBS) + 1) --dist loadfile -q --reruns $(RERUNS)
	$(PYTEST) $(KERNEL:%=tests/functional/%) -n $(JOBS) --dist loadfile -m "not alone" -q --reruns $(RERUNS)
	$(PYTEST) tests/functional $(patsubst %,--ignore=tests/functional/%,$(WAITING) $(KERNEL) $(INSIDE)) -q --reruns $(RERUNS)
	$(PYTEST) $(INSIDE:%=tests/functional/%) -n $(JOBS) --dist loadfile -q --reruns $(RERUNS)
	$(PYTEST) $(KERNEL:%=tests/functional/%) -m alone -q --reruns $(RERUNS)

neutron: openstack ## Neutron's own tests of how ports are bound, with our driver
	$(NEUTRON_PYTEST) -k "Binding or PortSecurity"

neutron-suite: openstack ## All of Neutron's own ML2 tests with our driver: 20 minutes
	$(NEUTRON_PYTEST)

neutron-versions: openstack ## The driver on Neutron 26, 27 and 28 as well: 15 minutes; SERIES=26 for one
	@packaging/neutron-versions $(VENV) $(VENV)-neutrons $(SERIES)

tempest: openstack ## OpenStack's own API tests against Neutron with our driver and a real Keystone
	@packaging/bootstrap $(VENV) tempest
	$(VENV)-tempest/bin/python tests/tempest_suite/run.py $(SUITE)

kubernetes-e2e: kubernetes ## Kubernetes' own tests of NetworkPolicy on two whole nodes: 10 minutes
	@packaging/kubernetes/build e2e >/dev/null
	$(BIN)/python tests/kubernetes_suite/run.py $(FOCUS)

kubernetes-install: kubernetes ## Build the image, and install it by the manifest on a whole node: 5 minutes; needs mmdebstrap
	@image=$$(packaging/kubernetes/image/build $(VENV)) && $(BIN)/python tests/kubernetes_install/run.py $$image

system: openstack kubernetes ## Many hosts in the lab, with real packets; also those of a cloud
	$(PYTEST) tests/system -q --reruns $(RERUNS)

bench: runtimes openstack ## Measurements as ratios against a peer; results in bench/results
	@for bench in bench/[a-z]*.py; do echo "== $$bench"; $(BIN)/python $$bench $(BENCH_ARGS) || exit 1; done

schedules: deps ## Random faults under packets; SEED=N draws the same again, COUNT=M how many (default 50)
	COUNT=$(or $(COUNT),50) $(PYTEST) tests/functional/felix/test_schedules.py -v -x

leaks: deps ## Memory over cycles of many endpoints, and a pause of a minute
	LEAK_ENDPOINTS=10000 LEAK_CYCLES=20 CALICO_TEST_PAUSE_S=60 $(PYTEST) tests/functional/felix/test_overload.py -v -k "memory or pause" --timeout 3600

mutants: deps ## Break rules and calc in one place at a time: does a test notice? ONLY=rules/lists for one module
	$(BIN)/python tests/mutation/run.py $(ONLY)

deb: deps ## Build the Debian package in dist/, and try it on a Debian that is thrown away
	@package=$$(packaging/deb/build $(VENV) dist) && echo "$$package" && PACKAGE=$$package $(PYTEST) tests/package -q

image: deps ## The image for Kubernetes, dist/calico-image_*.tar, from Debian alone; needs root and mmdebstrap
	@packaging/kubernetes/image/build $(VENV)

docs: deps ## Build the documentation site
	UV_SYSTEM_CERTS=true UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --frozen --quiet --group docs
	$(BIN)/mkdocs build --strict --quiet
	@echo "the site is in site/"

clean: ## Remove everything that was built, and all labs
	@if [ -x $(BIN)/calico ]; then $(BIN)/calico lab down --all || true; fi
	rm -rf $(VENV) $(VENV)-openstack $(VENV)-neutrons $(VENV)-tempest .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache site dist build bench/results
