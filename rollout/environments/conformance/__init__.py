"""Checks whether an environment meets the interface."""
