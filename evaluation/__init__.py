"""Evaluation: turns completed episodes into metrics with confidence intervals, running snapshots and reports."""
