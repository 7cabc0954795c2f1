"""Environments, their shared parts, and wrappers."""
