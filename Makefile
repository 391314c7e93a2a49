# make right | left    train and evaluate one side on the phantom (builds .venv first)
# make ablation        a reduced ablation on the phantom; make ablation SIZE=document: 90 minutes
# make test            all tests, the notebooks included
# make coverage        the tests, and which lines of lmkit none of them runs
# make venv | lab | lint | notebooks

PYTHON ?= python3
SIZE ?= quick
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv right left ablation test coverage lint lab notebooks
.DEFAULT_GOAL := right

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python: expected 3.11 or newer, got " + sys.version.split()[0] \
	    + "; name one: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,dicom,onnx,sweep,clicks]' -c constraints.txt
	@touch $@

right left: $(STAMP)
	$(BIN)/python -m lmkit.notebooks 03_train -f params/$@.yaml
	$(BIN)/python -m lmkit.notebooks 04_evaluate -f params/$@.yaml

# the runs first, with a bar on a terminal; the notebook then reads them
ablation: $(STAMP)
	$(BIN)/python -m lmkit.sweep --preset $(SIZE)
	$(BIN)/python -m lmkit.notebooks 05_ablation -p preset $(SIZE) -p train false

test: $(STAMP)
	$(BIN)/python -m pytest -q -rs
	$(BIN)/python -m pytest -q --nbval-lax --nbval-cell-timeout=1800 notebooks

coverage: $(STAMP)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q -rs
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# run all notebooks and keep the outputs that the tests check, and the small figures
notebooks: $(STAMP)
	$(BIN)/python -m lmkit.notebooks --refresh

lab: $(STAMP)
	$(BIN)/jupyter lab --notebook-dir=.
