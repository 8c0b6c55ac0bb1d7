# Each target runs a task of dev.py. On Windows, run: python dev.py TASK
PYTHON ?= python3
TASKS := setup demo test lint format types docs docs-site bench bench-api screenshots \
  airflow serve clean-docker \
  images up down \
  lock clean

.PHONY: help $(TASKS)

help:
	@$(PYTHON) dev.py help

demo:
	@$(PYTHON) dev.py demo $(if $(ORDERS),--orders "$(ORDERS)") $(if $(RESTAURANTS),--restaurants "$(RESTAURANTS)") $(if $(SCHEMA),--schema "$(SCHEMA)") $(ARGS)

$(filter-out demo,$(TASKS)):
	@$(PYTHON) dev.py $@ $(ARGS)
