# make setup | test | docs | demo | bench: everything a person or CI runs. Python 3.11 has to be there; the rest is set up here.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup opengl lint test docs demo bench clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WANTED := 3.11
# A Python of another version can be tried with `make PYTHON=python3.12 setup`; the pinned versions are for 3.11.
PYTHON ?= $(shell for name in python$(WANTED) python3 python; do \
	"$$name" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(WANTED)")' 2>/dev/null && echo "$$name" && break; done)
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input --root-user-action=ignore --no-compile
BENCHMARKS := throughput dynamics value imagined_vs_real drift calibration uncertainty exploit action_fidelity improvement reinforcement summary

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) opengl  ## .venv with everything that constraints.txt pins

$(STAMP): pyproject.toml constraints.txt Makefile
	@if [ -z "$(PYTHON)" ]; then echo "setup: Python $(WANTED) was wanted (with its venv module), none is on the PATH;" \
		"install it, or name one: make PYTHON=/path/to/python$(WANTED) setup" >&2; exit 1; fi
	@if [ ! -x $(BIN)/python ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "setup: creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear $(VENV); fi
	@echo "setup: installing what constraints.txt pins (some minutes the first time)"
	@$(PIP) -c constraints.txt setuptools uv "$$(grep '^torch==' constraints.txt)"
	@# uv installs the rest in a tenth of pip's time, but reads none of pip's settings: where it finds nothing, pip does it.
	@# compat: this folder itself goes on Python's path, so that the folder that holds it does not pass for the package
	@for installer in "$(BIN)/uv pip install --quiet --python $(BIN)/python" "$(PIP)"; do \
		$$installer -c constraints.txt --no-build-isolation -C editable_mode=compat \
		--editable '.[dev,docs,openpi,vla]' && exit; done; exit 1
	@# byte code on all cores, which pip makes on one, without other packages' tests; some hold templates that are no Python
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' "$$($(BIN)/python -c \
		'import sysconfig; print(sysconfig.get_paths()["purelib"])')" || true
	@touch $@

# Only the replica draws with OpenGL; without it the dream works all the same, so this never fails.
opengl: $(STAMP)
	@has() { $(BIN)/python -c "import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]" "$$@" 2>/dev/null; }; \
	there() { [ "$$(uname)" != Linux ] || has libEGL.so.1 libOpenGL.so.0 || has libOSMesa.so.8; }; \
	if ! there && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "setup: installing OpenGL for the replica"; \
		{ apt-get update -qq; apt-get install -y -qq --no-install-recommends libegl1 libgl1 libopengl0 libgl1-mesa-dri; \
		  there || apt-get install -y -qq libosmesa6; } >/dev/null 2>&1 || true; \
	fi; \
	there || echo "setup: no OpenGL for the replica (the dream needs none): sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri"

lint: $(STAMP)  ## style, format, types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy -p rise_gym
	@MYPYPATH=benchmarks $(BIN)/mypy benchmarks/*.py
	@MYPYPATH=docs/_site $(BIN)/mypy docs/_site/*.py

# Tiny models gain nothing from a second thread, two processes do, each with whole files: what a file's tests share is made
# once. What reads the code need not wait for them.
test: setup  ## lint, and all tests beside it
	@$(MAKE) --no-print-directory lint & lint=$$!; status=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile || status=$$?; \
	wait $$lint || status=$$?; exit $$status

docs: $(STAMP)  ## the documentation as a site, build/site/index.html; warnings and broken links are errors
	@$(BIN)/python -m mkdocs build --strict --quiet --site-dir build/site
	@$(BIN)/python docs/_site/links.py build/site

demo: setup  ## the main job: improve a policy in imagination, measure it in the replica, write a report
	@$(BIN)/rise-gym demo

bench: setup  ## every benchmark, recorded in benchmarks/results
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py; done

clean:  ## forget the virtual environment and the caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build
