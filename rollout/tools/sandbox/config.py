"""Settings of the sandbox: isolation tier and resource limits."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from rollout.frozen_model import FrozenModel


class Tier(StrEnum):
    """Isolation tiers, strongest first."""

    BUBBLEWRAP = "bubblewrap"
    """Namespaces created by ``bwrap``, plus namespaces per episode, seccomp and resource limits."""
    UNSHARE = "unshare"
    """The same isolation with namespaces created directly: for machines without ``bwrap``."""
    RLIMITS = "rlimits"
    """No namespaces: seccomp, resource limits and, if supported, Landlock. Weaker; used only on request."""


class SandboxConfig(FrozenModel):
    """The Python tool's isolation and limits."""

    tier: Literal["auto", "bubblewrap", "unshare", "rlimits"] = "auto"
    """``auto`` selects the strongest tier that works on the machine."""
    allow_weak: bool = False
    """Whether the tier ``rlimits`` is allowed, which hides less of the machine from the code."""
    time_limit_s: float = Field(10.0, gt=0, le=3600)
    """Seconds for one piece of code, excluding calls of the worker's functions."""
    memory_mib: int = Field(512, ge=32)
    """Memory of one interpreter, in addition to the memory in use at its start."""
    scratch_mib: int = Field(64, ge=1)
    """Size of an episode's scratch folder, which uses memory in addition to ``memory_mib``."""
    max_processes: int = Field(32, ge=4, le=1024)
    """Interpreters (including copies) and threads of one episode at a time. Code can start threads but no processes."""
    max_code_chars: int = Field(100_000, ge=1, le=10_000_000)
    """Longer code is rejected."""
    max_output_chars: int = Field(20_000, ge=100, le=10_000_000)
    """Maximum length of each output: standard output, last value, error, and final answer."""
    max_tool_calls: int = Field(50, ge=0)
    """Maximum number of calls of the worker's functions in one piece of code."""
    max_tool_chars: int = Field(100_000, ge=100, le=10_000_000)
    """Maximum length of a call's arguments and of its return value, each as JSON."""
    packages: tuple[str, ...] = ("numpy", "sympy")
    """Installed distributions that code may import, together with their requirements."""
    preload: tuple[str, ...] = ("numpy", "sympy")
    """Modules loaded once, before the first episode."""

    def frame_limit_bytes(self) -> int:
        """Size of the largest valid frame: up to 6 bytes per character, 12 for JSON inside JSON."""
        return 6 * 4 * self.max_output_chars + 12 * self.max_tool_chars + 4096
