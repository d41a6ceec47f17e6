# Everything runs from .venv, which is made when it is missing and brought up to date when pyproject.toml or
# constraints.txt change. PYTHON=python3.13 picks the interpreter; ARGS='--port 8001' goes to the command.

BIN     := .venv/bin
PYTHONS := $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python)
RECENT  := import sys; sys.exit(sys.version_info < (3, 11))

UV := $(shell command -v uv 2>/dev/null)
ifdef UV
CREATE  = uv venv --quiet --python $$python .venv
INSTALL = uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
else
CREATE  = if $$python -c 'import ensurepip' 2>/dev/null; then $$python -m venv .venv; else \
  echo "$$python has no ensurepip, so it cannot make .venv: install it (Debian: python3-venv)." >&2; exit 1; fi
INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt
endif

# Lines 0 and 1 of the layer table: what the features are and stand on, where every branch is tested.
CORE    := accounts ai cache clock errors keyring keys limits logs metrics scripts sessions settings stores suggest worker_pool
empty   :=
comma   := ,
CORE_FILES := $(subst $(empty) $(empty),$(comma),$(CORE:%=service/tollhouse/%.py) $(CORE:%=service/tollhouse/%/**/*))

.PHONY: help install serve demo drill bench test lint

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 14

install: .venv/.develop ## prepare .venv for work on Tollhouse

serve: .venv/.run ## run the service on 127.0.0.1:8000, on a Valkey that it brings along
	@exec $(BIN)/tollhouse serve --plain-http $(ARGS)

demo: .venv/.run ## watch a login, a limit, a cached AI result and a revocation, then exit
	@exec $(BIN)/tollhouse demo $(ARGS)

drill: .venv/.run ## break servers on purpose and measure what callers notice; ROUNDS=5 for steadier figures
	@exec $(BIN)/tollhouse drill run --rounds $(or $(ROUNDS),1) --out out/drill $(ARGS)

bench: .venv/.bench ## measure beside the peers, into bench/results; ARGS='--rounds 1' for a quick look
	$(BIN)/python -m bench.lanes $(ARGS)
	$(BIN)/python -m bench.limits $(ARGS)
	$(BIN)/python -m bench.middleware $(ARGS)
	$(BIN)/python -m bench.takes_over_http $(ARGS)

test: .venv/.develop ## run every test and hold the coverage to its bound
	$(BIN)/python -m pytest --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --fail-under=100 --include='$(CORE_FILES)'

lint: .venv/.develop ## run ruff and pyright
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

# A name on PATH may be a shim that cannot run, so each is tried.
.venv/.run: pyproject.toml constraints.txt
	@$(BIN)/python -c '$(RECENT)' 2>/dev/null || { \
	  python=; for name in $(PYTHONS); do $$name -c '$(RECENT)' 2>/dev/null && python=$$name && break; done; \
	  [ "$$python" ] || { echo 'Tollhouse needs Python 3.11 or newer; tried: $(PYTHONS).' >&2; exit 1; }; \
	  rm -rf .venv; $(CREATE); }
	@echo 'Installing into .venv; the first time takes about half a minute.'
	@$(INSTALL) --editable '.[demo]'
	@touch $@

.venv/.develop: .venv/.run
	@$(INSTALL) --editable '.[demo,dev]'
	@touch $@

.venv/.bench: .venv/.run
	@$(INSTALL) --editable '.[demo,bench]'
	@touch $@
