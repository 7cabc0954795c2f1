"""Settings of an agent and its episodes: prompt, limits, acting and retries."""

from __future__ import annotations

import datetime

from pydantic import Field, model_validator

from rollout.engine import Sampling
from rollout.episode.acting import Acting, ConstrainedActing, PlainActing, SelfConsistentActing
from rollout.frozen_model import FrozenModel
from rollout.prompts.styles import StyleName
from rollout.prompts.tokenizer import DATE, ChatSettings
from rollout.prompts.tool import TOOLS
from rollout.tools.sandbox.config import SandboxConfig


class EpisodePolicy(FrozenModel):
    """Handling of episodes that a failure ended which is not a result of the agent."""

    max_retries: int = Field(2, ge=0)
    """Further attempts at such an episode within one start of the run. They follow when all other episodes of the step
    have ended."""
    retry_wait_s: float = Field(2.0, ge=0.0)
    """Seconds before the first of these attempts; doubled before each further one."""
    max_attempts: int = Field(3, ge=1)
    """Attempts, over all starts of the run, after which an episode is given up (`cluster.run.attempts`)."""
    max_failures_in_a_row: int = Field(32, ge=1)
    """Failed episodes in a row after which no further ones are started until the next attempt."""
    create_timeout_s: float = Field(300.0, gt=0.0)
    """Seconds that an environment may take to be created, with the start of its host process."""
    close_timeout_s: float = Field(10.0, gt=0.0)
    """Seconds that an environment may take to close before it is abandoned."""


class AgentConfig(FrozenModel):
    """Prompt, acting method and episode limits of an agent."""

    style: StyleName = "react"
    """Format of a turn: thought and action (``react``), action only (``act``), state, thought, action (``stateact``),
    thought and code (``codeact``), or an answer after a chain of thought (``cot``)."""
    instructions: str = "short"
    """System message of the environment: ``short``, or ``full`` with the grammar of its actions."""
    chat_template: str | None = Field(None, min_length=1)
    """Chat template with which all models act, the student is trained and its checkpoints are saved: ``teacher``,
    ``student``, a Jinja file, or the folder, ``builtin:`` name or hub name of a model. null is each model's own."""
    date: datetime.date = DATE
    """What chat templates print as today's date (``strftime_now``, ``date_string``)."""
    examples: int = Field(0, ge=0)
    """Number of demonstrations shown before the task."""
    passages: int = Field(0, ge=0, le=50)
    """Number of passages that are retrieved with the text of the task and shown with it, from the environment's corpus
    or with the recipe's ``retrieval`` (which has a separate number of hits)."""
    tools: tuple[str, ...] = ()
    """Tools of other packages that the agent's code may call, by name (style ``codeact``; `stillhouse list tools`)."""
    max_steps: int = Field(30, ge=1)
    """Upper bound on turns, including those without a valid action."""
    max_tokens: int = Field(4000, ge=1)
    """Upper bound on tokens per episode: prompt, completions and observations. No turn starts that could exceed it."""
    time_limit_s: float = Field(600.0, gt=0)
    """Seconds per episode, and for scoring one."""
    step_timeout_s: float = Field(120.0, gt=0)
    """Seconds per answer of the engine, and per reset and step of the environment."""
    sampling: Sampling = Sampling()
    acting: Acting = PlainActing()
    """Acting method: one completion, a vote among several completions, or constrained decoding."""
    sandbox: SandboxConfig = SandboxConfig()
    """Sandbox that runs the agent's code (style ``codeact``)."""

    @model_validator(mode="after")
    def _check(self) -> AgentConfig:
        acting = self.acting
        if isinstance(acting, ConstrainedActing) and acting.to == "admissible" and self.style in ("codeact", "cot"):
            raise ValueError(
                f"acting is constrained to admissible actions, but style {self.style} does not choose from a list; set "
                "acting.to to grammar, or style to react, act or stateact"
            )
        self._check_tools()
        max_copies = self.sandbox.max_processes - 1
        if isinstance(acting, SelfConsistentActing) and self.style == "codeact" and acting.candidates > max_copies:
            raise ValueError(
                f"acting.candidates is {acting.candidates}, but the sandbox has room for {max_copies} copies of an "
                "interpreter; set sandbox.max_processes higher, or ask for fewer candidates"
            )
        return self

    @property
    def chat(self) -> ChatSettings:
        """The chat template of prompts."""
        return ChatSettings(self.chat_template, self.date)

    def _check_tools(self) -> None:
        if self.tools and self.style != "codeact":
            raise ValueError(f"tools are functions for code, but style is {self.style}; set style to codeact")
        for name in self.tools:
            if name not in TOOLS.names():
                known = ", ".join(TOOLS.names()) or "none: no package brings one"
                raise ValueError(f"there is no tool {name!r} of another package; known here: {known}")
