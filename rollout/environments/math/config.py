"""Configuration of the math environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rollout.environments.data_sets.columns import Columns
from rollout.environments.math.generator import CODE_FAMILIES, WORD_FAMILIES, Family
from rollout.frozen_model import FrozenModel, reject
from rollout.tools.sandbox.config import SandboxConfig

Source = Literal["generated", "gsm8k", "gsm_hard", "math", "aime", "svamp", "olympiadbench"]


class MathConfig(FrozenModel):
    """Selects the problems and the tools."""

    type: Literal["math"] = "math"
    source: Source = "generated"
    """Generated problems, or files of a known data set; ``math`` and ``aime`` select any files in their formats."""
    data_dir: str | None = None
    """Folder with the data set, or one of its files."""
    columns: Columns | None = None
    """Columns of problem and answer in files of another layout; None uses those of the source."""
    families: tuple[Family, ...] | None = None
    """Families of generated problems. None selects word problems, and with Python also problems for code."""
    python: Literal["off", "sandbox"] = "off"
    """Whether ``python[…]`` runs code in a persistent interpreter in a sandbox."""
    sandbox: SandboxConfig = SandboxConfig()
    """Isolation and limits of the interpreter."""
    check_cpu_limit_s: float = Field(3.0, gt=0)
    """Limit on the CPU time for checking one answer; an answer that exceeds it is wrong."""

    @model_validator(mode="after")
    def _check(self) -> MathConfig:
        reject(
            (
                self.source == "generated" and self.data_dir is not None,
                "data_dir is read with the sources of data sets only; name a source or leave data_dir out",
            ),
            (
                self.source == "generated" and self.columns is not None,
                "columns is read with the sources of data sets only; name a source or leave columns out",
            ),
            (
                self.source != "generated" and self.data_dir is None,
                f"source: {self.source} needs data_dir; set it to the folder with the data set",
            ),
            (
                self.source != "generated" and self.families is not None,
                "families applies to generated problems only; leave families out",
            ),
            (
                self.python == "off" and self.sandbox != SandboxConfig(),
                "sandbox is read with python: sandbox only; set python: sandbox or leave sandbox out",
            ),
            (self.families == (), f"families is empty; name one of {', '.join((*WORD_FAMILIES, *CODE_FAMILIES))}"),
        )
        return self

    @property
    def code_sandbox(self) -> SandboxConfig | None:
        """Sandbox for code in actions, None if Python is off (`rollout.environments.plugins.code_sandbox`)."""
        return None if self.python == "off" else self.sandbox

    def generated_families(self) -> tuple[Family, ...]:
        """Families that generated problems are drawn from."""
        if self.families is not None:
            return self.families
        return WORD_FAMILIES if self.python == "off" else (*WORD_FAMILIES, *CODE_FAMILIES)
