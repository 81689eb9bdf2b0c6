# make demo: build a real Debian package in a copy-on-write session.   make test: linters, types, tests.
# make bench, bench-quick, bench-vm: measure beside other file systems, as root; see docs/benchmarks.md.
# All set the machine up first, each what it needs (packages.txt, .venv); a second run finds that done.

VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench bench-quick bench-vm bench-report setup-demo setup setup-bench clean

demo: setup-demo
	$(BIN)/python -m setup.demo

test: lint
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet . || { echo "Not formatted as ruff does it: $(BIN)/ruff format" >&2; exit 1; }
	$(BIN)/mypy

# Some 40 minutes, when what it works on was downloaded once.
bench: setup-bench
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.report

# Under 5 minutes: a first impression, and whether cowfs asks more often than it did.
bench-quick: setup-bench
	$(BIN)/python -m benchmarks.guard
	$(BIN)/python -m benchmarks.run --quick --results .bench-quick
	$(BIN)/python -m benchmarks.report --results .bench-quick

# LVM beside the others, in a guest that needs no support by the processor.
bench-vm: setup-bench
	$(BIN)/python -m benchmarks.vm
	$(BIN)/python -m benchmarks.report

bench-report: setup-bench
	$(BIN)/python -m benchmarks.report

setup-demo: $(VENV)/.python-packages

$(VENV)/.system-packages: setup/packages.txt setup/system-packages
ifndef SKIP_SYSTEM_PACKAGES
	setup/system-packages
endif
	@mkdir -p $(VENV)
	@touch $@

$(VENV)/.python-packages: $(VENV)/.system-packages pyproject.toml setup/find-python
	@python=$$(setup/find-python) && $(MAKE) --no-print-directory venv PYTHON=$$python
	@echo "Installing Python packages in $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

setup: $(VENV)/.test-packages

$(VENV)/.test-packages: $(VENV)/.python-packages tests/packages.txt
ifndef SKIP_SYSTEM_PACKAGES
	setup/system-packages tests/packages.txt
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup-bench: setup $(VENV)/.bench-packages

$(VENV)/.bench-packages: $(VENV)/.test-packages benchmarks/packages.txt
ifndef SKIP_SYSTEM_PACKAGES
	setup/system-packages benchmarks/packages.txt
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

.PHONY: venv
venv:
	@test -x $(BIN)/python -a -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .demo .cache .bench-quick .mypy_cache .ruff_cache .pytest_cache
