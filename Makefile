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
STREAMS ?= 200
MINUTES ?= 30

DEPLOYED := tests/contract/test_image.py tests/contract/test_manifests.py tests/contract/test_migrations.py \
	tests/contract/test_release_script.py tests/contract/test_workflows.py tests/contract/test_backup_jobs.py
WHOLE := tests/browser tests/chaos tests/db tests/edge tests/embedded tests/monitoring tests/rpc tests/system

.PHONY: help setup run test check proto fmt bench evaluate clean browser $(addprefix check-,$(CHECKS))
.PHONY: chaos-audit chaos-resume chaos-replicas chaos-crowds
.PHONY: test-unit test-integration test-security scan scan-dependencies perf-ratio rehearse-image check-deploy
.PHONY: restore-drill recovery-drill scale-out
.PHONY: perf load soak chaos security promises readiness
.PHONY: monitor gameday prometheus
.DEFAULT_GOAL := help

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

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

test-unit: $(SETUP) ## Run the tests that need nothing running
	@$(ENV)/pytest -q --no-header tests/unit tests/contract $(ARGS)

test-integration: $(SETUP) browser prometheus ## Run the tests against real stores, gateway and processes
	@$(ENV)/pytest -q --no-header $(WHOLE) $(ARGS)

test-security: $(SETUP) ## Run the tests that attack
	@$(ENV)/pytest -q --no-header tests/security $(ARGS)

scan: $(SETUP) ## Look for known mistakes in code, workflows and image
	@uv=$$(sh .ci/find-uv) && "$$uv" tool run bandit --quiet --recursive --severity-level high server interceptors clients/python
	@$(ENV)/zizmor --offline --quiet --min-severity medium .github
	@$(ENV)/hadolint deploy/Dockerfile
	@echo "scan: nothing found"

scan-dependencies: $(SETUP) ## Look for known holes in dependencies; fails where the database cannot be asked
	@requirements=$$(mktemp) && trap 'rm -f "$$requirements"' EXIT && uv=$$(sh .ci/find-uv) && \
		"$$uv" export --quiet --locked --no-default-groups --no-emit-workspace --output-file "$$requirements" && \
		"$$uv" tool run pip-audit --strict --disable-pip --require-hashes --requirement "$$requirements"

perf-ratio: $(SETUP) ## Compare the cost of a call with the commit that this branch began from
	@$(ENV)/python -m tests.performance.against_main $(ARGS)

rehearse-image: $(SETUP) ## Run the build stage of deploy/Dockerfile without Docker, and try what it made
	@$(ENV)/python -m tests.contract.rehearse_image

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

check-deploy: $(SETUP) ## Validate image, Compose, Kubernetes, migrations and workflows; part of the tests
	@echo "check: image, Compose, Kubernetes, migrations and workflows, by the tools that read them"
	@$(ENV)/pytest -q --no-header $(DEPLOYED)

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

perf: $(SETUP) ## Measure answers, cache and cost through a real system; results in reports/
	@$(ENV)/python -m tests.suites.perf $(ARGS)

load: $(SETUP) ## Many people at once, a spike and slow readers, whoever still waits; results in reports/
	@$(ENV)/python -m tests.suites.load $(ARGS)

soak: $(SETUP) ## Steady load for MINUTES and rolling deploys under use; results in reports/
	@$(ENV)/python -m tests.suites.soak --minutes $(MINUTES) $(ARGS)

chaos: $(SETUP) ## Kill everything under use and judge by what clients were told; results in reports/
	@$(ENV)/python -m tests.suites.chaos $(ARGS)

security: $(SETUP) ## Attack a real system over the wire; results in reports/
	@$(ENV)/python -m tests.suites.security $(ARGS)

promises: $(SETUP) prometheus ## Run the tests behind each requirement; results in reports/
	@$(ENV)/python -m tests.suites.promises $(ARGS)

readiness: $(SETUP) ## One report over all results in reports/, requirement by requirement
	@$(ENV)/python -m tests.suites.readiness

chaos-audit: $(SETUP) ## Kill server, workers and PostgreSQL ROUNDS times under load and verify the log
	@CHAOS_ROUNDS=$(ROUNDS) $(ENV)/pytest -q -s --no-header tests/chaos/test_audit_kills.py

chaos-resume: $(SETUP) ## Cut RUNS runs again and again, resume by any door at any of three processes
	@CHAOS_RUNS=$(RUNS) $(ENV)/pytest -q -s --no-header tests/chaos/test_resume.py

chaos-replicas: $(SETUP) ## Replace and kill replicas under STREAMS live streams, take their stores away
	@CHAOS_STREAMS=$(STREAMS) $(ENV)/pytest -q -s --no-header tests/chaos/test_replicas.py

chaos-crowds: $(SETUP) ## 1,000 at once with one question, 100 people over a model that allows 500 requests a minute
	@$(ENV)/pytest -q -s --no-header tests/chaos/test_crowds.py --cache-crowd 1000 --queue-users 100 --queue-limit 500

restore-drill: $(SETUP) ## Back up under load, destroy the database, restore it and prove what came back; prints time and loss
	@$(ENV)/pytest -q -s --no-header tests/chaos/drill_restore.py

recovery-drill: $(SETUP) ## Recover the database to the moment before a mistake, from a base backup and archived WAL
	@$(ENV)/pytest -q -s --no-header tests/chaos/drill_recovery.py

scale-out: $(SETUP) ## The RPC tests on PgBouncer and a Valkey Cluster; then 3 servers and 2 workers, each part killed under load
	@$(ENV)/pytest -q --no-header --scaled tests/rpc
	@$(ENV)/pytest -q -s --no-header tests/chaos/drill_scale_out.py

evaluate: $(SETUP) ## Measure retrieval, intents, personal data and order lines on labelled messages
	@$(ENV)/tria knowledge evaluate
	@$(ENV)/tria intents evaluate
	@$(ENV)/tria injection evaluate
	@$(ENV)/tria pii evaluate
	@$(ENV)/tria orders evaluate

clean: ## Remove caches and reports; .venv and .tools stay
	@rm -rf reports dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +
