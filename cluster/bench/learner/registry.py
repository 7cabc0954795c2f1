"""The contenders by name, and the ratios between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any, Literal

MISSING_TRL = "not installed: pip install stillhouse[bench]"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to train.

    Attributes:
        module, function: what trains, imported in its own process.
        arguments: further arguments of the function.
        loss: contenders of one kind have equal losses; empty if it has none.
        trl: whether it needs TRL.
    """

    module: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    loss: Literal["ce", "kl", ""] = ""
    trl: bool = False

    def load(self) -> Callable[..., None]:
        """Import the function, which takes a workload, a folder and a gate."""
        from_module = import_module(f"cluster.bench.learner.{self.module}")
        named = {
            name: getattr(from_module, value) if name == "loss_of" else value for name, value in self.arguments.items()
        }
        return partial(getattr(from_module, self.function), **named)


def _peer(function: str, loss: Literal["ce", "kl"], *, compacted: bool) -> Contender:
    return Contender("trl_peers", function, {"compacted": compacted}, loss, trl=True)


CONTENDERS: Mapping[str, Contender] = {
    "ce": Contender("contenders", "ours", {"divergence": "cross_entropy"}, "ce"),
    "ce_floor": Contender("contenders", "floor", {"loss_of": "cross_entropy"}, "ce"),
    "trl_sft_packing": _peer("sft_packing", "ce", compacted=False),
    "trl_sft_packing_compacted": _peer("sft_packing", "ce", compacted=True),
    "kl": Contender("contenders", "ours", {"divergence": "forward_kl"}, "kl"),
    "kl_floor": Contender("contenders", "floor", {"loss_of": "forward_kl"}, "kl"),
    "teacher_scoring": Contender("contenders", "scoring"),
    "trl_distillation": _peer("distillation", "kl", compacted=False),
    "trl_distillation_compacted": _peer("distillation", "kl", compacted=True),
    "trl_gkd": _peer("gkd", "kl", compacted=False),
}
"""In the order in which they take turns."""

TIMES: Mapping[str, tuple[str, Sequence[str]]] = {
    "ce_vs_floor": ("ce_floor", ("ce",)),
    "ce_vs_trl_sft_packing": ("trl_sft_packing", ("ce",)),
    "ce_vs_trl_sft_packing_compacted": ("trl_sft_packing_compacted", ("ce",)),
    "kl_vs_floor": ("kl_floor", ("kl",)),
    "kl_vs_trl_distillation": ("trl_distillation", ("kl",)),
    "kl_vs_trl_distillation_compacted": ("trl_distillation_compacted", ("kl",)),
    "kl_vs_trl_gkd": ("trl_gkd", ("kl",)),
    "kl_scored_vs_trl_distillation": ("trl_distillation", ("kl", "teacher_scoring")),
    "kl_scored_vs_trl_distillation_compacted": ("trl_distillation_compacted", ("kl", "teacher_scoring")),
    "kl_scored_vs_trl_gkd": ("trl_gkd", ("kl", "teacher_scoring")),
}
"""The opponent of each ratio of times, and our contenders whose times are added up. Above 1, we are faster."""
MEMORIES: Mapping[str, tuple[str, str]] = {
    "peak_memory_vs_trl_gkd": ("kl", "trl_gkd"),
    "peak_memory_vs_trl_distillation_compacted": ("kl", "trl_distillation_compacted"),
    "peak_memory_vs_trl_sft_packing_compacted": ("ce", "trl_sft_packing_compacted"),
    "peak_memory_kl_vs_floor": ("kl", "kl_floor"),
}
"""Our contender of each ratio of peak memory, and the opponent. Below 1, we need less."""


def has_trl() -> bool:
    """Whether TRL is installed; it is not imported."""
    return find_spec("trl") is not None


def available(*, trl: bool) -> dict[str, Contender]:
    """The contenders that can be measured."""
    return {name: contender for name, contender in CONTENDERS.items() if trl or not contender.trl}


def time_ratios(step_s: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The opponent's median time of a step divided by ours; only of contenders that were measured.

    Args:
        step_s: seconds of a step in each round, by contender.
    """
    ratios = {}
    for name, (opponent, parts) in TIMES.items():
        if all(step_s.get(part) for part in (opponent, *parts)):
            own = [sum(times) for times in zip(*(step_s[part] for part in parts), strict=True)]
            ratios[name] = median(step_s[opponent]) / median(own)
    return ratios


def memory_ratios(peak_mib: Mapping[str, float]) -> dict[str, float]:
    """Our peak memory divided by the opponent's; only of contenders that were measured."""
    return {
        name: peak_mib[own] / peak_mib[opponent]
        for name, (own, opponent) in MEMORIES.items()
        if own in peak_mib and opponent in peak_mib
    }
