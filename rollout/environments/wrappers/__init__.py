"""Environments that change another environment."""
