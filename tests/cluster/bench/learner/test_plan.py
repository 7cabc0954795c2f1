"""Figures of a planned epoch."""

from __future__ import annotations

from cluster.bench.learner.plan import agent_lengths, figures, plan


def test_packing_leaves_fewer_positions_unused_than_padding() -> None:
    lengths = agent_lengths(400)
    assert plan(lengths, 1, packed=True).used_share > plan(lengths, 1, packed=False).used_share


def test_the_figures_are_fractions_and_no_rank_computes_a_pass_without_a_sequence() -> None:
    found = figures()
    assert found.pop("dummy_passes_8_ranks") == 0
    assert set(found) == {
        "packing_efficiency",
        "packing_efficiency_padded",
        "packing_efficiency_8_ranks",
        "efficiency_8_ranks",
    }
    assert all(0.5 < value <= 1.0 for value in found.values())
