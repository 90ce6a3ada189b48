# Every target installs what it needs. On a machine of your own: `make run`, then http://localhost:9102/metrics

SHELL := /bin/bash
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=KEPLER_LISTEN)
VENV := .venv
BIN := $(VENV)/bin
ROOT_ENV := $(SUDO) env $(foreach v,$(filter KEPLER_%,$(.VARIABLES)),$(v)='$($(v))')

.PHONY: help setup run check test test-kernels test-endurance test-cluster lint fuzz soak bench slowdown peers rates study generated deb preview doctor release clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: packages-run $(VENV)/.installed  ## bcc from the distribution, everything else into .venv (leaves .venv/bin/kepler-ebpf)

# Asks for root only where something is missing.
packages-%:
	deploy/install-packages $*

# Before pip 21.3 (Debian 11, Ubuntu 20.04) nothing is editable by pyproject.toml.
$(VENV)/.installed: setup.cfg pyproject.toml
	/usr/bin/python3 -m venv --system-site-packages $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check 'pip>=21.3'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[gpu,web,cri,record,report,terminal]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[gpu,web,cri,record,report,terminal,test,dev]'
	@touch $@

run: setup  ## start the collector: metrics at http://localhost:9102/metrics
	$(ROOT_ENV) $(BIN)/kepler-ebpf serve

doctor: setup  ## what this machine offers
	$(ROOT_ENV) $(BIN)/kepler-ebpf doctor

check: $(VENV)/.installed-dev lint  ## lint, types, and the tests that need neither root nor a kernel, as any user (a minute)
	KEPLER_TESTS=quick $(BIN)/pytest -q -m "not kernel" $(TESTS)

test: packages-test $(VENV)/.installed-dev  ## the whole test suite (the kernel's part needs root, or sudo)
	$(SUDO) env CI=$(CI) tests/halves $(BIN)/pytest -q $(TESTS)

test-kernels: packages-kernels $(VENV)/.installed-dev  ## virtual machines with other kernels and layouts of cgroups (a quarter of an hour)
	$(SUDO) env CI=$(CI) $(BIN)/pytest -q tests/guests

test-endurance: $(VENV)/.installed-dev  ## stopped for a minute, 20,000 threads, thousands of cgroups a second (six minutes)
	$(SUDO) env CI=$(CI) $(BIN)/pytest -q -s tests/endurance

KUBERNETES := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kepler-ebpf/kubernetes
test-cluster: packages-cluster $(VENV)/.installed-dev  ## a real Kubernetes node (a quarter of an hour; the first time 12 minutes of CPU more)
	tests/cluster/build-kubernetes $(KUBERNETES)
	$(SUDO) env CI=$(CI) KUBERNETES=$(KUBERNETES) $(BIN)/pytest -q -s tests/cluster

lint: $(VENV)/.installed-dev  ## ruff and mypy, over tests and benchmarks too; clang-format
	$(BIN)/clang-format --dry-run -Werror bpf/*.[ch]
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src tests benchmarks deploy

FUZZ_SECONDS := 120
fuzz: $(VENV)/.installed-dev  ## every parser of outside data under inputs by coverage, FUZZ_SECONDS in all (two minutes)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

SOAK_MINUTES := 30
soak: $(VENV)/.installed-dev  ## a collector beside what wears it out, for SOAK_MINUTES (30): memory, rows, books, as a table
	$(SUDO) $(BIN)/python -m benchmarks.soak --minutes $(SOAK_MINUTES)

bench: packages-bench $(VENV)/.installed-dev  ## speed and memory, as a table, in docs/overhead.md and benchmarks/results.json
	$(SUDO) $(BIN)/python -m benchmarks --json benchmarks/results.json --write docs/overhead.md

slowdown: packages-bench $(VENV)/.installed-dev  ## how much slower others run beside the collector, in twenty pairs (seven minutes), in docs/overhead.md
	$(SUDO) $(BIN)/python -m benchmarks.slowdown --write docs/overhead.md

peers: $(VENV)/.installed-dev  ## beside others: make peers KEPLER=… SCAPHANDRE=… ALUMET=… (paths of programs, each may be left out)
	$(SUDO) $(BIN)/python -m benchmarks.peers --write docs/comparison.md \
		$(if $(KEPLER),--kepler '$(KEPLER)') $(if $(SCAPHANDRE),--scaphandre '$(SCAPHANDRE)') $(if $(ALUMET),--alumet '$(ALUMET)')

PROMETHEUS := prometheus
rates: packages-test $(VENV)/.installed-dev  ## whether rates add up to the node's in a real Prometheus, PROMETHEUS='…' (seven minutes each), in docs/prometheus.md
	$(SUDO) $(BIN)/python -m benchmarks.rates $(PROMETHEUS) --write docs/prometheus.md

study: $(VENV)/.installed-dev  ## the accuracy study on simulated machines: fills docs/accuracy.md
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[study]'
	$(BIN)/python -m benchmarks.study --write docs/accuracy.md

generated: $(VENV)/.installed-dev  ## rewrite what deploy/generate.py makes: Operator rules, dashboards, the manual page, tables in docs/
	$(BIN)/python -m deploy.generate

release:  ## another version everywhere: make release VERSION=1.2.3 (RELEASE.md)
	python3 -m deploy.release $(VERSION)

deb:  ## the Debian package, in dist/
	deploy/debian/build dist

preview: packages-test $(VENV)/.installed-dev  ## pictures of the dashboards over real data (two and a half minutes)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[study]'
	$(SUDO) $(BIN)/python -m deploy.preview docs/pictures --seconds 120

clean:  ## remove what make made
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
