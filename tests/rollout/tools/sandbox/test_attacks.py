"""Every hostile program is contained, in each tier that has namespaces."""

from __future__ import annotations

from typing import get_args

import pytest

from rollout.tools.sandbox.attacks import ATTACKS, AttackResult, measure_call_ms, run_attacks
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.hostile import Aim, Attack
from rollout.tools.sandbox.tiers import WeakSandboxWarning, available_tiers

WORKING = [status.tier for status in available_tiers() if status.works]
STRONG = [tier for tier in WORKING if tier is not Tier.RLIMITS]
NEED_NAMESPACES = {
    "fork bomb with the driver's own permit",
    "thread bomb",
    "filling the disk",
    "filling the disk with empty files",
}
"""Attacks that the tier without namespaces does not contain."""

pytestmark = pytest.mark.timeout(600)


def config(tier: Tier) -> SandboxConfig:
    return SandboxConfig(tier=tier.value, allow_weak=tier is Tier.RLIMITS, memory_mib=128)


@pytest.fixture(scope="module")
def results() -> dict[str, AttackResult]:
    if not STRONG:
        pytest.skip("no tier with namespaces works on this machine")
    return {result.name: result for result in run_attacks(config(STRONG[0]))}


def test_there_are_many_attacks_with_every_aim() -> None:
    assert len(ATTACKS) >= 40
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert {attack.aim for attack in ATTACKS} == set(get_args(Aim))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_contained(attack: Attack, results: dict[str, AttackResult]) -> None:
    assert results[attack.name].fault == ""


@pytest.mark.slow
@pytest.mark.parametrize("tier", WORKING[1:])
def test_the_other_tiers_contain_the_attacks_that_they_should(tier: Tier) -> None:
    if tier is Tier.RLIMITS:
        with pytest.warns(WeakSandboxWarning):
            found = run_attacks(config(tier))
    else:
        found = run_attacks(config(tier))
    escaped = {result.name for result in found if not result.contained}
    assert escaped <= (NEED_NAMESPACES if tier is Tier.RLIMITS else set())


@pytest.mark.skipif(not STRONG, reason="no tier with namespaces works on this machine")
def test_an_attack_that_succeeds_is_detected() -> None:
    """Operations that the sandbox allows on purpose, declared as attacks, count as not contained."""
    harmless = Attack("harmless", "files", "attempt(open, 'scratch.txt', 'w')")
    forged = Attack("forged", "result channel", "final_answer('forged')")
    assert [result.contained for result in run_attacks(config(STRONG[0]), [harmless, forged])] == [False, False]


@pytest.mark.skipif(not STRONG, reason="no tier with namespaces works on this machine")
def test_the_time_of_a_call_is_measured() -> None:
    assert measure_call_ms(config(STRONG[0]), calls=3) > 0
