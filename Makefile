# make demo   installs into .venv, compresses and decompresses a photograph, prints what it measured
# make test   installs into .venv, checks format, lint and types, runs the tests, prints coverage
# PYTHON=... picks the interpreter, 3.9 or later; by default one that TensorFlow has wheels for
# PORTABLE_PYTHON=... picks one that TensorFlow has no wheels for, with which the portable half is tested
# WORKERS=... how many processes run tests at once; each takes up to 3 GB
# COVERAGE=  leaves the coverage out, which takes a third more time
# SLOW=0 leaves out tests that take a minute or more and have a quicker one beside them; a line tells of each

PYTHON ?= $(shell for v in 3.11 3.10 3.9 3.12 3.13 3.14; do command -v python$$v >/dev/null 2>&1 && python$$v -c '' 2>/dev/null && echo python$$v && exit; done; echo python3)
PORTABLE_PYTHON ?= $(shell for p in python3.13 python3.14 $$(ls "$$(pyenv root 2>/dev/null)"/versions/3.1[34].*/bin/python 2>/dev/null); do "$$p" -c '' 2>/dev/null && echo "$$p" && exit; done)
VENV ?= .venv
JAX_VENV ?= .venv-jax
PORTABLE_VENV ?= .venv-portable
WORKERS ?= 2
COVERAGE ?= --cov
SLOW ?= 1
RUN = $(VENV)/bin/python

PORTABLE_TESTS = tests/portable tests/conformance tests/cli tests/zoo tests/test_metrics.py

.PHONY: demo test format clean

demo: $(VENV)/.demo
	$(RUN) -m experiments.demo

test: $(VENV)/.test $(JAX_VENV)/.python $(PORTABLE_VENV)/.python
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	GLLMM_SLOW_TESTS=$(SLOW) GLLMM_JAX_PYTHON="$$(cat $(JAX_VENV)/.python)" $(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(COVERAGE)
	@python=$$(cat $(PORTABLE_VENV)/.python); [ -z "$$python" ] || \
	  { set -x; "$$python" -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PORTABLE_TESTS); }

format: $(VENV)/.test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || \
	  { echo "gllmm_tf needs Python 3.9 or later: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip

$(VENV)/.demo: setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet -e .
	@touch $@

$(VENV)/.test: setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet -e '.[test,experiments,serve,beam,formats]'
	@touch $@ $(VENV)/.demo

# The exported training step runs under JAX, which cannot live beside TensorFlow 2.14. The file .python
# names the interpreter that has it, and is empty where no JAX of the tested versions can be installed.
$(JAX_VENV)/.python: Makefile
	@mkdir -p $(JAX_VENV)
	@if $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then \
	  $(PYTHON) -m venv $(JAX_VENV) && \
	  $(JAX_VENV)/bin/python -m pip install --quiet 'jax>=0.7,<0.13' 'numpy>=2,<3' && \
	  echo '$(abspath $(JAX_VENV))/bin/python' > $@; \
	else \
	  echo 'the tests under JAX are skipped: they need TensorFlow, and JAX Python 3.11 (make PYTHON=python3.11)'; \
	  : > $@; \
	fi

# The half without TensorFlow. The file .python is empty where this machine has no such Python, or where
# the tests have run under one already.
$(PORTABLE_VENV)/.python: setup.py
	@mkdir -p $(PORTABLE_VENV)
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then \
	  : > $@; \
	elif [ -n "$(PORTABLE_PYTHON)" ]; then \
	  $(PORTABLE_PYTHON) -m venv $(PORTABLE_VENV) && \
	  $(PORTABLE_VENV)/bin/python -m pip install --quiet -e '.[test,serve]' && \
	  echo '$(abspath $(PORTABLE_VENV))/bin/python' > $@; \
	else \
	  echo 'the tests without TensorFlow are skipped: no Python 3.13 or 3.14 here (make PORTABLE_PYTHON=...)'; \
	  : > $@; \
	fi

clean:
	rm -rf $(VENV) $(JAX_VENV) $(PORTABLE_VENV) demo build *.egg-info
