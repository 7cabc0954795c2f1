"""Benchmark of the learner against TRL and against a bare training loop. Imports neither torch nor Ray."""
