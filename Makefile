# make demo: build a real Debian package in a copy-on-write session.   make test: linters, types, tests.
# Both set the machine up first (setup/packages.txt, .venv); a second run finds that done.

VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench setup clean

demo: setup
	$(BIN)/python -m builder.demo

test: lint
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

# Beside overlayfs and fuse-overlayfs, as root; see docs/performance.md.
bench: setup
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.build
	$(BIN)/python -m benchmarks.install

setup: $(VENV)/.python-packages

$(VENV)/.system-packages: setup/packages.txt setup/system-packages
ifndef SKIP_SYSTEM_PACKAGES
	setup/system-packages
endif
	@mkdir -p $(VENV)
	@touch $@

$(VENV)/.python-packages: $(VENV)/.system-packages pyproject.toml setup/find-python
	@python=$$(setup/find-python) && $(MAKE) --no-print-directory venv PYTHON=$$python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

.PHONY: venv
venv:
	@test -x $(BIN)/python -a -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .demo .cache .mypy_cache .ruff_cache .pytest_cache
