"""Recipes, commands, driver, workers, Ray Train, jobs and studies. Only `cluster.runtime` imports Ray."""

from stillhouse_cli import check_packages

# Here, so that it also holds for Ray's workers, for child processes and for `python -m cluster.cli`.
check_packages()
