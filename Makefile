PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# UTC, as partitions are; `date -d` is not everywhere
YESTERDAY := $(shell $(PYTHON) -c "import datetime as d; print(d.datetime.now(d.timezone.utc).date() - d.timedelta(1))")

# The sample warehouse, whatever the environment says: a demo never touches your own server.
demo ui screenshots: export TRACE_CLUSTERING_CLICKHOUSE_URL = chdb://.dagster/warehouse
demo ui screenshots: export TRACE_CLUSTERING_STORAGE = .dagster/assets
# the instance of ./dagster.yaml, so that the UI shows what the demo did
demo ui screenshots: export DAGSTER_HOME = $(CURDIR)

.PHONY: demo ui screenshots test test-kernels lint audit benchmarks clean

demo: $(INSTALLED)
	@$(BIN)/trace-clustering demo-data .dagster/warehouse
	@echo
	@echo "Clustering team 1 with: dagster asset materialize -m trace_clustering_dagster --select '*' --partition '$(YESTERDAY)|1'"
	@$(BIN)/dagster asset materialize -m trace_clustering_dagster --select '*' \
		--partition '$(YESTERDAY)|1' > .dagster/demo.log 2>&1 || { cat .dagster/demo.log; \
		echo; echo "It failed. The reason is in this line of .dagster/demo.log:"; \
		grep -m1 -E 'Failure:|Error:' .dagster/demo.log; exit 1; }
	@grep -oE '(trace_ids|k_sweep_scores|labels|emitted_event) - .*' .dagster/demo.log
	@echo
	@$(BIN)/trace-clustering clusters --team 1
	@echo
	@echo "The report, for a browser: $$($(BIN)/trace-clustering report --team 1)"
	@echo "Next: 'make ui' opens the same assets at http://localhost:3000, and clusters team 2 of the"
	@echo "sample warehouse by itself. README.md says how to point it at your own ClickHouse."

ui: $(INSTALLED)
	@test -d .dagster/warehouse || $(BIN)/trace-clustering demo-data .dagster/warehouse
	$(BIN)/dagster dev

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal

# the arithmetic on another kind of processor, as far as this one can act as one
test-kernels: $(INSTALLED)
	$(BIN)/python -m trace_clustering_dagster_tests.kernels

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# known vulnerabilities of what constraints.txt pins; needs the advisories of osv.dev
audit:
	@.ci/audit

# the pictures of the README, of what the demo made; needs chromium and chromedriver
screenshots: demo
	$(BIN)/python -m trace_clustering_dagster_tests.screenshots

# about an hour, and 13 GB of disk for a while; `python -m benchmarks.sweep --quick` takes minutes
benchmarks: $(INSTALLED)
	$(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.fetch
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.load

clean:
	rm -rf .venv .dagster

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv; the first time this takes a minute or two."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[embedded,s3,kubernetes,dev]' --constraint constraints.txt
	@touch $@
