"""Ratios of measurements, and which contenders there are without TRL."""

from __future__ import annotations

import pytest

from cluster.bench.learner.registry import (
    CONTENDERS,
    MEMORIES,
    TIMES,
    available,
    memory_ratios,
    time_ratios,
)

REQUIRED = {
    *("kl_vs_trl_gkd", "kl_scored_vs_trl_gkd", "kl_vs_trl_distillation_compacted"),
    *("kl_scored_vs_trl_distillation_compacted", "ce_vs_trl_sft_packing_compacted", "ce_vs_floor", "kl_vs_floor"),
}


def test_a_ratio_is_the_opponents_median_by_ours() -> None:
    step_s = {"ce": [1.0, 2.0, 90.0], "ce_floor": [1.8, 1.6, 0.1]}
    assert time_ratios(step_s) == {"ce_vs_floor": 1.6 / 2.0}


def test_the_scoring_pass_is_added_round_by_round() -> None:
    step_s = {"kl": [1.0, 3.0, 1.0], "teacher_scoring": [3.0, 1.0, 1.5], "trl_gkd": [16.0, 20.0, 16.0]}
    assert time_ratios(step_s) == {"kl_vs_trl_gkd": 16.0, "kl_scored_vs_trl_gkd": 4.0}


def test_a_ratio_of_memory_is_ours_by_the_opponents() -> None:
    assert memory_ratios({"kl": 100.0, "trl_gkd": 400.0}) == {"peak_memory_vs_trl_gkd": 0.25}


def test_every_required_ratio_is_defined_between_contenders() -> None:
    assert set(TIMES) >= REQUIRED
    assert "peak_memory_vs_trl_gkd" in MEMORIES
    named = {name for opponent, parts in TIMES.values() for name in (opponent, *parts)}
    assert named | {name for pair in MEMORIES.values() for name in pair} == set(CONTENDERS)


def test_without_trl_ours_and_the_floor_remain_and_no_ratio_to_trl() -> None:
    remaining = available(trl=False)
    assert set(remaining) == {"ce", "ce_floor", "kl", "kl_floor", "teacher_scoring"}
    ratios = time_ratios({name: [1.0] for name in remaining})
    assert ratios == {"ce_vs_floor": 1.0, "kl_vs_floor": 1.0}
    assert memory_ratios(dict.fromkeys(remaining, 1.0)) == {"peak_memory_kl_vs_floor": 1.0}


@pytest.mark.parametrize("name", [name for name, contender in CONTENDERS.items() if not contender.trl])
def test_the_function_of_a_contender_exists(name: str) -> None:
    assert callable(CONTENDERS[name].load())
