# Everything runs from .venv, which is made when it is missing and brought up to date when pyproject.toml or
# constraints.txt change. PYTHON=python3.13 runs all of it on that interpreter, from an environment of its own
# (.venv-3.13). ARGS='--port 8001' goes to the command.

VENV    := $(if $(PYTHON),.venv-$(patsubst python%,%,$(notdir $(PYTHON))),.venv)
BIN     := $(VENV)/bin
PYTHONS := $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python)
RECENT  := import sys; sys.exit(sys.version_info < (3, 11))

UV := $(shell command -v uv 2>/dev/null)
ifdef UV
CREATE  = uv venv --quiet --python $$python $(VENV)
INSTALL = uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
else
CREATE  = if $$python -c 'import ensurepip' 2>/dev/null; then $$python -m venv $(VENV); else \
  echo "$$python has no ensurepip, so it cannot make $(VENV): install it (Debian: python3-venv)." >&2; exit 1; fi
INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt
endif

# Lines 0 and 1 of the layer table: what the features are and stand on, where every branch is tested.
CORE    := accounts ai cache clock errors extras keyring keys limits logs metrics pages runtime scripts sessions settings stores suggest worker_pool
empty   :=
comma   := ,
CORE_FILES := $(subst $(empty) $(empty),$(comma),$(CORE:%=service/tollhouse/%.py) $(CORE:%=service/tollhouse/%/**/*))

PYTEST     := $(BIN)/python -m pytest
PYRIGHT    := $(BIN)/pyright --pythonpath $(BIN)/python
ALSO_stores := tests/failures
STRUCTURE  := $(addprefix tests/project/test_,layers.py public_names.py style.py)

FAILOVERS  := kill9,sigstop,forced,coordinated,partition,lag
# They run with the simulations: 20,000 races over the cache, and broken copies of the package that simulations notice.
SIMULATED  := tests/simulation/test_races.py tests/simulation/test_mutants.py

FAILED     := out/pytest/v/cache/lastfailed
COVERED     = $(BIN)/coverage report && $(BIN)/coverage report --fail-under=100 --include='$(CORE_FILES)'

SEED       := $(or $(SEED),$(shell date +%s))

.PHONY: help install serve demo drill failovers bench check test test-failed test-servers fuzz simulate simulate-mutants lint

help: ## list the targets
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/make \1	\2/p' Makefile | sed 's/%/FOLDER/' | expand -t 18

install: $(VENV)/.develop ## prepare .venv for work on Tollhouse

serve: $(VENV)/.run ## run the service on 127.0.0.1:8000, on a Valkey that it brings along
	@exec $(BIN)/tollhouse serve --plain-http $(ARGS)

demo: $(VENV)/.run ## watch a login, a limit, a cached AI result and a revocation, then exit
	@exec $(BIN)/tollhouse demo $(ARGS)

