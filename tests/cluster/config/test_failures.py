"""Failure policies have the documented defaults, can be set one by one, and are checked when they are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster.config.failures import FailurePolicies, WorkerPolicy
from cluster.config.load import apply_override, load_recipe
from rollout.errors import UserError

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def test_the_defaults_are_those_of_the_document() -> None:
    rows = re.findall(r"^\| `failures\.([\w.]+)` \| (-?[\d.]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented: dict[str, object] = {}
    for key, value in rows:
        apply_override(documented, f"failures.{key}={value}")
    assert documented["failures"] == FailurePolicies().model_dump()


def test_one_policy_is_changed_and_the_others_keep_their_defaults() -> None:
    failures = load_recipe("smoke", ["failures.student.max_restarts=0", "failures.run_stop_timeout_s=90"]).failures
    assert failures.student == WorkerPolicy(max_restarts=0)
    assert failures.model_copy(update={"student": WorkerPolicy(), "run_stop_timeout_s": 30.0}) == FailurePolicies()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("failures.teacher.max_restarts=-2", "failures.teacher.max_restarts: must be greater than or equal to -1"),
        ("failures.episode.max_retries=-1", "failures.episode.max_retries: must be greater than or equal to 0"),
        ("failures.student.stop_timeout_s=0", "failures.student.stop_timeout_s: must be greater than 0"),
        ("failures.student.stop_timeout_s=45", "run_stop_timeout_s is 30, but a worker may take 45 s to stop; set it"),
        ("failures.teacher.restarts=1", "did you mean .*max_restarts"),
    ],
)
def test_a_wrong_policy_is_one_sentence(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("smoke", [setting])
