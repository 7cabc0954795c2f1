"""How isolated, and how large, model-written code may be."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from rollout.frozen_model import FrozenModel


class Tier(StrEnum):
    """Ways of isolation, the strongest first."""

    BUBBLEWRAP = "bubblewrap"
    """Namespaces made by the program ``bwrap``, plus our own around each episode, seccomp and limits."""
    UNSHARE = "unshare"
    """The same, all namespaces made by ourselves: for machines without ``bwrap``."""
    RLIMITS = "rlimits"
    """No namespaces: seccomp, limits and, where the kernel has it, Landlock. Weaker; only on request."""


class SandboxConfig(FrozenModel):
    """The Python tool's isolation and limits."""

    tier: Literal["auto", "bubblewrap", "unshare", "rlimits"] = "auto"
    """``auto`` takes the strongest that works on the machine."""
    allow_weak: bool = False
    """Whether the tier ``rlimits`` may be used, which hides less of the machine from the code."""
    time_limit_s: float = Field(10.0, gt=0, le=3600)
    """Seconds for one piece of code, tools of the worker not counted."""
    memory_mib: int = Field(512, ge=32)
    """Memory of one interpreter, beyond what it has loaded at its start."""
    scratch_mib: int = Field(64, ge=1)
    """Size of an episode's scratch folder; it counts as memory beside ``memory_mib``."""
    max_processes: int = Field(32, ge=4, le=1024)
    """Interpreters (copies included) and threads of one episode at once. Code can start threads, never processes."""
    max_code_chars: int = Field(100_000, ge=1, le=10_000_000)
    """Longer code is not run."""
    max_output_chars: int = Field(20_000, ge=100, le=10_000_000)
    """What is kept of the prints, of the last value, of an error and of an answer, each."""
    max_tool_calls: int = Field(50, ge=0)
    """Calls of the worker's functions in one piece of code."""
    max_tool_chars: int = Field(100_000, ge=100, le=10_000_000)
    """Size of a call's arguments, and of what the function gives back, each as JSON."""
    packages: tuple[str, ...] = ("numpy", "sympy")
    """Installed distributions that code may import; what they require comes with them."""
    preload: tuple[str, ...] = ("numpy", "sympy")
    """Modules loaded once, before the first episode."""

    def frame_limit_bytes(self) -> int:
        """The longest message of an honest interpreter: a character takes up to six bytes, JSON in JSON twelve."""
        return 6 * 4 * self.max_output_chars + 12 * self.max_tool_chars + 4096
