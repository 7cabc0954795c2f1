"""Tiers of isolation are detected, chosen, described and refused."""

from __future__ import annotations

import warnings

import pytest
from pydantic import ValidationError

from rollout.errors import UserError
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.tiers import (
    WeakSandboxWarning,
    available_tiers,
    choose_tier,
    shared_sandbox,
    tier_sentence,
)

STRONG = [status.tier for status in available_tiers() if status.works and status.tier is not Tier.RLIMITS]


def test_every_tier_is_tried_and_a_failure_has_a_reason() -> None:
    assert [status.tier for status in available_tiers()] == list(Tier)
    for status in available_tiers():
        assert status.works or len(status.reason) > 10


def test_the_weak_tier_must_be_allowed() -> None:
    with pytest.raises(UserError, match="set allow_weak: true"):
        choose_tier(SandboxConfig(tier="rlimits"))


def test_the_weak_tier_warns() -> None:
    if not available_tiers()[2].works:
        pytest.skip("the tier rlimits does not work on this machine")
    with pytest.warns(WeakSandboxWarning, match="WEAK SANDBOX"):
        assert choose_tier(SandboxConfig(tier="rlimits", allow_weak=True)) is Tier.RLIMITS


@pytest.mark.skipif(not STRONG, reason="no tier with namespaces works on this machine")
def test_auto_selects_the_strongest_tier_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_tier(SandboxConfig(allow_weak=True)) is STRONG[0]
        assert choose_tier(SandboxConfig()) is STRONG[0]


def test_a_tier_that_does_not_work_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``bwrap`` on the path there is no bubblewrap; the message states this and how to fix it."""
    monkeypatch.setenv("PATH", "/nowhere")
    available_tiers.cache_clear()
    try:
        with pytest.raises(UserError, match=r"bubblewrap is not installed.*allow_weak"):
            choose_tier(SandboxConfig(tier="bubblewrap"))
    finally:
        monkeypatch.undo()
        available_tiers.cache_clear()


def test_every_tier_has_a_description() -> None:
    assert "bubblewrap" in tier_sentence(Tier.BUBBLEWRAP)
    assert tier_sentence(Tier.RLIMITS).startswith("WEAK SANDBOX")


def test_a_process_shares_one_sandbox_for_the_same_settings(sandbox: Sandbox) -> None:
    config = SandboxConfig(tier=sandbox.tier.value, allow_weak=True, preload=(), packages=())
    assert shared_sandbox(config) is shared_sandbox(config)
    shared_sandbox(config).close()


def test_a_package_that_is_missing_is_named(sandbox: Sandbox) -> None:
    with (
        Sandbox(SandboxConfig(packages=("no-such-package",)), sandbox.tier) as own,
        pytest.raises(UserError, match="no-such-package"),
    ):
        own.session()


@pytest.mark.parametrize("wrong", [{"time_limit_s": 0}, {"memory_mib": 1}, {"tier": "docker"}, {"color": 1}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SandboxConfig.model_validate(wrong)
