# The doors of the project; each makes what it needs first.
#   make demo   simulate a session, process it, show what was made
#   make dev    the user interface on the demo's data, on loopback
#   make test   everything tests need, then the tests
#   make nightly  the long sweeps, which make test leaves out
#   make attacks  kills, bad inputs, losses of power, full disks, races: prints what was tried and what survived
#   make lint   style, types, spelling, which module may import which
#   make docs   the documentation as a site, docs/_build/html/index.html
#   make pictures  take the pictures of the pages for a lab anew, on the demo's data
#   make bench  measure against the peers, print the table of the README
PYTHON ?= python3
VENV := .venv
PEER := .venv-peer
PEER_READY := $(PEER)/.ready
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bin/python -m pip install -q -c constraints.txt
# .ci/run adds the measurement of coverage
PYTEST_OPTIONS ?=
# a worker for each core and one more, for tests wait as often as they compute; each has whole files, since tests of a
# file share what its fixtures make
PYTEST := $(VENV)/bin/python -m pytest -n $(shell echo $$(($$(nproc) + 1)))
PEER_PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(PEER)/bin/python -m pip install -q

.PHONY: demo dev test nightly attacks lint docs pictures bench peer clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "meso needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing meso into $(VENV) (about two minutes, once)"
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.ready
	$(PIP) -e '.[dev,bench,docs]'
	touch $@

# the pipeline that meso replaces, in an environment of its own, for parity tests and benchmarks; beside it the validator
# of RO-Crate, which cannot live with all that meso needs
$(PEER_READY): Makefile
	test -x $(PEER)/bin/python || $(PYTHON) -m venv $(PEER)
	$(PEER_PIP) ibllib==4.0.0 roc-validator==0.13.0 rocrate==0.16.0
	touch $@

peer: $(PEER_READY)

demo: $(VENV)/.ready
	$(VENV)/bin/meso demo

dev: $(VENV)/.ready
	$(VENV)/bin/meso dev --demo

test: $(VENV)/.dev $(PEER_READY)
	$(PYTEST) $(PYTEST_OPTIONS)

nightly: $(VENV)/.dev $(PEER_READY)
	$(PYTEST) -m nightly --timeout=7200 $(PYTEST_OPTIONS)

# `make attacks PARTS="kills gate"` does some of it; what is in attack-data/ adds up
attacks: $(VENV)/.dev
	$(VENV)/bin/python -m tests.attacks $(PARTS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell

# what cannot be linked or rendered is an error
docs: $(VENV)/.dev
	$(VENV)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

pictures: $(VENV)/.dev
	$(VENV)/bin/python docs/pictures.py

bench: $(VENV)/.dev $(PEER_READY)
	$(VENV)/bin/python -m benchmarks

clean:
	rm -rf demo bench-data docs/_build docs/api