drill: $(VENV)/.run ## break servers and measure what callers notice, in each set-up; ROUNDS=5 for steadier figures
	@kept=0; run() { $(BIN)/tollhouse drill run --rounds $(or $(ROUNDS),1) "$$@" $(ARGS) || kept=$$?; }; \
	run --out out/drill/both --fault $(FAILOVERS); \
	run --out out/drill/others --fault twice,script-flush,cancel-storm,client-kill --client tollhouse; \
	run --out out/drill/min-replicas --fault $(FAILOVERS),twice --client tollhouse --min-replicas 1; \
	run --out out/drill/max-unreplicated --fault $(FAILOVERS),twice --client tollhouse --max-unreplicated-ms 2000; \
	$(BIN)/tollhouse drill table out/drill/*/report.json > out/drill/table.md; \
	echo "The tables are in out/drill/table.md"; exit $$kept

failovers: $(VENV)/.develop ## end sessions durably and fail over, 27 times: they stay ended, and answers are durable again soon; ROUNDS=5 for fewer
	FAILOVER_ROUNDS=$(or $(ROUNDS),27) $(PYTEST) -q -s tests/failures/test_session_failovers.py

bench: $(VENV)/.bench ## measure beside the peers, into bench/results; ARGS='--rounds 1' for a quick look
	$(BIN)/python -m bench.lanes $(ARGS)
	$(BIN)/python -m bench.limits $(ARGS)
	$(BIN)/python -m bench.paths $(ARGS)
	$(BIN)/python -m bench.hot_keys $(ARGS)
	$(BIN)/python -m bench.script_cost $(ARGS)
	$(BIN)/python -m bench.sessions $(ARGS)
	$(BIN)/python -m bench.middleware $(ARGS)
	$(BIN)/python -m bench.takes_over_http $(ARGS)
	$(BIN)/python -m bench.servers $(ARGS)
	$(BIN)/python -m bench.large_bodies $(ARGS)
	$(BIN)/python -m bench.guessing
	$(BIN)/python -m bench.timing
	$(BIN)/python -m bench.cold_callers
	$(BIN)/python -m bench.playground
	$(BIN)/python -m bench.performance_page

check: $(VENV)/.develop ## what to run while you work, in under a minute: lint, types, rules without a server
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(PYRIGHT) & types=$$!; $(PYTEST) -q -m 'not server' tests/spec tests/lua $(STRUCTURE); \
	  rules=$$?; wait $$types && exit $$rules

test-servers: $(VENV)/.develop ## test every server and account of docs/servers.md; SERVERS=redis-7.0 for one
	$(BIN)/python -m tests.servers.install $(SERVERS)
	TOLLHOUSE_TEST_SERVERS='$(or $(SERVERS),all)' $(PYTEST) -q -rs tests/servers

test-%: $(VENV)/.develop ## run what specifies one folder: make test-limits, test-stores, test-http, ...
	$(PYTEST) -q -m 'not fake and not processes' \
	  $(or $(wildcard tests/spec/$* tests/$* tests/*/test_$*.py tests/*/test_$*_*.py $(ALSO_$*)),tests/spec/$*)

test: $(VENV)/.develop ## run every test, on three workers, one of which waits for processes most of the time; hold the coverage to its bound
	$(PYTEST) -n 3 --dist loadgroup --cov --cov-report= $(SIMULATED:%=--ignore %)
	$(COVERED)

test-failed: $(VENV)/.develop ## run once more, alone, the tests that failed, if they are at most five
	@$(BIN)/python -c 'import json, sys; sys.exit(len(json.load(open("$(FAILED)"))) > 5)'
	$(PYTEST) -v --lf --lfnf=none --cov --cov-append --cov-report= $(SIMULATED:%=--ignore %)
	$(COVERED)

fuzz: $(VENV)/.develop ## send 20,000 generated requests to every route and edge; SEED=7 repeats a run, REQUESTS=500 is a short one
	@echo 'make fuzz SEED=$(SEED)'
	FUZZ_REQUESTS=$(or $(REQUESTS),20000) $(PYTEST) -q -n 2 --dist loadfile -p no:randomly --hypothesis-seed=$(SEED) tests/fuzz

simulate: $(VENV)/.develop ## run 2,000 simulated failures of the stores, 20,000 races over the cache, and what notices each known mutant; SEEDS=0:100000 runs more, SEEDS=17 ARGS=--trace shows one
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),0:2000) $(ARGS)
	$(if $(SEEDS),,$(PYTEST) -q -n 2 $(SIMULATED))

simulate-mutants: $(VENV)/.develop ## search, for each broken copy of the package, the simulation that notices it; MUTANT=replay tries some
	@$(BIN)/python -m tests.simulation.mutants --only '$(MUTANT)' $(ARGS)

lint: $(VENV)/.develop ## run ruff and pyright
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(PYRIGHT)

# A name on PATH may be a shim that cannot run, so each is tried.
$(VENV)/.run: pyproject.toml constraints.txt
	@$(BIN)/python -c '$(RECENT)' 2>/dev/null || { \
	  python=; for name in $(PYTHONS); do $$name -c '$(RECENT)' 2>/dev/null && python=$$name && break; done; \
	  [ "$$python" ] || { echo 'Tollhouse needs Python 3.11 or newer; tried: $(PYTHONS).' >&2; exit 1; }; \
	  rm -rf $(VENV); $(CREATE); }
	@echo 'Installing into $(VENV); the first time takes about half a minute.'
	@$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.develop: $(VENV)/.run
	@$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.run
	@$(INSTALL) --editable '.[demo,bench]'
	@touch $@
