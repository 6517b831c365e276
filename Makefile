# The course's commands. `make lab` and `make test` install all they need into .venv first.
#
#   PYTHON       the Python to build .venv with (3.11 or later)
#   TORCH_INDEX  one more package index to find PyTorch in; plain Linux installs fetch gigabytes of
#                CUDA, and TORCH_INDEX=https://download.pytorch.org/whl/cpu spares them

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WEB := $(VENV)/.web

# Installed elsewhere, as after this folder was moved, or with a Python that is gone: install anew.
ifneq ($(shell $(BIN)/python --version >/dev/null 2>&1 && cat $(INSTALLED) 2>/dev/null),$(CURDIR))
$(shell rm -f $(INSTALLED))
endif

.PHONY: help lab test test-offline browser check soak unit lint format course notebooks results bench site slides assignments stick clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 16

lab: $(INSTALLED)  ## open JupyterLab on the first notebook
	$(BIN)/python tools/lab.py

test: check  ## lint, all tests, and every notebook executed again and compared
	$(BIN)/python -m pytest -q -rs -n 2 -m slow -o addopts=--strict-markers tests
	$(BIN)/python tools/notebooks.py test

browser: $(WEB)  ## drive JupyterLab, the site and the slides in a real Chromium, if there is one
	$(BIN)/python -m pytest -q -rs -o 'norecursedirs=.*' tests/browser

soak: $(INSTALLED)  ## 200 killed trainings, a full disk, the whole course twice (half an hour)
	LLM_COURSE_SOAK=1 $(BIN)/python -m pytest -n 2 -rsP -m "slow or soak" -o addopts=--strict-markers tests

test-offline: $(INSTALLED)  ## every notebook on the practice corpus, as without network and data
	$(BIN)/python tools/notebooks.py test --practice

check: lint unit  ## lint and unit tests: the quick half of `make test`

unit: $(WEB)
	$(BIN)/python -m pytest -q -rs -n 2 -m "not slow and not soak" tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)  ## let ruff put the code in order, notebooks included
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

course: $(INSTALLED)  ## execute every notebook headless; copies and a summary in _build/
	$(BIN)/python tools/notebooks.py course

notebooks: $(INSTALLED)  ## for authors: execute and save the notebooks (NOTEBOOKS="notebooks/02_bigram.ipynb" for one)
	$(BIN)/python tools/notebooks.py save $(NOTEBOOKS)

results: $(INSTALLED)  ## for authors: measure what results/ records (RESULTS=scoreboard for a part)
	$(BIN)/python tools/results.py $(RESULTS)

bench: $(INSTALLED)  ## measure how fast the course is (PARTS="machine generation" for some)
	$(BIN)/python tools/bench.py $(PARTS)

site: $(WEB)  ## the course as web pages that need no server and no network, in _site/
	$(BIN)/python tools/site.py

slides: $(WEB)  ## a deck of slides a notebook, for a lecture, each in one file in _build/slides/
	$(BIN)/python tools/slides.py $(NOTEBOOKS)

assignments: $(INSTALLED)  ## for teachers: the exercises alone, to hand out, in _build/assignments/
	$(BIN)/python tools/assignments.py

stick: $(INSTALLED)  ## for a room without internet: all of it in one folder (STICK=/media/usb)
	@test -n "$(STICK)" || { echo "error: say where the stick is: make stick STICK=/media/usb"; exit 2; }
	$(BIN)/python tools/stick.py "$(STICK)" $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

clean:  ## remove what was installed and built; your copies and your runs stay
	rm -rf $(VENV) _build _site .pytest_cache .ruff_cache *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is too old or missing: Python 3.11 or later is needed. Set PYTHON=/path/to/python3.x"; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "error: .venv could not be made; on Debian and Ubuntu, 'apt install python3-venv' mends that"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[lab,test]'
	@echo '$(CURDIR)' > $@

$(WEB): $(INSTALLED)  # what nobody needs who only learns: for the site, the slides, a browser that is driven
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[web]'
	@touch $@
