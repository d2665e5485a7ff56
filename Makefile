# A thin front: each target is one ordinary command, run in an environment made for it.

PYTHON ?= python3
PROFILE ?=
DEPTH ?=

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install parity gate report test test-all lint format record mutants edits attack bench train story doctor calibrate soak clean

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOG := $(VENV)/install.log
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

parity: $(INSTALLED) ## Is the port the same program as the reference? The verdict, in a minute
	@$(BIN)/parity check $(if $(PROFILE),--profile $(PROFILE))

gate: $(INSTALLED) ## The same against the recorded reference, in seconds, and the cause if it is not; what CI runs
	@$(BIN)/parity explain --golden goldens --strict

report: $(INSTALLED) ## The same as a page to look at, build/parity.html
	@mkdir -p build
	@$(BIN)/parity explain --golden goldens --html build/parity.html && echo "build/parity.html"

# Two runs, because TensorFlow and GPU builds of PyTorch crash each other in one process. Both are
# always made, and the target is green only if both are.
test: $(INSTALLED) ## Run the tests, in minutes: of what takes long, and of many of a kind, a few
	@status=0; \
	$(BIN)/python -m pytest $(ALL) --numprocesses 2 --dist worksteal \
		tests/properties tests/ebm tests/programs tests/harness tests/torch_side || status=$$?; \
	$(BIN)/python -m pytest tests/tensorflow_side || status=$$?; \
	exit $$status

test-all: ALL := --all
test-all: test ## Run every test, as CI does

lint: $(INSTALLED) ## Style, form and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED) ## Put imports and layout in order
	@$(BIN)/ruff check --select I --fix .
	@$(BIN)/ruff format .

doctor: $(INSTALLED) ## What is installed, and do the float64 oracle and the shared randomness hold
	@$(BIN)/parity doctor

calibrate: $(INSTALLED) ## Measure the distribution of residual / floor on 1,000 random cases, how many of 200 small faults are caught, and that explain names none
	@mkdir -p build
	@$(BIN)/parity doctor --cases 1000 --faults 200 --json build/calibration.json

soak: $(INSTALLED) ## Run the gate 200 times, over threads and oneDNN: is it ever flaky? 15 minutes
	@$(BIN)/python -m tests.soak

record: $(INSTALLED) ## Run the reference, write goldens/ anew, and say what changed
	@$(BIN)/parity record --golden goldens

mutants: $(INSTALLED) ## Put every known fault, and every pair of them, into the port; half an hour; writes docs/mutants.md; DEPTH=1 or 3 for single faults or triples too
	@$(BIN)/parity mutants $(if $(DEPTH),--depth $(DEPTH)) --matrix docs/mutants.md

edits: $(INSTALLED) ## Edit the port at random, 300 times, and see that the golden sees it; ten minutes; writes docs/edits.md
	@$(BIN)/python -m tests.edits

attack: $(INSTALLED) ## Do to it what once got a wrong answer, as a person would; writes docs/robustness.md
	@$(BIN)/python -m tests.attack

bench: $(INSTALLED) ## Is what the documents say of times so? On a machine that does nothing else; writes build/bench.json
	@$(BIN)/python -m benchmarks

train: $(INSTALLED) ## Train the reference and write weights/; goes on where it was interrupted
	@$(BIN)/python -m ebm.train

story: $(INSTALLED) ## Train four programs, right and wrong, and write docs/story.md; 15 minutes
	@$(BIN)/python -m ebm.story

install: $(INSTALLED) ## Only make the environment that every other target makes when it must

clean: ## Remove the environment and every cache; keeps build/ with the checkpoints of training
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

help: ## This list
	@echo "make TARGET [PYTHON=python3.12] [PROFILE=quick|ci|nightly] [DEPTH=1|2|3]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target what; do \
		printf '  %-10s %s\n' "$$target" "$$what"; done
	@echo
	@echo "PYTHON is the interpreter that $(VENV) is made with: 3.11, 3.12 or 3.13."

# The stamp is written last, so an interrupted installation is taken up again, and it holds the
# version of Python, so that another PYTHON= makes the environment anew. A working environment is
# kept when PYTHON is not given. (Joined lines: the make of macOS, 3.81, knows no .ONESHELL.)
VERSION := -c 'import sys; print("%d.%d" % sys.version_info[:2])'
ifneq ($(origin PYTHON),file)
ifneq ($(shell "$(PYTHON)" $(VERSION) 2>/dev/null),$(shell cat $(INSTALLED) 2>/dev/null))
$(INSTALLED): other-python
endif
endif
.PHONY: other-python
other-python:

$(INSTALLED): pyproject.toml constraints.txt
	@set -eu -o pipefail; rm -f $@; \
	have=$$($(BIN)/python -m pip --version >/dev/null 2>&1 && $(BIN)/python $(VERSION) || true); \
	case "$$have" in 3.11 | 3.12 | 3.13) ;; *) have= ;; esac; \
	want=$(if $(filter file,$(origin PYTHON)),$$have); \
	want=$${want:-$$("$(PYTHON)" $(VERSION) 2>/dev/null || echo "no Python")}; \
	case "$$want" in 3.11 | 3.12 | 3.13) ;; *) \
		echo "parity needs Python 3.11, 3.12 or 3.13, but '$(PYTHON)' is $$want: make PYTHON=/path/to/python3.12" >&2; \
		exit 1 ;; esac; \
	if [ "$$have" != "$$want" ]; then \
		echo "Making $(VENV) with Python $$want ..."; "$(PYTHON)" -m venv --clear $(VENV); fi; \
	echo "Installing TensorFlow, PyTorch and the tools into $(VENV), once; this takes minutes ..."; \
	{ $(PIP) --upgrade pip && \
	  $(PIP) --build-constraint constraints.txt --editable '.[tf,torch]' --group dev; } 2>&1 | \
	tee $(LOG) | while read -r line; do case "$$line" in \
		Downloading* | "Using cached"* | Processing*.whl) echo "  $$line" ;; \
		"Installing collected"*) echo "  Installing $$(echo "$${line#*:}" | wc -w | tr -d ' ') packages ..." ;; \
	esac; done || { tail -n 15 $(LOG) >&2; \
		echo "The installation failed; all of its output is in $(LOG)" >&2; exit 1; }; \
	echo "$$want" >$@
