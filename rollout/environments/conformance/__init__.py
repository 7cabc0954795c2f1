"""Checks whether an environment meets the requirements of the interface."""
