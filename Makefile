# Two commands on a fresh machine: `make demo` and `make test`. All the work is in run.py, so that `python run.py demo` does the same.
#   make demo PY=python3.12 VENV=.venv312            another Python, another folder
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu    a torch without CUDA on a Linux laptop
#   make demo ARGS="--target fr --steps 200"         passed on to the command
PY ?= python3
VENV ?= .venv
TORCH_INDEX ?=
ARGS ?=
export VENV TORCH_INDEX

.PHONY: demo test torture mutants check format bench install
demo test torture mutants check format bench install:
	@$(PY) run.py $@ $(ARGS)
