"""Scripted policies of the environments by name, such as ``household-expert`` and ``math-random``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from rollout.environments.demonstrate import StyledPolicy, TurnMaker
from rollout.environments.plugin import EnvironmentPlugin
from rollout.environments.plugins import ENVIRONMENTS, find_plugin, working_plugins
from rollout.errors import UserError
from rollout.prompts.cot import turn_text
from rollout.prompts.styles import StyleName, new_style
from rollout.scripted_policy import Reasoner, TextPolicy

_PARTS = {"expert": "expert_policy", "random": "random_policy", "novice": "novice_policy"}
ANY_ENVIRONMENT = ("expert", "random")
"""Policies that detect their environment from the first message."""


def policy_names() -> list[str]:
    """Names of all policies, such as ``household-expert``, sorted. Leaves out environments that cannot be imported."""
    named = [
        f"{name}-{kind}"
        for name, plugin in working_plugins().items()
        for kind, part in _PARTS.items()
        if getattr(plugin, part)
    ]
    return sorted([*named, *ANY_ENVIRONMENT])


def check_policy(name: str, style: StyleName) -> None:
    """Check that `make_policy` can create a policy, as far as possible before an episode.

    Raises:
        UserError: the policy does not exist, cannot be imported, or does not support the style.
    """
    if name in ANY_ENVIRONMENT:
        return
    plugin, part = _find(name)
    plugin.load(part)
    if style == "cot":
        _reasoner(name)


def make_policy(name: str, seed: int, style: StyleName = "react") -> TextPolicy:
    """Create a policy for one episode that writes in ``style``.

    Raises:
        UserError: see `check_policy`.
    """
    if name in ANY_ENVIRONMENT:
        return _DetectingPolicy(name, seed, style)
    if style == "cot":
        return _ReasonerPolicy(_reasoner(name)(seed))
    plugin, part = _find(name)
    policy: TextPolicy = plugin.load(part)(seed)
    if style == "react":
        return policy
    keeper = plugin.load("state_keeper")
    maker = TurnMaker(policy, keeper() if keeper is not None else None, plugin.load("code_writer"))
    return StyledPolicy(maker, new_style(style, ""))


def _find(name: str) -> tuple[EnvironmentPlugin, str]:
    """The plug-in of a policy, and the name of its part."""
    environment, _, kind = name.rpartition("-")
    if environment in ENVIRONMENTS.names():
        plugin = find_plugin(environment)
        part = _PARTS.get(kind, "")
        if part and getattr(plugin, part):
            return plugin, part
    raise UserError(f"there is no policy {name!r}; choose one of {', '.join(policy_names())}")


def _reasoner(name: str) -> Callable[[int], Reasoner]:
    plugin, part = _find(name)
    reasoner: Callable[[int], Reasoner] | None = plugin.load("reasoner")
    if reasoner is None or part != "expert_policy":
        raise UserError(f"{name} does not answer in one turn; set agent.style to a style other than cot")
    return reasoner


class _ReasonerPolicy:
    """Adapts a reasoner to the interface of a policy."""

    def __init__(self, reasoner: Reasoner) -> None:
        self._reasoner = reasoner

    def respond(self, observation: str) -> str:
        return turn_text(*self._reasoner.reason(observation))


class _DetectingPolicy:
    """Detects its environment from the first message, for recipes that mix environments."""

    def __init__(self, kind: str, seed: int, style: StyleName) -> None:
        self._kind, self._seed, self._style = kind, seed, style
        self._policy: TextPolicy | None = None

    def respond(self, observation: str) -> str:
        if self._policy is None:
            self._policy = make_policy(f"{_environment_of(observation)}-{self._kind}", self._seed, self._style)
        return self._policy.respond(observation)


def _environment_of(first_message: str) -> str:
    """The environment whose expert can parse the first message. Raises `ValueError` if there is none."""
    for name, plugin in working_plugins().items():
        # An import error is reported only to users who name that expert.
        with suppress(UserError, ValueError):
            if make := plugin.load("expert_policy"):
                make(0).respond(first_message)
                return name
    raise ValueError(f"no environment with an expert has this task: {first_message[:120]!r}")
