"""What a recipe can say about maths problems."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rollout.environments.math.generator import CODE_FAMILIES, WORD_FAMILIES, Family
from rollout.frozen_model import FrozenModel
from rollout.tools.sandbox.config import SandboxConfig

Source = Literal["generated", "gsm8k", "gsm_hard", "math", "aime"]


class MathConfig(FrozenModel):
    """Which problems, and which tools there are to solve them."""

    type: Literal["math"] = "math"
    source: Source = "generated"
    """Our own generated problems, or files of a known data set; ``math`` and ``aime`` stand for their formats."""
    data_dir: str | None = None
    """Folder that holds the data set, or one file of it."""
    families: tuple[Family, ...] | None = None
    """Of generated problems. None is all that the tools can solve: word problems, and with Python those for code."""
    python: Literal["off", "sandbox"] = "off"
    """Whether ``python[…]`` runs code, in a persistent interpreter in a sandbox."""
    sandbox: SandboxConfig = SandboxConfig()
    """Isolation and limits of that interpreter."""
    check_cpu_limit_s: float = Field(3.0, gt=0)
    """CPU time for judging one answer; an answer that needs more is wrong."""

    @model_validator(mode="after")
    def _check(self) -> MathConfig:
        if self.source == "generated" and self.data_dir is not None:
            raise ValueError("data_dir is read with the sources of data sets only; name a source or leave data_dir out")
        if self.source != "generated" and self.data_dir is None:
            raise ValueError(f"source: {self.source} needs data_dir; set it to the folder that holds the data set")
        if self.source != "generated" and self.families is not None:
            raise ValueError("families are of generated problems; leave families out")
        if self.python == "off" and self.sandbox != SandboxConfig():
            raise ValueError("sandbox is read with python: sandbox only; set python: sandbox or leave sandbox out")
        if self.families == ():
            raise ValueError(f"families is empty; name one of {', '.join((*WORD_FAMILIES, *CODE_FAMILIES))}")
        return self

    @property
    def code_sandbox(self) -> SandboxConfig | None:
        """Where the agent's code runs, if it may write any (`rollout.factory.code_sandbox`)."""
        return None if self.python == "off" else self.sandbox

    def generated_families(self) -> tuple[Family, ...]:
        """The families of generated problems to draw from."""
        if self.families is not None:
            return self.families
        return WORD_FAMILIES if self.python == "off" else (*WORD_FAMILIES, *CODE_FAMILIES)
