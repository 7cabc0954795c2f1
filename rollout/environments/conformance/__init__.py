"""Checks whether an environment conforms to the interface."""
