"""Tasks are drawn from any split that an environment finds by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.run.tasks import TasksError, draw_tasks
from rollout.environments.math.config import MathConfig


def test_a_recipe_names_a_split_by_any_name_that_means_it(tmp_path: Path) -> None:
    (tmp_path / "validation-00000-of-00001.jsonl").write_text(json.dumps({"problem": "What is 2 + 2?", "answer": "4"}))
    config = MathConfig(source="math", data_dir=str(tmp_path))
    drawn = {draw_tasks(config, "evaluate", split, 5, 0)[0].id for split in ("validation", "dev", "valid")}
    assert drawn == {"math/math/dev/0"}
    with pytest.raises(TasksError, match=r"evaluate\.split: math has no split test; choose one of dev\."):
        draw_tasks(config, "evaluate", "test", 5, 0)
