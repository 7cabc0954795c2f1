"""The experts of all embedded worlds play through the whole driver."""

from __future__ import annotations

from cluster.bench.pipeline import bench_worlds, worlds


def test_every_world_is_played_without_an_error_and_won() -> None:
    figures = bench_worlds(6, address="local")["figures"]
    for world in worlds():
        assert (figures[f"{world}_missing"], figures[f"{world}_errors"]) == (0, 0)
        assert figures[f"{world}_success"] >= 5 / 6
        assert figures[f"{world}_episodes_per_s"] > 0
        assert figures[f"{world}_stored_mib"] > 0
