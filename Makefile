PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Dagster home of `make demo` and `make ui`, in the same place as in version 0.1
HOME_FOLDER := .dagster/storage
INSTANCE := $(HOME_FOLDER)/dagster.yaml
# UTC, like the partitions; `date -d` is not portable
YESTERDAY := $(shell $(PYTHON) -c "import datetime as d; print(d.datetime.now(d.timezone.utc).date() - d.timedelta(1))")
SAMPLE := .dagster/warehouse/otel_traces
# of the sample: the UI would show every day before it as missing
FIRST_DAY = $$(ls '$(CURDIR)/$(SAMPLE)' | sed -n 's/^demo-\(.*\)\.parquet$$/\1/p' | head -n 1)

# The demo's team, and its key in partitions
TEAM := travel-agent
TEAM_KEY := 2462408293507715

# The demo always uses the sample warehouse, never your own server.
unexport $(filter TRACE_CLUSTERING_SOURCE_% TRACE_CLUSTERING_TEAM_ATTRIBUTE,$(.VARIABLES))
demo ui screenshots: export TRACE_CLUSTERING_CLICKHOUSE_URL = chdb://$(CURDIR)/.dagster/warehouse
demo ui screenshots: export TRACE_CLUSTERING_STORAGE = $(CURDIR)/.dagster/assets
demo ui screenshots: export TRACE_CLUSTERING_SOURCE = otel
# hashed: even if the extra `local` is installed, no model is fetched. The team's users have 12 intents.
demo ui screenshots: export TRACE_CLUSTERING_PARAMS = {"embedder": "hashed", "max_k": 12}
demo ui screenshots: export DAGSTER_HOME = $(CURDIR)/$(HOME_FOLDER)

.PHONY: demo ui screenshots test test-kernels lint reference audit benchmarks clean

demo: $(INSTALLED) $(INSTANCE)
	@$(BIN)/trace-clustering demo-data .dagster/warehouse
	@echo
	@echo "Clustering $(TEAM) with: dagster asset materialize -m trace_clustering_dagster --select '*' --partition '$(YESTERDAY)|$(TEAM_KEY)'"
	@$(BIN)/dagster asset materialize -m trace_clustering_dagster --select '*' \
		--partition '$(YESTERDAY)|$(TEAM_KEY)' > .dagster/demo.log 2>&1 || { cat .dagster/demo.log; \
		echo; echo "It failed. The reason is in this line of .dagster/demo.log:"; \
		grep -m1 -E 'Failure:|Error:' .dagster/demo.log; exit 1; }
	@grep -oE '(raw_traces - .* chosen|(trace_vectors|k_sweep_scores|labels|emitted_event) - ).*' \
		.dagster/demo.log
	@echo
	@$(BIN)/trace-clustering clusters --team $(TEAM)
	@echo
	@echo "The report, for a browser: $$($(BIN)/trace-clustering report --team $(TEAM))"
	@echo "Next: 'make ui' opens the same assets at http://localhost:3000, and by itself clusters"
	@echo "coding-assistant, and the day before yesterday of both teams. Before your own commands:"
	@echo "    source .venv/bin/activate"
	@env | grep -E '^(DAGSTER_HOME|TRACE_CLUSTERING_[A-Z_]+)=' | sort | sed "s/=\(.*\)/='\1'/; s/^/    export /"
	@echo "README.md says how to point it at your own ClickHouse."

# not in the folder of ./dagster.yaml: `dagster dev` would warn that it is not used
ui: $(INSTALLED) $(INSTANCE) $(SAMPLE)
	cd $(HOME_FOLDER) && TRACE_CLUSTERING_START_DATE=$(FIRST_DAY) '$(CURDIR)/$(BIN)/dagster' dev -m trace_clustering_dagster

# one thread of BLAS for each process: more would wait for each other
test: $(INSTALLED)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# the numeric code with the kernels of other processors, as far as this processor can run them
test-kernels: $(INSTALLED)
	$(BIN)/python -m trace_clustering_dagster_tests.clusters.kmeans.kernels

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the tables in docs/ that are generated from the code
reference: $(INSTALLED)
	$(BIN)/python -m trace_clustering_dagster_tests.support.reference

# known vulnerabilities of the versions in constraints.txt; needs access to osv.dev
audit:
	@.ci/audit

# the screenshots of README.md and docs/, of the demo's results; needs chromium and chromedriver
screenshots: demo
	TRACE_CLUSTERING_START_DATE=$(FIRST_DAY) $(BIN)/python -m trace_clustering_dagster_tests.support.screenshots

# takes about an hour and 13 GB of disk; `python -m benchmarks.sweep --quick` takes minutes
benchmarks: $(INSTALLED)
	$(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.fetch
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.load

clean:
	rm -rf .venv .dagster

$(SAMPLE): | $(INSTALLED)
	@$(BIN)/trace-clustering demo-data .dagster/warehouse

$(INSTANCE): dagster.yaml
	@mkdir -p $(@D)
	@cp dagster.yaml $@

# If PYTHON is set to another version than the one in .venv, .venv is created again.
ifneq ($(origin PYTHON),file)
ifneq ($(shell $(PYTHON) --version),$(shell $(BIN)/python --version 2> /dev/null))
CLEAR := --clear
.PHONY: $(INSTALLED)
endif
endif

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv; the first time this takes a minute or two."
	@test -z '$(CLEAR)' -a -x $(BIN)/python || $(PYTHON) -m venv $(CLEAR) .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[embedded,local,s3,kubernetes,dev]' --constraint constraints.txt
	@touch $@
