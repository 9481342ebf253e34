# Everything on a fresh machine with Python >= 3.11 and g++.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := requirements.lock
SOURCES := pyproject.toml CMakeLists.txt $(shell find csrc -name '*.h' -o -name '*.cc')

.PHONY: install train evaluate test test-short test-long lint tidy docs bench wheel lock \
  clean

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
test test-short: export XLA_FLAGS += --xla_backend_optimization_level=0
test: $(STAMP)
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 \
	  --dist loadfile --no-loadscope-reorder \
	  -m "$(ORDINARY) and not alone"
	$(BIN)/python -m pytest -m "$(ORDINARY) and alone"
else
	$(BIN)/python -m pytest -m "$(ORDINARY)" $(ARGS)
endif

# Whether an installation works, in about a minute: the C++ code, engines, the update,
# checkpoints and training.
test-short: $(STAMP)
	$(BIN)/python -m pytest -m "$(ORDINARY)" tests/csrc tests/envs/doom/test_exactness.py \
	  tests/ppo/test_learner.py tests/checkpoints/test_checkpoint.py \
	  tests/training/test_train.py

# All of them, with another trainer's beside: PyTorch is some GB to download.
test-long: $(STAMP)
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[sb3]'
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find csrc -name '*.h' -o -name '*.cc' | xargs $(BIN)/clang-format --dry-run --Werror

# The linter of C++, which takes minutes. The compiler's commands are in the build folder.
tidy: $(STAMP)
	$(BIN)/cmake -S . -B build/tidy -G Ninja -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
	  -DPython_EXECUTABLE=$(abspath $(BIN))/python -DJAXFACTORY_TESTS=ON \
	  -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	  -Dnanobind_DIR=$$($(BIN)/python -m nanobind --cmake_dir)
	find csrc -name '*.cc' | xargs -P $$(nproc) -n 4 \
	  $(BIN)/clang-tidy --quiet -p build/tidy

# The documentation, into site/; read it from site/index.html.
docs: $(STAMP)
	$(BIN)/python scripts/make_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(STAMP)
	$(BIN)/pip install -q -e '.[bench]' --no-build-isolation
	$(BIN)/python benchmarks/fps.py $(ARGS)

# A wheel for other machines, into dist/: it needs no compiler.
wheel: $(STAMP)
	$(BIN)/python -m pip install -q --group wheel
	rm -rf build/wheel
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w build/wheel .
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/auditwheel repair -w dist build/wheel/*.whl

# The exact versions that the tests pass with, for `make install LOCKED=1`.
lock: $(STAMP)
	$(BIN)/python -m pip install -q --group lock
	$(BIN)/python -m pip freeze --exclude-editable > build/constraints.txt
	echo '# Made by `make lock`: the versions that the tests pass with.' > $(LOCK)
	$(BIN)/uv pip compile -q pyproject.toml --group dev --universal --no-header \
	  --no-annotate --python-version 3.11.7 --generate-hashes \
	  -c build/constraints.txt >> $(LOCK)

# The virtual environment, with the package installed in place: Python files are used
# from the tree, and the C++ module is built again whenever a source has changed.
$(STAMP): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
ifdef LOCKED
	$(BIN)/python -m pip install -q --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
else
	$(BIN)/python -m pip install -q --group dev
	$(BIN)/python -m pip install -q --no-build-isolation -e .
endif
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .hypothesis
