# The developer's commands; `make` alone lists them. Everything is installed into .venv and .tools.

ENV := .venv/bin
SETUP := .venv/.setup
CODE := server interceptors clients/python tests proto/generate.py
CHECKS := format lint types imports proto breaking generated envoy layout

# Xero's own OpenAPI file judges our sandbox where it lies beside this folder; it is not ours to publish.
export XERO_OPENAPI_FILE ?= $(abspath $(wildcard ../shared/data/xero/xero_accounting.yaml))

# Extra arguments, such as `make test ARGS="-k resume"`.
ARGS ?=

ROUNDS ?= 50
RUNS ?= 40

.PHONY: help setup run monitor gameday test check proto fmt bench chaos-audit chaos-resume evaluate clean browser prometheus $(addprefix check-,$(CHECKS))
.DEFAULT_GOAL := help

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(SETUP) ## Install everything; the other commands do it when it is needed

$(SETUP): uv.lock pyproject.toml proto/pyproject.toml clients/python/pyproject.toml
	@echo "installing what uv.lock names"
	@uv=$$(sh .ci/find-uv) && "$$uv" sync --locked --all-extras --python python3
	@touch $@

run: $(SETUP) ## Start the whole system on this machine; Ctrl-C stops it
	@exec $(ENV)/tria up $(ARGS)

monitor: $(SETUP) prometheus ## Watch what `make run` runs with Prometheus and Alertmanager; Ctrl-C ends the watching
	@exec $(ENV)/tria monitor $(ARGS)

gameday: $(SETUP) prometheus ## Break every component, wait for its alert, end it by its runbook; times go to reports/
	@exec $(ENV)/python -m tests.gameday $(ARGS)

test: $(SETUP) browser prometheus ## Run every test
	@$(ENV)/pytest --durations=15 $(ARGS)

prometheus:
	@sh .ci/find-prometheus

browser:
	@if [ -d tests/browser ]; then sh .ci/find-browser; fi

check: $(addprefix check-,$(CHECKS)) ## Format, lint, types, layers, protos, gateway, layout
	@echo "check: all is well"

check-format: $(SETUP)
	@echo "check: format of the code"
	@$(ENV)/ruff format --quiet --check $(CODE) || { echo "not formatted: run make fmt"; exit 1; }

check-lint: $(SETUP)
	@echo "check: lint"
	@$(ENV)/ruff check --quiet $(CODE)

check-types: $(SETUP)
	@echo "check: types"
	@$(ENV)/mypy --no-error-summary $(CODE)

check-imports: $(SETUP)
	@echo "check: which part may import which"
	@$(ENV)/lint-imports --config .importlinter --no-logo

check-proto: $(SETUP)
	@echo "check: format and lint of the protos"
	@$(ENV)/buf format --exit-code --path proto/tria >/dev/null || { echo "not formatted: run make fmt"; exit 1; }
	@image=$$(mktemp --suffix=.binpb) && trap 'rm -f "$$image"' EXIT && \
		$(ENV)/python proto/generate.py --image "$$image" && $(ENV)/buf lint "$$image" --config buf.yaml --path tria

check-breaking: $(SETUP)
	@echo "check: no change of the protos breaks clients"
	@image=$$(mktemp --suffix=.binpb) && trap 'rm -f "$$image"' EXIT && \
		$(ENV)/python proto/generate.py --image "$$image" && sh .ci/check-breaking "$$image"

check-generated: $(SETUP)
	@echo "check: proto/gen is what the protos make"
	@$(ENV)/python proto/generate.py --check

check-envoy: $(SETUP)
	@echo "check: the gateway's configuration, by Envoy itself"
	@$(ENV)/pytest -q --no-header tests/edge/test_config.py

check-layout: $(SETUP)
	@echo "check: sizes and names of files, nothing of one machine"
	@$(ENV)/pytest -q --no-header tests/contract/test_layout.py

proto: $(SETUP) ## Make proto/gen from the protos
	@$(ENV)/python proto/generate.py

fmt: $(SETUP) ## Format code and protos, mend what ruff can
	@$(ENV)/ruff format $(CODE)
	@$(ENV)/ruff check --fix $(CODE)
	@$(ENV)/buf format --write --path proto/tria

bench: $(SETUP) ## Measure speed, one bench after another
	@for file in tests/performance/bench_*.py; do \
		echo "== $$file"; $(ENV)/python -m "tests.performance.$$(basename "$$file" .py)" || exit 1; done

chaos-audit: $(SETUP) ## Kill server, workers and PostgreSQL ROUNDS times under load and verify the log
	@CHAOS_ROUNDS=$(ROUNDS) $(ENV)/pytest -q -s --no-header tests/chaos/test_audit_kills.py

chaos-resume: $(SETUP) ## Cut RUNS runs again and again, resume by any door at any of three processes
	@CHAOS_RUNS=$(RUNS) $(ENV)/pytest -q -s --no-header tests/chaos/test_resume.py

evaluate: $(SETUP) ## Measure retrieval, intents, personal data and order lines on labelled messages
	@$(ENV)/tria knowledge evaluate
	@$(ENV)/tria intents evaluate
	@$(ENV)/tria injection evaluate
	@$(ENV)/tria pii evaluate
	@$(ENV)/tria orders evaluate

clean: ## Remove caches and reports; .venv and .tools stay
	@rm -rf reports dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +
