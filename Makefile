# Two commands matter: `make demo` and `make test`. Each makes .venv from the committed lock when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := constraints.lock

.PHONY: demo test test-long test-ui test-stack audit chaos chaos-train hostile bench-storage bench-scale bench-overhead bench-download bench-duplicates bench-track bench-shards bench-reader bench-train bench-evaluate learn check clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.demo
	$(BIN)/tritrack demo

test: $(VENV)/.test
	$(BIN)/pytest -m "not browser and not stack and not long" -n 3 --dist worksteal

# What takes a minute and more each: kills and faults in every stage, memory on a long video, ranks on two machines.
test-long: $(VENV)/.test
	$(BIN)/pytest -m long

# Drives Debian's Chromium (/usr/bin/chromium) against a Prefect server of its own; `make test-ui UI='retried or
# schedule'` runs those alone.
UI ?=
test-ui: $(VENV)/.test
	$(BIN)/pytest -m browser -k '$(UI)'

# The services of docker/compose.yaml as processes: Postgres (initdb and postgres on the PATH), a Prefect server with a
# password, S3 and workers, of which one is killed: five minutes.
test-stack: $(VENV)/.test
	$(BIN)/pytest -m stack

# Known vulnerabilities of what constraints.lock pins, and licences of what Tritrack installs: half a minute.
audit: $(VENV)/.test
	$(BIN)/python -m tests.audit

# Seconds, memory and requests of planning a run that has nothing to do, from 1,000 to 100,000 sources.
bench-storage: $(VENV)/.test
	$(BIN)/python -m tests.bench.storage

# Whole runs of 1,000 to 100,000 videos with stubbed work: task runs, ms a video, memory: ten minutes.
bench-scale: $(VENV)/.test
	$(BIN)/python -m tests.bench.scale

# What Prefect and storage add to a run and to a unit, and how fast commands start, each beside a limit: five minutes.
bench-overhead: $(VENV)/.test
	$(BIN)/python -m tests.bench.overhead

# Clips a second beside plain yt-dlp and beside what the network allows, at 50 and at 500 ms of latency: 15 minutes.
bench-download: $(VENV)/.test
	$(BIN)/python -m tests.bench.download

# Copies found and strangers taken for copies, over real and generated clips, and the search: 15 minutes.
bench-duplicates: $(VENV)/.test
	$(BIN)/python -m tests.bench.duplicates

# How right trackers are, what the gates keep, pairs a minute and frames a second beside the paper's recipe: an hour.
bench-track: $(VENV)/.test
	$(BIN)/python -m tests.bench.track

# Packing and merging of shards beside what decoding, encoding and a plain write cost: two minutes.
bench-shards: $(VENV)/.test
	$(BIN)/python -m tests.bench.shards

# Training pairs a second beside webdataset, and the time to the first batch at a million: five minutes.
bench-reader: $(VENV)/.test
	$(BIN)/python -m tests.bench.reader

# All that training needs, in one run: shards and reader as above, training steps beside one batch in memory, two ranks
# beside one: a quarter of an hour on a quiet machine.
bench-train: bench-shards bench-reader
	$(BIN)/python -m tests.bench.training

# What benchmarks cost beside their networks' passes, and average precision beside the devkit in Python: ten minutes.
bench-evaluate: $(VENV)/.test
	$(BIN)/python -m tests.bench.average_precision
	$(BIN)/python -m tests.bench.evaluate

# What a network learns from the real clips alone, three seeds, beside itself untrained and HOG: 45 minutes.
# `.venv/bin/python -m tests.bench.learn --recipes learn ranking ... --steps 1000` takes ingredients away.
learn: $(VENV)/.test
	$(BIN)/python -m tests.bench.learn

# Kills and faults by the hundred, on local disk and S3: `make chaos KILLS=20 PREFECT_KILLS=2 FAULTS=200 SEED=1 ROOT=s3`.
KILLS ?= 90
PREFECT_KILLS ?= 10
FAULTS ?= 1000
SEED ?= 0
ROOT ?= both

chaos: $(VENV)/.test
	$(BIN)/python -m tests.chaos.drive --kills $(KILLS) --prefect-kills $(PREFECT_KILLS) --faults $(FAULTS) \
		--seed $(SEED) --root $(ROOT)

# SIGKILL to a rank, torchrun or the parent at random moments of training, on 1 to 4 ranks: `make chaos-train KILLS=20`.
chaos-train: KILLS = 20
chaos-train: $(VENV)/.test
	$(BIN)/python -m tests.chaos.training --kills $(KILLS) --seed $(SEED)

# Every malformed or hostile input down the real path, and what is kept through the track stage too: two minutes.
hostile: $(VENV)/.test
	$(BIN)/python -m tests.hostile.drive --track

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .tritrack .pytest_cache .mypy_cache .ruff_cache *.egg-info

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Tritrack needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(LOCK) pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOCK) -e '.[demo]'
	touch $@

$(VENV)/.test: $(LOCK) pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOCK) -e '.[test]'
	touch $@ $(VENV)/.demo
