# make setup   build the environment in .venv (quick when nothing changed)
# make train   train; flags in ARGS: make train ARGS="--env Pong-v4 --workers 4"
# make test    the tests; options in ARGS: make test ARGS="-k live -x"
# make slow    the tests that train to a score
# make track   the tests with Weights & Biases' library, offline; installs it, 110 MB
# make cluster the tests on a Ray cluster on this machine; installs Ray, 240 MB
# make docs    the documents as a site, in site/; a broken link fails it; installs mkdocs, 120 MB
# make reproduce AGENT=NAME   train an agent of checkpoints/released anew, and score it beside the one there
# make gpu     the tests and measurements for a machine with a GPU, within 8 minutes; installs nothing
# make regress three small trainings with three seeds each, compared with what they reached before
# make chaos   100 rounds of random faults on a real training, 10 to 30 minutes
# make soak    60 minutes of training, watched for leaks
# make check   linter, format, types, and `make test`: what a change has to pass
# make tmux    trainer, status and TensorBoard in one tmux session; flags in A3C_ARGS
# make clean   remove .venv and caches; runs under checkpoints/ stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
TMUX_SESSION := tmux -L a3c -f tmux.conf
# Two tests at a time: much of a test is waiting for a process to start.
PARALLEL := -n 2 --dist worksteal

.PHONY: setup train test slow track cluster docs reproduce regress gpu chaos soak lint check tmux clean

setup: $(STAMP)
	@true

$(STAMP): pyproject.toml setup.py constraints.txt a3c/networks/pooling.c a3c/envs/screen.c
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or \
		sys.exit("error: Python 3.11 or newer is needed; name one: make setup PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[dev]'
	@touch $(STAMP)

train: setup
	$(BIN)/python run.py $(ARGS)

test: setup
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

slow: setup
	$(BIN)/python -m pytest -m "slow and not cluster" $(ARGS)

track: setup
	$(INSTALL) '.[track]'
	$(BIN)/python -m pytest -m track $(ARGS)

# In a name space where there is nothing but loopback, to which Ray then binds; what is left ends with it.
ALONE := unshare --net --pid --fork --mount-proc --kill-child

cluster: setup
	$(INSTALL) '.[cluster]'
	@if $(ALONE) ip link set lo up 2>/dev/null; then \
		$(ALONE) sh -c 'ip link set lo up && "$$@"; exit $$?' sh $(BIN)/python -m pytest -m 'cluster and not slow' tests/cluster $(ARGS); \
	else echo "make cluster: not tested, for unshare may make no name spaces here; root may"; fi

docs: setup
	$(INSTALL) '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	$(BIN)/python -m pytest -m docs $(ARGS)

reproduce: setup
	$(BIN)/python -m benchmarks.reproduce $(AGENT) $(ARGS)

regress: setup
	$(BIN)/python -m benchmarks.regress $(ARGS)

# With what is installed where nothing was set up: a machine that is rented by the minute may reach no package index.
gpu:
	$(if $(wildcard $(STAMP)),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu $(ARGS)

chaos: setup
	$(BIN)/python -m benchmarks.chaos $(ARGS)

soak: setup
	$(BIN)/python -m benchmarks.soak $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

check: lint test

tmux:
	@$(TMUX_SESSION) has-session -t a3c 2>/dev/null || $(TMUX_SESSION) new-session -d
	@if [ -t 1 ]; then env -u TMUX $(TMUX_SESSION) attach-session -t a3c; \
		else echo "the session runs; look at it with: tmux -L a3c attach"; fi

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
