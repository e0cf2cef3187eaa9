# vidcls: `make demo` and `make test` do all their own set-up; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Threads that spin while they wait would starve the processes that decode.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test lab docs check notebooks clean
help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1@/' | column -t -s@ 2>/dev/null || grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST)

$(READY): settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "vidcls needs Python 3.10 or newer; try make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) can't make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY)  ## write a data set, train R(2+1)D on it, evaluate, leave a report (some 3 minutes)
	$(BIN)/vidcls demo

test: $(READY)  ## everything that CI checks: notebooks, tests, docs
	$(MAKE) --no-print-directory check
	$(BIN)/nbdev_test --n_workers 2 --do_print
	$(MAKE) --no-print-directory docs
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: $(READY)  ## are notebooks clean, and is the package what they export?
	$(BIN)/python tests/check_notebooks.py

lab: $(READY)  ## JupyterLab with the first tutorial open
	$(BIN)/jupyter lab --notebook-dir=nbs nbs/tutorials/01_look_at_clips.ipynb

docs: $(READY)  ## build the site into _docs
	$(BIN)/python docs/build.py

notebooks: $(READY)  ## run all notebooks and store their outputs (some minutes)
	$(BIN)/python docs/run_notebooks.py

clean:  ## remove what was built; not runs and data
	rm -rf _docs _proc docs/_build docs/pages build *.egg-info
