"""What a fit computes, as far as a checkpoint depends on it: settings, data, initial model and budget.

Where it runs and how often it saves is not part of it, so a fit may resume with other processes or another device.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.config import ComplexityOrder, LearnerConfig
from learner.data.training_set import Data

BUDGET = ("epochs", "max_tokens", "max_seconds")
PLACEMENT = frozenset(
    {
        "micro_batch_tokens",
        "packing",
        "recompute_activations",
        "cpu_offload",
        "compile",
        "strategy",
        "zero_stage",
        "saved_precision",
        "checkpoint_every_s",
        "keep_checkpoints",
        "max_bad_steps",
    }
)
"""Settings that decide how the same weights are computed, up to rounding, and how they are saved."""
_WHOLE_BYTES = 64 * 2**20
_SAMPLES = 256
_SAMPLE_BYTES = 2**16
_MODEL_FILES = ("config.json", "adapter_config.json", "handover.json", "tokenizer.json", "*.safetensors", "*.bin")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Identity of a fit.

    Attributes:
        settings: settings that the result depends on, without the budget.
        budget: ``epochs``, ``max_tokens`` and ``max_seconds``.
        data: digest of keys, token ids, weights and teacher scores of the episodes.
        model: digest of the initial model.
    """

    settings: Mapping[str, Any]
    budget: Mapping[str, Any]
    data: str
    model: str

    @classmethod
    def of(cls, config: LearnerConfig, data: Data, source: str) -> Fingerprint:
        """Describe a fit whose initial model, or whose tokenizer, is in the folder or hub name ``source``."""
        values = config.model_dump(mode="json", include=set(LearnerConfig.model_fields))
        keys = hashlib.sha256(json.dumps([data.digest, *data.episodes]).encode())
        return cls(
            settings={key: value for key, value in values.items() if key not in PLACEMENT and key not in BUDGET},
            budget={key: values[key] for key in BUDGET},
            data=keys.hexdigest(),
            model=model_digest(source),
        )

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits for the names of files."""
        parts = [dict(self.settings), dict(self.budget), self.data, self.model]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]

    def difference(self, saved: Mapping[str, Any]) -> str:
        """What differs from a saved fingerprint, apart from the budget; empty if nothing does."""
        settings = saved["settings"]
        changed = [key for key in self.settings if key not in settings or settings[key] != self.settings[key]]
        if changed:
            return ", ".join(f"learner.{key}" for key in changed)
        if saved["data"] != self.data:
            return "the episodes, their weights or their teacher's scores"
        return "" if saved["model"] == self.model else "the initial model"

    def budget_difference(self, saved: Mapping[str, Any]) -> str:
        """The limits of the budget that differ; empty if none does."""
        return ", ".join(f"learner.{key}" for key in BUDGET if saved["budget"].get(key) != self.budget[key])


def depends_on_budget(config: LearnerConfig, fraction: float) -> bool:
    """Whether the order of the data or the learning rate after ``fraction`` of the budget depends on the budget."""
    paced = isinstance(config.order, ComplexityOrder) and config.order.pace_fraction > 0.0
    return paced or config.decay != "constant" or fraction < config.warmup_fraction


def model_digest(source: str) -> str:
    """Digest of the configuration, tokenizer and weights in a folder; of the name if it is that of a hub model.

    Of a file above 64 MiB, its size, its first and last bytes, and 256 samples of 64 KiB are read.
    """
    digest = hashlib.sha256()
    folder = Path(source)
    if not folder.is_dir():
        return hashlib.sha256(source.encode()).hexdigest()
    for file in sorted({file for pattern in _MODEL_FILES for file in folder.glob(pattern)}):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        for content in _contents(file):
            digest.update(content)
    return digest.hexdigest()


def _contents(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _WHOLE_BYTES:
            yield stream.read()
            return
        for i in range(_SAMPLES):  # the first one holds the header of a safetensors file
            stream.seek(i * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            yield stream.read(_SAMPLE_BYTES)
