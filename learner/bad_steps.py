"""Keeps the batch of a step whose loss or gradients are not finite, so that somebody can look at it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout.storage.atomic import atomic_write_text

if TYPE_CHECKING:
    from learner.data.training_set import Data

MAX_SAVED_STEPS = 100
"""Number of steps of one fit whose batches are kept."""


def bad_steps_folder(output_folder: str) -> Path:
    """The folder ``NAME.bad-steps`` beside the output folder."""
    target = Path(output_folder)
    return target.with_name(f"{target.name}.bad-steps")


def save_bad_step(folder: Path, step: int, members: Sequence[int], data: Data, figures: Mapping[str, Any]) -> Path:
    """Write the episodes of a step, with their token ids and weights, to ``step=NNNNNN.json``.

    Args:
        members: indices into ``data.sequences``.
        figures: what was not finite, such as the loss; written as text.

    Raises:
        UserError: no space is left.
    """
    episodes = []
    for index in members:
        sequence = data.sequences[index]
        weights = {name: weight.tolist() for name, weight in sequence.weights.items()}
        episodes.append({"episode": data.episodes[index], "token_ids": sequence.token_ids.tolist(), "weights": weights})
    file = folder / f"step={step:06d}.json"
    content = {"step": step, **{name: str(value) for name, value in figures.items()}, "episodes": episodes}
    atomic_write_text(file, json.dumps(content))
    return file
