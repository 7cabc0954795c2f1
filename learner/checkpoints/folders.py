"""Where a fit keeps its intermediate checkpoints. Imports no heavy package."""

from __future__ import annotations

from pathlib import Path


def resume_folder(output_folder: Path) -> Path:
    """The hidden folder ``.NAME.resume`` beside the output folder."""
    return output_folder.with_name(f".{output_folder.name}.resume")
