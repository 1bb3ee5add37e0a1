# make quickstart   train, evaluate every checkpoint and show the board, on two CPU cores
# make test         all checks but the slow ones; make test-all runs those too
# make lint         ruff and mypy
# make setup        the environment alone, $(VENV); like all of the above it is for the CPU, on a machine with GPUs too
# make gpu          the environment of a GPU node, $(VENV)-gpu: docs/gpu.md
# make evalplus     the second environment that grades code, $(VENV)-evalplus
# Each target does its own set-up; the second time it takes no time.
VENV ?= .venv
GPU_VENV ?= $(VENV)-gpu
BIN = $(VENV)/bin
# A test process for each core, two at least; one of them has all tests of the real stack (tests/conftest.py).
# Empty: one after another.
PARALLEL ?= -n auto --dist loadscope --no-loadscope-reorder
SOURCES = dipo_openrlhf eval/dipo_eval tests benchmarks ci

CPU_STAMP = $(VENV)/.installed-cpu
TEST_STAMP = $(VENV)/.installed-test
GPU_STAMP = $(GPU_VENV)/.installed-gpu
EVALPLUS_STAMP = $(VENV)-evalplus/.installed

.PHONY: setup gpu evalplus quickstart test test-all lint format clean

setup: $(CPU_STAMP)
gpu: $(GPU_STAMP)
evalplus: $(EVALPLUS_STAMP)

$(CPU_STAMP): requirements/cpu.txt requirements/install.sh setup.cfg
	requirements/install.sh $(VENV) cpu
	@touch $@

$(TEST_STAMP): $(CPU_STAMP) requirements/test.txt
	requirements/install.sh $(VENV) test
	@touch $@

$(GPU_STAMP): requirements/gpu.txt requirements/install.sh setup.cfg
	@requirements/install.sh $(GPU_VENV) gpu
	@touch $@

$(EVALPLUS_STAMP): requirements/evalplus.txt requirements/install.sh
	requirements/install.sh $(VENV)-evalplus evalplus
	@touch $@

quickstart: $(CPU_STAMP)
	@$(BIN)/dipo quickstart $(ARGS)

# Where it is set, as in many images, each of some thousand processes would compile again what it imports.
test test-all: export PYTHONDONTWRITEBYTECODE =

test: $(TEST_STAMP) $(EVALPLUS_STAMP)
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-all: $(TEST_STAMP) $(EVALPLUS_STAMP)
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

lint: $(TEST_STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: $(TEST_STAMP)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean:
	rm -rf $(VENV) $(GPU_VENV) $(VENV)-evalplus runs build *.egg-info
