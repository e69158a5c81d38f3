# `make run` sets up and runs the main job; `make test` sets up and passes the tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Installs several times faster than pip.
UV := uv==0.13.9
# Where uv finds no package index, pip may: it reads another configuration.
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(1) \
	|| $(BIN)/python -m pip install --quiet $(1)

.PHONY: env env-distributed run test test-slow test-distributed lint types bench wheel lock clean

env: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(UV)
	$(call INSTALL,--requirement requirements.lock)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q runner
	touch $@

# Adds the engines for more than one machine.
env-distributed: $(VENV)/.ready-distributed

$(VENV)/.ready-distributed: $(VENV)/.ready requirements-distributed.lock
	$(call INSTALL,--requirement requirements-distributed.lock)
	touch $@

# make run ARGS="data=wine model=random_forest"
run: env
	$(BIN)/python -m runner $(ARGS)

test: env
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The long ones.
test-slow: env
	$(BIN)/python -m pytest -m slow $(ARGS)

# Real dask and Ray clusters, SLURM and PostgreSQL; the last two as far as they can be installed.
DEBIAN := slurm-wlm munge postgresql
test-distributed: env-distributed
	dpkg -s $(DEBIAN) >/dev/null 2>&1 || apt-get install --yes --quiet $(DEBIAN) \
		|| echo "not installed, so not tested: $(DEBIAN)"
	$(BIN)/python -m pytest tests/clusters tests/test_launchers.py tests/test_slurm.py \
		tests/test_shared_search.py tests/test_shared_storage.py tests/search/test_shared_study.py $(ARGS)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

# Side by side with the ways people tune today.
bench: env
	$(call INSTALL,--requirement requirements-bench.lock)
	$(BIN)/python -m benchmarks $(ARGS)

wheel: env
	$(BIN)/python -m build --wheel --no-isolation

# Pin the newest versions that pyproject.toml allows.
lock: env
	$(BIN)/uv pip compile pyproject.toml --extra dev --prerelease if-necessary-or-explicit \
		--python-version 3.11 --no-emit-index-url --no-header --upgrade --quiet \
		--output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra distributed --constraint requirements.lock \
		--prerelease if-necessary-or-explicit --python-version 3.11 --no-emit-index-url \
		--no-header --upgrade --quiet --output-file requirements-distributed.lock
	$(BIN)/uv pip compile pyproject.toml --extra bench --constraint requirements.lock \
		--prerelease if-necessary-or-explicit --python-version 3.11 --no-emit-index-url \
		--no-header --upgrade --quiet --output-file requirements-bench.lock

clean:
	rm -rf $(VENV) dist build
