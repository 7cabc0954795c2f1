"""Execution of a run's workers, in this process or on a Ray cluster."""
