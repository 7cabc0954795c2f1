"""What a dry run has to say of one part of a recipe: the memory that it takes, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.dry_run.model_shapes import ModelShape


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know about a recipe: ``fatal`` keeps it from running, ``fix`` is what to add to the command."""

    text: str
    fix: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What one engine or one learner rank takes of each of its devices, estimated.

    Attributes:
        device: ``GPU`` or ``CPU``.
        parts: bytes by name.
        available: bytes that it may take; None in main memory, where nothing says it.
        note: what the figures mean for the run.
    """

    who: str
    shape: ModelShape
    device: str
    parts: tuple[tuple[str, int], ...]
    available: float | None
    note: str = ""

    @property
    def total(self) -> int:
        return sum(size for _, size in self.parts)

    @property
    def fits(self) -> bool:
        return self.available is None or self.total <= self.available


@dataclass(frozen=True, slots=True)
class Assessed:
    """What was found of one engine or learner; ``use`` is None where its model's shape is not known."""

    use: MemoryUse | None
    findings: tuple[Finding, ...] = ()
