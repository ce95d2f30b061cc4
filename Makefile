# make demo   installs into .venv, compresses and decompresses a photograph, prints what it measured
# make test   installs into .venv, checks format and lint, runs the tests
# PYTHON=... picks the interpreter: 3.9, 3.10 or 3.11
# WORKERS=... how many processes run tests at once; each takes up to 3 GB

PYTHON ?= $(shell for v in 3.11 3.10 3.9; do command -v python$$v >/dev/null 2>&1 && python$$v -c '' 2>/dev/null && echo python$$v && exit; done; echo python3)
VENV ?= .venv
WORKERS ?= 2
RUN = $(VENV)/bin/python

.PHONY: demo test format clean

demo: $(VENV)/.demo
	$(RUN) -m experiments.demo

test: $(VENV)/.test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile

format: $(VENV)/.test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' || \
	  { echo "gllmm_tf needs Python 3.9, 3.10 or 3.11 (tensorflow-compression has no wheels for others): make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip

$(VENV)/.demo: setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet -e .
	@touch $@

$(VENV)/.test: setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet -e '.[test,experiments,onnx,serve,beam]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) demo build *.egg-info
