"""Engines: models behind the protocol of `rollout.engine`."""
