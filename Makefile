# Every target installs what it needs. On a machine of your own: `make run`, then http://localhost:9102/metrics

SHELL := /bin/bash
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=KEPLER_LISTEN)
VENV := .venv
BIN := $(VENV)/bin
ROOT_ENV := $(SUDO) env $(foreach v,$(filter KEPLER_%,$(.VARIABLES)),$(v)='$($(v))')

.PHONY: help setup run check test test-kernels lint bench study generated deb preview doctor release clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## bcc from the distribution, everything else into .venv (leaves .venv/bin/kepler-ebpf)

# Before pip 21.3 (Debian 11, Ubuntu 20.04) nothing is editable by pyproject.toml.
$(VENV)/.installed: setup.cfg pyproject.toml deploy/install-packages
	$(SUDO) deploy/install-packages run
	/usr/bin/python3 -m venv --system-site-packages $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check 'pip>=21.3'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[gpu,web,cri,record,report]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed deploy/install-packages
	$(SUDO) deploy/install-packages test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[gpu,web,cri,record,report,test,dev]'
	@touch $@

run: setup  ## start the collector: metrics at http://localhost:9102/metrics
	$(ROOT_ENV) $(BIN)/kepler-ebpf serve

doctor: setup  ## what this machine offers
	$(ROOT_ENV) $(BIN)/kepler-ebpf doctor

check: $(VENV)/.installed-dev lint  ## lint, types, and the tests that need neither root nor a kernel (a minute)
	KEPLER_TESTS=quick $(BIN)/pytest -q -m "not kernel" $(TESTS)

test: $(VENV)/.installed-dev  ## the whole test suite (the kernel's part needs root, or sudo)
	$(SUDO) env CI=$(CI) $(BIN)/pytest -q $(TESTS)

test-kernels: $(VENV)/.installed-dev  ## virtual machines with other kernels and layouts of cgroups (a quarter of an hour)
	$(SUDO) deploy/install-packages kernels
	$(SUDO) env CI=$(CI) $(BIN)/pytest -q tests/guests

lint: $(VENV)/.installed-dev  ## ruff and mypy, over tests and benchmarks too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src tests benchmarks deploy

bench: $(VENV)/.installed-dev  ## speed and memory, as a table, in docs/overhead.md and benchmarks/results.json
	$(SUDO) deploy/install-packages bench
	$(SUDO) $(BIN)/python -m benchmarks --json benchmarks/results.json --write docs/overhead.md

study: $(VENV)/.installed-dev  ## the accuracy study on simulated machines: fills docs/accuracy.md
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[study]'
	$(BIN)/python -m benchmarks.study --write docs/accuracy.md

generated: $(VENV)/.installed-dev  ## rewrite what deploy/generate.py makes: Operator rules, dashboards
	$(BIN)/python -m deploy.generate

release:  ## another version everywhere: make release VERSION=1.2.3 (RELEASE.md)
	python3 -m deploy.release $(VERSION)

deb:  ## the Debian package, in dist/
	deploy/debian/build dist

preview: $(VENV)/.installed-dev  ## pictures of the dashboards over real data (two and a half minutes)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[study]'
	$(SUDO) $(BIN)/python -m tests.e2e.preview docs/pictures --seconds 120

clean:  ## remove what make made
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
