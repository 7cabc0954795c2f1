"""Checks a recipe without running it."""
