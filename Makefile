# tastemap: `make run` and `make test` are all there is to it; both build .venv on first use.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test test-fast test-spark35 lint format clean

VENV := .venv
VENV35 := .venv-spark35
DATA := data
# Two test processes, each with a Spark of its own: much of a test on Spark is waiting. In order, for the jobs, which
# take longest, come first.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

# What the caller has set for another Spark or Python must not reach this one.
unexport SPARK_HOME SPARK_CONF_DIR SPARK_ENV_LOADED SPARK_DIST_CLASSPATH
unexport PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON PYSPARK_DRIVER_PYTHON_OPTS PYSPARK_SUBMIT_ARGS
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE PIP_TARGET PIP_PREFIX PIP_USER PIP_CONSTRAINT
# Everything here runs on this machine: Spark and its web page listen to nobody else, and a host name that does
# not resolve does no harm.
export SPARK_LOCAL_IP := 127.0.0.1

# The first Python that really runs (pyenv leaves names on PATH that do not), has venv and pip, and is of a
# version that the pinned packages are published for. $(1): the newest minor version that will do.
find_python = pythons="$(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python)"; \
	for python in $$pythons; do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $(1)))' \
	      >/dev/null 2>&1; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No usable Python among $$pythons: need 3.11 to 3.$(1), with venv and ensurepip (Debian and Ubuntu" \
	    "have them in python3-venv). Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 2; \
	fi

# A .venv that was copied or moved with its checkout still points to where it was made.
moved = $(filter-out $(CURDIR),$(shell cat $(1)/.installed 2>/dev/null))
$(foreach venv,$(VENV) $(VENV35),$(if $(call moved,$(venv)),$(shell rm -f $(venv)/.installed)))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.installed ## Build .venv: Python packages, Spark, and a Java where none is found

$(VENV)/.installed: setup.py constraints.txt scripts/setup_env.py
	@$(call find_python,14); "$$python" scripts/setup_env.py --venv $(VENV) \
	  --constraints constraints.txt --extras spark,report,test,dev

$(VENV35)/.installed: setup.py constraints-spark35.txt scripts/setup_env.py
	@$(call find_python,12); "$$python" scripts/setup_env.py --venv $(VENV35) \
	  --constraints constraints-spark35.txt --extras spark,report,test

run: $(VENV)/.installed ## Cluster a real rating log (TASTEMAP_DATA, else downloaded); more options: ARGS="..."
	@ratings=$$($(VENV)/bin/python scripts/fetch_movielens.py --output $(DATA)); \
	case $$? in \
	  0) ;; \
	  1) ratings=$(DATA)/generated; \
	    echo "Taking a generated rating log of the same form instead: it says nothing of real users."; \
	    $(MAKE) --no-print-directory "$$ratings" || exit ;; \
	  *) exit 2 ;; \
	esac; \
	$(VENV)/bin/spark-submit jobs/cluster_users.py --ratings "$$ratings" \
	  --output output/$$(basename "$$ratings") --overwrite $(ARGS)

$(DATA)/generated: | $(VENV)/.installed
	@rm -rf $@.partial
	@$(VENV)/bin/python scripts/make_ratings.py --format movielens --users 600 --movies 2000 --ratings 100000 \
	  --seed 7 --output $@.partial
	@mv $@.partial $@

test: $(VENV)/.installed ## Run all tests
	$(VENV)/bin/python -m pytest $(PARALLEL)

test-fast: $(VENV)/.installed ## Run the tests that take less than a minute together
	$(VENV)/bin/python -m pytest $(PARALLEL) -m "not slow and not e2e" tests/unit tests/spark

test-spark35: $(VENV35)/.installed ## Run the end-to-end tests on Spark 3.5, in an environment of its own
	$(VENV35)/bin/python -m pytest $(PARALLEL) -m e2e tests/jobs tests/cluster

lint: $(VENV)/.installed ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.installed ## Put the code into the project's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## Remove everything that was built: environments, caches, output (downloaded data stays)
	rm -rf $(VENV) $(VENV35) output build dist lib/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find jobs lib scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
