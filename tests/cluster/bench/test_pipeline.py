"""The experts of all embedded environments run through the whole driver."""

from __future__ import annotations

from cluster.bench.pipeline import bench_pipeline, environments_with_experts


def test_every_expert_finishes_its_episodes_without_errors_and_succeeds() -> None:
    figures = bench_pipeline(6, address="local")["figures"]
    for environment in environments_with_experts():
        assert (figures[f"{environment}_missing"], figures[f"{environment}_errors"]) == (0, 0)
        assert figures[f"{environment}_success"] >= 5 / 6
        assert figures[f"{environment}_episodes_per_s"] > 0
        assert figures[f"{environment}_stored_mib"] > 0
