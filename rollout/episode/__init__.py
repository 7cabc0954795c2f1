"""Rollout of single episodes: the agent loop, acting methods, scoring and filtering."""
