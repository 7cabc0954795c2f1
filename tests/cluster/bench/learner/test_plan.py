"""Figures of planned steps, by hand and for the planned epoch."""

from __future__ import annotations

from cluster.bench.learner.plan import StepPlan, agent_lengths, figures, packing_efficiency, plan, rank_efficiency


def test_packing_efficiency_is_tokens_by_positions() -> None:
    assert packing_efficiency([StepPlan(90, [60, 40]), StepPlan(60, [50, 50])]) == 150 / 200


def test_rank_efficiency_counts_padding_and_the_wait_for_the_slowest_rank() -> None:
    """Perfect ranks have 45 positions each; the slowest ones have 60 and 50 here."""
    assert rank_efficiency([StepPlan(90, [45, 45])]) == 1.0
    assert rank_efficiency([StepPlan(90, [60, 40]), StepPlan(60, [50, 50])]) == (45 + 30) / (60 + 50)


def test_a_plan_has_every_token_once_and_no_rank_without_work() -> None:
    lengths = agent_lengths(200)
    for ranks in (1, 8):
        steps = plan(lengths, ranks)
        assert sum(step.tokens for step in steps) == sum(lengths)
        assert all(len(step.positions) == ranks and min(step.positions) > 0 for step in steps)
        assert all(sum(step.positions) >= step.tokens for step in steps)


def test_the_figures_are_fractions() -> None:
    found = figures()
    assert set(found) == {"packing_efficiency", "packing_efficiency_8_ranks", "efficiency_8_ranks"}
    assert all(0.5 < value <= 1.0 for value in found.values())
