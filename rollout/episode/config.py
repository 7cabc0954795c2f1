"""Settings of an agent and of its episodes: how it is prompted, how far one episode may go, when it is played again."""

from __future__ import annotations

from pydantic import Field, model_validator

from rollout.engine import Sampling
from rollout.episode.acting import Acting, ConstrainedActing, PlainActing, SelfConsistentActing
from rollout.frozen_model import FrozenModel
from rollout.prompts.styles import StyleName
from rollout.prompts.tool import TOOLS
from rollout.tools.sandbox.config import SandboxConfig


class EpisodePolicy(FrozenModel):
    """What happens to an episode whose environment hangs."""

    max_retries: int = Field(1, ge=0)
    """Times that an episode is played again, each time in a new environment, after the environment did not answer
    within ``agent.step_timeout_s``; the last record is kept."""
    close_timeout_s: float = Field(10.0, gt=0.0)
    """Seconds that an environment may take to close before it is left behind."""


class AgentConfig(FrozenModel):
    """How an agent is prompted, and how far one episode may go."""

    style: StyleName = "react"
    """How a turn is written: thought and action, action alone, state and thought and action, thought and code, or an
    answer after a chain of thought."""
    instructions: str = "short"
    """Which of the environment's system messages: ``short``, or ``full`` with the grammar of its actions."""
    examples: int = Field(0, ge=0)
    """Worked episodes shown before the task."""
    passages: int = Field(0, ge=0, le=50)
    """Passages that are looked up with the task's own words and shown with it, of the environment's corpus or of the
    recipe's ``retrieval`` (which has a number of hits of its own)."""
    tools: tuple[str, ...] = ()
    """Functions of other packages that its code may call, by name (style ``codeact``; `stillhouse list tools`)."""
    max_steps: int = Field(30, ge=1)
    """Turns, those without a valid action included."""
    max_tokens: int = Field(4000, ge=1)
    """Tokens of the whole episode: prompt, answers and observations. No turn starts that could go beyond."""
    time_limit_s: float = Field(600.0, gt=0)
    """Seconds for the whole episode."""
    step_timeout_s: float = Field(120.0, gt=0)
    """Seconds for one answer of the engine, and for one step of the environment."""
    sampling: Sampling = Sampling()
    acting: Acting = PlainActing()
    """How it chooses an action: one completion, the best of several that are tried, or held to allowed actions."""
    sandbox: SandboxConfig = SandboxConfig()
    """Where code runs that the agent writes (style ``codeact``)."""

    @model_validator(mode="after")
    def _check(self) -> AgentConfig:
        acting = self.acting
        if isinstance(acting, ConstrainedActing) and acting.to == "admissible" and self.style in ("codeact", "cot"):
            raise ValueError(
                f"acting is constrained to admissible actions, but style {self.style} does not choose from a list; set "
                "acting.to to grammar, or style to react, act or stateact"
            )
        self._check_tools()
        most = self.sandbox.max_processes - 1
        if isinstance(acting, SelfConsistentActing) and self.style == "codeact" and acting.candidates > most:
            raise ValueError(
                f"acting.candidates is {acting.candidates}, but the sandbox has room for {most} copies of an "
                "interpreter; set sandbox.max_processes higher, or ask for fewer candidates"
            )
        return self

    def _check_tools(self) -> None:
        if self.tools and self.style != "codeact":
            raise ValueError(f"tools are functions for code, but style is {self.style}; set style to codeact")
        for name in self.tools:
            if name not in TOOLS.names():
                known = ", ".join(TOOLS.names()) or "none: no package brings one"
                raise ValueError(f"there is no tool {name!r} of another package; known here: {known}")
