"""Training survives fifty SIGKILLs at random moments, on one process and on two."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.learner.checkpoints.kills import run


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ranks", [1, 2])
def test_fifty_kills_change_nothing(tmp_path: Path, ranks: int) -> None:
    counts = run(tmp_path, ranks, kills=50)
    assert counts["kills"] == 50
    assert counts["resumes"] > 10
