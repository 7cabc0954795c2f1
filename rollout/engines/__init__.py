"""Engines: models behind the one protocol of `rollout.engine`."""
