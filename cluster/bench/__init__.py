"""Benchmarks of the system on this machine."""
