# Everything a person or CI does with this tree. `make demo` and `make test` set up what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TRAIN_STAMP := $(VENV)/.installed-train
POWERCUT_STAMP := $(VENV)/.installed-powercut
# The version that the learning techniques are tested with.
TORCH ?= torch==2.13.0
# What speaks FUSE for the recorded disks.
MFUSEPY ?= mfusepy==3.1.1

.PHONY: demo test test-train test-convert test-arm test-powercut test-soak check bench format test-all-pythons clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Fitment needs Python 3.10 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "No venv module. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/fitment demo

test: $(STAMP)
	$(BIN)/python -m pytest

# What needs PyTorch: techniques that learn. `make test` skips it and says so.
test-train: $(TRAIN_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m train

# What needs the converter to .tflite; it is installed into an environment of its own. Needs a
# Python 3.12 or 3.13 besides.
test-convert: export FITMENT_CONVERTER := $(CURDIR)/$(VENV)-converter
test-convert: $(STAMP)
	$(BIN)/fitment converter status >/dev/null || $(BIN)/fitment converter install
	$(BIN)/python -m pytest tests/compress/test_converter.py tests/compress/test_tflite.py

# Emulated ARM boards and an arm64 machine against a controller here, about 8 minutes. Needs root on
# an x86-64 Debian; skipped with the reason elsewhere. Downloads stay in .cache/arm.
test-arm: $(STAMP)
	$(BIN)/python -m pytest -m arm tests/arm

$(TRAIN_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	@touch $@

# Power cuts at any moment of the agent's updates, on recorded disks, in a few minutes. Needs root,
# FUSE and loop devices on Linux; skipped with the reason elsewhere. Installs fuse3 where it can.
test-powercut: $(POWERCUT_STAMP)
	$(BIN)/python -m pytest -s -m powercut tests/powercut

$(POWERCUT_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet '$(MFUSEPY)'
	@touch $@

# Hundreds of deployments under fire, and a disk that is full at each of its pages: half an hour.
test-soak: $(STAMP)
	$(BIN)/python -m pytest -s -m soak tests/system

# Lint, types, architecture.
check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP)
	$(BIN)/python bench/agent_footprint.py

# The tests on every supported interpreter found on this machine, each in its own environment.
test-all-pythons:
	@bash tests/tools/each_python.sh

clean:
	rm -rf $(VENV) $(VENV)-converter .venvs .cache build dist
