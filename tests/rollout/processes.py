"""Code in other processes, whose hashes of texts differ."""

from __future__ import annotations

import subprocess
import sys


def printed_by_two(code: str) -> tuple[str, str]:
    """What two processes of different hash seeds print when they run ``code``."""
    one, other = (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    )
    return one, other
