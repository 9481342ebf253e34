# Everything on a fresh machine with Python >= 3.11 and g++.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml CMakeLists.txt $(shell find csrc -name '*.h' -o -name '*.cc')

.PHONY: install train evaluate test test-long lint docs bench clean

# The virtual environment and the build, and nothing run.
install: $(STAMP)

# Train on health_gathering_supreme; ARGS="--total-frames 100000" changes anything.
train: $(STAMP)
	$(BIN)/jaxfactory train --scenario health_gathering_supreme $(ARGS)

# Score the newest run, with a video.
evaluate: $(STAMP)
	$(BIN)/jaxfactory evaluate --render-mp4 $(ARGS)

# On a process for each core, up to four, in which a file's tests stay together, in the
# order of tests/conftest.py; then those that need the machine to themselves. With ARGS
# in one process.
# Half of the time goes into compiling small networks that run once: XLA optimizes their
# machine code less. `make test-long` compiles as users do.
ORDINARY := not slow and not learning and not gpu
test: export XLA_FLAGS += --xla_backend_optimization_level=1
test: $(STAMP)
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 \
	  --dist loadfile --no-loadscope-reorder \
	  -m "$(ORDINARY) and not alone"
	$(BIN)/python -m pytest -m "$(ORDINARY) and alone"
else
	$(BIN)/python -m pytest -m "$(ORDINARY)" $(ARGS)
endif

# All of them, with another trainer's beside: PyTorch is some GB to download.
test-long: $(STAMP)
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[sb3]'
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find csrc -name '*.h' -o -name '*.cc' | xargs $(BIN)/clang-format --dry-run --Werror

# The documentation, into site/; read it from site/index.html.
docs: $(STAMP)
	$(BIN)/python scripts/make_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(STAMP)
	$(BIN)/pip install -q -e '.[bench]' --no-build-isolation
	$(BIN)/python benchmarks/fps.py $(ARGS)

# The virtual environment, with the package installed in place: Python files are used
# from the tree, and the C++ module is built again whenever a source has changed.
$(STAMP): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q --group dev
	$(BIN)/python -m pip install -q --no-build-isolation -e .
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .hypothesis
