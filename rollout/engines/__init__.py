"""Engines: implementations of the protocol in `rollout.engine`."""
