"""Results of a dry run for one part of a recipe: memory use and findings."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.dry_run.model_shapes import ModelShape


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem or a note. ``fatal`` means that the recipe cannot run; ``fix`` is added to the command to solve it."""

    text: str
    fix: str = ""
    fatal: bool = False
    is_estimate: bool = False
    """It follows from an estimate of memory on assumed GPUs, which is too rough to refuse a run."""

    @property
    def sentence(self) -> str:
        return f"{self.text}; add {self.fix}" if self.fix else self.text


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Estimated memory of one engine or one learner rank on each of its devices.

    Attributes:
        device: ``GPU`` or ``CPU``.
        parts: bytes by name.
        available: bytes that it may use; None for main memory, whose size is not known.
        note: explanation of the figures.
    """

    name: str
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
class Assessment:
    """Memory use and findings of one engine or learner; ``use`` is None if the shape of its model is not known."""

    use: MemoryUse | None
    findings: tuple[Finding, ...] = ()
