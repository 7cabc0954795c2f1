"""The benchmark of the household engines, on generated houses and on a folder without games."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.bench.environments import bench_environments
from rollout.errors import UserError


def test_without_official_games_it_uses_generated_houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    result = bench_environments(None, seconds=0.05)
    assert result["figures"]["alfworld_steps"] > 0
    assert result["figures"]["alfworld_episodes"] >= 1
    assert result["figures"]["alfworld_steps_per_second"] < result["figures"]["alfworld_steps_per_second_without_list"]
    assert result["ratios"] == {}


def test_a_given_folder_without_games_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="official ALFWorld games are not at"):
        bench_environments(str(tmp_path), seconds=0.05)
