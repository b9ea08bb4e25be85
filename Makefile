PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Dagster home of `make demo` and `make ui`, in the same place as in version 0.1
HOME_FOLDER := .dagster/storage
INSTANCE := $(HOME_FOLDER)/dagster.yaml
# UTC, like the partitions; `date -d` is not portable
YESTERDAY := $(shell $(PYTHON) -c "import datetime as d; print(d.datetime.now(d.timezone.utc).date() - d.timedelta(1))")
# holds the first of the sample's 14 days: the UI would show every day before it as missing
FIRST_DAY := .dagster/first_day
WRITE_SAMPLE = $(BIN)/trace-clustering demo-data .dagster/warehouse && $(PYTHON) -c \
	"import datetime as d; print(d.date.fromisoformat('$(YESTERDAY)') - d.timedelta(13))" > $(FIRST_DAY)

# The demo always uses the sample warehouse, never your own server.
demo ui screenshots: export TRACE_CLUSTERING_CLICKHOUSE_URL = chdb://$(CURDIR)/.dagster/warehouse
demo ui screenshots: export TRACE_CLUSTERING_STORAGE = $(CURDIR)/.dagster/assets
demo ui screenshots: export DAGSTER_HOME = $(CURDIR)/$(HOME_FOLDER)

.PHONY: demo ui screenshots test test-kernels lint reference audit benchmarks clean

demo: $(INSTALLED) $(INSTANCE)
	@$(WRITE_SAMPLE)
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
	@echo "Next: 'make ui' opens the same assets at http://localhost:3000, and by itself clusters team 2"
	@echo "of the sample warehouse, and the day before yesterday of teams 1 and 2. Before your own commands:"
	@echo "    source .venv/bin/activate && export DAGSTER_HOME='$(DAGSTER_HOME)'"
	@echo "README.md says how to point it at your own ClickHouse."

# not in the folder of ./dagster.yaml: `dagster dev` would warn that it is not used
ui: $(INSTALLED) $(INSTANCE) $(FIRST_DAY)
	cd $(HOME_FOLDER) && TRACE_CLUSTERING_START_DATE=$$(cat '$(CURDIR)/$(FIRST_DAY)') '$(CURDIR)/$(BIN)/dagster' dev -m trace_clustering_dagster

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal

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
	TRACE_CLUSTERING_START_DATE=$$(cat $(FIRST_DAY)) $(BIN)/python -m trace_clustering_dagster_tests.support.screenshots

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

$(FIRST_DAY): | $(INSTALLED)
	@$(WRITE_SAMPLE)

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
