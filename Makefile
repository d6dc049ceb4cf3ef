# The only entry point: everything a person or a machine does here is a target below.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
INSTALLED := .venv/installed
LAPTOP := $(BIN)/python -m deploy.laptop

# Overridable: make test TESTS=tests/unit, make logs SERVICE=executor, make demo DEMO_ARGS=--exit
TESTS ?= tests
TEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
SERVICE ?=

.PHONY: help venv demo up down status logs test test-images lint fmt proto chart scan images bundle \
  compose-secrets bench bench-train bench-gpu bench-k8s clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 17

venv: $(INSTALLED) ## install everything into .venv

$(INSTALLED): pyproject.toml sdk/pyproject.toml constraints.txt scripts/venv.sh
	@scripts/venv.sh
	@touch $@

demo: $(INSTALLED) ## start the platform and tell the whole story (DEMO_ARGS=--exit ends after it)
	@exec $(LAPTOP) demo $(DEMO_ARGS)

up: $(INSTALLED) ## start the platform in the background and wait until it answers
	@$(LAPTOP) up

down: $(INSTALLED) ## stop the platform; its state stays
	@$(LAPTOP) down

status: $(INSTALLED) ## show processes, ports, memory, restarts
	@$(LAPTOP) status

logs: $(INSTALLED) ## follow the logs (SERVICE=executor for one)
	@exec $(LAPTOP) logs $(SERVICE)

test: $(INSTALLED) ## run all tests
	@scripts/test.sh $(TESTS) $(TEST_ARGS)

test-images: $(INSTALLED) ## build two images and start what is in them (root, buildah, debootstrap)
	$(BIN)/python -m pytest tests/images $(TEST_ARGS)

lint: $(INSTALLED) ## check style, types, import boundaries, protos and generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	scripts/proto.sh --check
	$(BIN)/buf lint

fmt: $(INSTALLED) ## rewrite the code in the house style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: $(INSTALLED) ## regenerate gen/ from protos/
	scripts/proto.sh

chart: $(INSTALLED) ## rewrite deploy/k8s/manifests.yaml and the chart's table of values
	$(BIN)/python scripts/chart.py

scan: $(INSTALLED) ## look for weaknesses in what the chart renders
	$(BIN)/python scripts/scan.py

images: $(INSTALLED) ## build the images (BASE=name@sha256:… SERVICES="gateway worker" TAG= PLATFORMS=)
	@$(BIN)/python scripts/images.py

bundle: $(INSTALLED) ## put images, chart and bills of materials into BUNDLE=, signed (SIGN_BY=fingerprint)
	@$(BIN)/python scripts/bundle.py

compose-secrets: $(INSTALLED) ## make the passwords and keys that compose.yaml mounts
	@$(BIN)/python -m deploy.compose

bench: $(INSTALLED) ## measure speed and memory; prints a table and writes bench/results/
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-train: $(INSTALLED) ## train beside other trainers in turn (hours; BENCH_ARGS="--only sb3_ppo --cap 60")
	$(BIN)/python -m bench.train $(BENCH_ARGS)

bench-gpu: $(INSTALLED) ## measure learning on a GPU (BENCH_ARGS="--beside CHECKOUT --only DQN")
	$(BIN)/python -m bench.gpu $(BENCH_ARGS)

bench-k8s: $(INSTALLED) ## measure on a cluster of processes: Jobs a second, a storm of events, streams
	$(BIN)/python -m bench k8s k8s_streams $(BENCH_ARGS)

clean: ## remove the virtual environment and caches; an install stays
	rm -rf .venv .build .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
