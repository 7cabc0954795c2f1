"""What a trained checkpoint says about itself, so that an engine can prove that it has loaded it: ``handover.json``.

The learner writes checksums of the files and what the weights predict for one sequence. An engine that has loaded the
folder must read the same files and predict the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from rollout.errors import UserError
from rollout.frozen_model import FrozenModel

FILE_NAME = "handover.json"
PlainName = Annotated[str, Field(pattern=r"^[\w.-]+\.safetensors$")]


class Handover(FrozenModel):
    """Contents of ``handover.json``."""

    state: str = Field(pattern=r"^(step=[\w.]+)?$")
    """Name of the training state that the weights were rounded from; empty if none was kept."""
    files: dict[PlainName, str]
    """SHA-256 of each file of weights."""
    token_ids: tuple[int, ...] = Field(min_length=2)
    """A sequence of ``n`` tokens."""
    top_ids: tuple[int, ...]
    """The ``n - 1`` tokens that are the most likely ones after each prefix of the sequence."""
    top_logprobs: tuple[FiniteFloat, ...]
    """Their log-probabilities, computed in float32 from the weights as they are in the files. Weights of more than 8
    GiB are computed with in the precision of the files."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.token_ids) - 1 == len(self.top_ids) == len(self.top_logprobs):
            raise ValueError("there must be one prediction for each token but the first")
        return self


def weight_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of weights in a folder."""
    digests = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            digests[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def read_handover(folder: Path) -> Handover | None:
    """Read ``handover.json``; None if the folder has none, as models from elsewhere.

    Raises:
        UserError: it cannot be read.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        return None
    try:
        return Handover.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise UserError(f"{file} is damaged; delete the folder, and the same command trains it again.") from error


def checked_handover(folder: Path) -> Handover | None:
    """Like `read_handover`, and compare the files of weights with it.

    Raises:
        UserError: they are not those that the learner wrote.
    """
    handover = read_handover(folder)
    if handover is not None and (found := weight_digests(folder)) != handover.files:
        names = {*found, *handover.files}
        wrong = sorted(name for name in names if found.get(name) != handover.files.get(name))
        raise UserError(
            f"{folder / wrong[0]} is not as the learner wrote it; if it was still being copied, run the same command "
            "again, else delete the folder to train it again."
        )
    return handover
