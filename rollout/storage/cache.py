"""The folder for files that are built once on a machine and used by all runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """The folder ``kind`` below ``$STILLHOUSE_CACHE``, or below ``~/.cache/stillhouse`` if that is not set."""
    return Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse").expanduser() / kind
