"""Sandboxes shared by the tests of this folder, because starting one takes a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.session import Session
from rollout.tools.sandbox.tiers import available_tiers

LIMITS = SandboxConfig(memory_mib=128, time_limit_s=20, max_output_chars=1000, max_tool_calls=5, max_tool_chars=1000)


def need(tier: Tier) -> None:
    """Skip the test if the tier does not work on this machine."""
    status = next(status for status in available_tiers() if status.tier is tier)
    if not status.works:
        pytest.skip(f"the tier {tier} does not work on this machine: {status.reason}")


def strongest() -> Tier:
    """The strongest tier that works on this machine."""
    return next((status.tier for status in available_tiers() if status.works), Tier.RLIMITS)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    need(strongest())
    with Sandbox(LIMITS, strongest()) as sandbox:
        yield sandbox


@pytest.fixture
def session(sandbox: Sandbox) -> Iterator[Session]:
    with sandbox.session() as session:
        yield session
