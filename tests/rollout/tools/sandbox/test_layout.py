"""What of the machine can be seen from within."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.tiers import available_tiers

ISOLATED = [status.tier for status in available_tiers() if status.works and status.tier is not Tier.RLIMITS]


@pytest.mark.parametrize("tier", ISOLATED)
def test_packages_behind_a_link_can_be_imported(tier: Tier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a virtual environment that is a link to another one."""
    info = tmp_path / "real" / "behindalink-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: behindalink\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text("behindalink.py,,\n", encoding="utf-8")
    (tmp_path / "real" / "behindalink.py").write_text("answer = 42\n", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.syspath_prepend(tmp_path / "link")
    config = SandboxConfig(packages=("behindalink",), preload=())
    with Sandbox(config, tier) as sandbox, sandbox.session() as session:
        result = session.run("import behindalink\nbehindalink.answer")
    assert (result.value, result.error) == ("42", None)
