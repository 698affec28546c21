SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CACHE := $(or $(CHURN_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/churn-operator)
BIN := $(CACHE)/venv/bin
CLUSTER_ := hack/cluster/cluster
export PYTHONPATH := $(CURDIR)/operator
export PATH := $(BIN):$(PATH)

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

hooks: setup ## let git run the quick checks before each commit
	@hack/tool pre-commit install

setup: ## everything that is built or installed once: Python packages, and the cluster's programs
	@hack/setup
	@$(CLUSTER_) tools

lint: setup ## style, types, layers, shell scripts, workflows, secrets in any commit, chart
	@ruff check . && ruff format --check .
	@mypy
	@lint-imports
	@grep -rlE '^#!.*bash|shellcheck shell=' hack .ci | xargs shellcheck -x
	@hack/tool actionlint
	@hack/tool gitleaks git --no-banner --redact --log-level warn .
	@$$($(CLUSTER_) env | sed -n 's/^HELM=//p') lint --quiet charts/churn-operator --values charts/churn-operator/ci/values.yaml

test-unit: setup ## tests of pure functions and of manifests, with the coverage that is promised
	@rm -rf reports
	@pytest tests/unit tests/golden --numprocesses auto --dist worksteal --cov --cov-report=html:reports/coverage --cov-report=xml:reports/coverage.xml --cov-fail-under=85
	@coverage report --skip-covered
	@coverage report --fail-under=100 --include='*/churnmodel/*.py,*/trainingrun/*.py,*/driftmonitor/*.py' --omit='*/observe.py'

test-integration: setup ## tests against a real API server
	@pytest tests/integration

test-e2e: cluster images ## tests on the cluster, with KServe and MLflow
	@pytest tests/e2e

test: lint verify test-unit ## every check and every test there is; KEEP=1 leaves the cluster up
	@was_up=$$($(CLUSTER_) status >/dev/null 2>&1 && echo 1 || true); \
	trap '[[ -n $$was_up || -n "$(KEEP)" ]] || $(CLUSTER_) down' EXIT; \
	$(CLUSTER_) up; hack/images/build; \
	pytest tests/integration tests/e2e --numprocesses 3 --dist loadscope --no-loadscope-reorder --durations 12 # lanes beside each other: they mostly wait

crds: setup ## the CRDs and the page of reasons, from the models
	@python -m churn_operator.api.crds
	@hack/reasons

verify: crds ## fails when a generated file is not what is committed
	@git diff --exit-code --stat crds charts docs/reasons.md

images: ## build the images, and load them into the cluster that is up; IMAGES=registry/folder TAG=… pushes them there
	@hack/images/build

scan: ## known vulnerabilities of the images' Python packages; asks PyPI, and so is no part of make test
	@hack/tool pip-audit --strict --disable-pip --require-hashes --progress-spinner off $(addprefix --requirement=,$(wildcard images/*/requirements.txt))

package: setup ## the chart as an archive, in dist
	@$$($(CLUSTER_) env | sed -n 's/^HELM=//p') package charts/churn-operator --destination dist

cluster: setup ## bring up a cluster: CLUSTER=kind is in Docker and goes first where that runs, own is one node of this machine
	@$(CLUSTER_) up

doctor: ## what the cluster has and lacks; CLUSTER=current is the one of kubectl's current context, here and below
	@hack/doctor

cluster-down: ## take it down
	@$(CLUSTER_) down

install: ## install or upgrade the operator with Helm; VALUES=file.yaml
	@hack/install $(if $(VALUES),--values $(VALUES))

test-smoke: ## after an installation: the operator leads, and every model's champion answers
	@hack/smoke

uninstall: ## remove the operator; models and what serves them stay
	@hack/uninstall

demo: setup ## the whole story on a real cluster, told as it happens
	@hack/demo/demo

demo-clean: ## remove everything that the demonstration made
	@hack/demo/clean

bench: setup ## measure what is promised, each figure beside its rival
	@hack/bench/run

lock: ## pin the newest allowed versions of all Python packages
	@hack/lock --upgrade

.PHONY: help setup lint test test-unit test-integration test-e2e test-smoke crds verify images scan package hooks cluster doctor cluster-down install uninstall demo demo-clean bench lock
