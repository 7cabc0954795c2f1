"""The only home of Ray: settings, command line, driver, workers and job submission."""

from stillhouse_cli import check_packages

# Here, so that it also holds for Ray's workers, for child processes and for `python -m cluster.cli`.
check_packages()
