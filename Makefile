PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# of `make demo` and `make ui`: what has run is kept where version 0.1 kept it
HOME_FOLDER := .dagster/storage
INSTANCE := $(HOME_FOLDER)/dagster.yaml
# UTC, as partitions are; `date -d` is not everywhere
YESTERDAY := $(shell $(PYTHON) -c "import datetime as d; print(d.datetime.now(d.timezone.utc).date() - d.timedelta(1))")

# The sample warehouse, whatever the environment says: a demo never touches your own server.
demo ui screenshots: export TRACE_CLUSTERING_CLICKHOUSE_URL = chdb://$(CURDIR)/.dagster/warehouse
demo ui screenshots: export TRACE_CLUSTERING_STORAGE = $(CURDIR)/.dagster/assets
demo ui screenshots: export DAGSTER_HOME = $(CURDIR)/$(HOME_FOLDER)

.PHONY: demo ui screenshots test test-kernels lint reference audit benchmarks clean

demo: $(INSTALLED) $(INSTANCE)
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
	@echo "Next: 'make ui' opens the same assets at http://localhost:3000, and by itself clusters team 2"
	@echo "of the sample warehouse, and the day before yesterday of teams 1 and 2. README.md says how to"
	@echo "point it at your own ClickHouse."

# in another folder than ./dagster.yaml, of which `dagster dev` would say that it is not used
ui: $(INSTALLED) $(INSTANCE)
	@test -d .dagster/warehouse || $(BIN)/trace-clustering demo-data .dagster/warehouse
	cd $(HOME_FOLDER) && '$(CURDIR)/$(BIN)/dagster' dev -m trace_clustering_dagster

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal

# the arithmetic on another kind of processor, as far as this one can act as one
test-kernels: $(INSTALLED)
	$(BIN)/python -m trace_clustering_dagster_tests.clusters.kmeans.kernels

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the tables in docs/ that say what the code says
reference: $(INSTALLED)
	$(BIN)/python -m trace_clustering_dagster_tests.support.reference

# known vulnerabilities of what constraints.txt pins; needs the advisories of osv.dev
audit:
	@.ci/audit

# the pictures of the README and of docs/, of what the demo made; needs chromium and chromedriver
screenshots: demo
	$(BIN)/python -m trace_clustering_dagster_tests.support.screenshots

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

$(INSTANCE): dagster.yaml
	@mkdir -p $(@D)
	@cp dagster.yaml $@

# A Python that is named, and is not the one in .venv, gets a .venv of its own making.
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
	$(BIN)/python -m pip install --quiet --editable '.[embedded,s3,kubernetes,dev]' --constraint constraints.txt
	@touch $@
