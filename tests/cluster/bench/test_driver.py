"""The benchmark of the driver measures whole runs and a resume; its sizes are small here."""

from __future__ import annotations

from pathlib import Path

from cluster.bench.driver_process import measure_resume, measure_run


def test_a_run_is_measured_from_its_first_episode_to_its_report(tmp_path: Path) -> None:
    found = measure_run(300, tmp_path, "local")
    assert found.keys() == {"cpu_ms_per_episode", "cost_growth", "episodes_per_second", "rss_mib"}
    assert all(value > 0 for value in found.values())


def test_a_resume_finds_the_one_missing_episode_in_shards_with_and_without_a_manifest(tmp_path: Path) -> None:
    assert measure_resume(2000, tmp_path)["seconds"] > 0
