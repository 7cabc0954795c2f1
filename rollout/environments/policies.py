"""Policies that write text without a model: experts and random players of the environments, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rollout.environments.demonstrate import StyledPolicy, TurnMaker
from rollout.environments.plugin import EnvironmentPlugin
from rollout.environments.plugins import ENVIRONMENTS, find_plugin, working_plugins
from rollout.errors import UserError
from rollout.prompts.cot import turn_text
from rollout.prompts.styles import StyleName, new_style
from rollout.scripted_policy import Reasoner, TextPolicy

_PARTS = {"expert": "expert_policy", "random": "random_policy", "novice": "novice_policy"}
ANY_ENVIRONMENT = ("expert", "random")
"""Policies that find out themselves which environment they play in."""


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
    """Whether `make_policy` can make it, as far as can be told before it plays.

    Raises:
        UserError: there is no such policy, it cannot be imported, or it does not write in this style.
    """
    if name in ANY_ENVIRONMENT:
        return
    plugin, part = _find(name)
    plugin.load(part)
    if style == "cot":
        _reasoner(name)


def make_policy(name: str, seed: int, style: StyleName = "react") -> TextPolicy:
    """A policy for one episode, which writes as ``style`` has it.

    Raises:
        UserError: as `check_policy`.
    """
    if name in ANY_ENVIRONMENT:
        return _AnyEnvironment(name, seed, style)
    if style == "cot":
        return _InOneTurn(_reasoner(name)(seed))
    plugin, part = _find(name)
    policy: TextPolicy = plugin.load(part)(seed)
    if style == "react":
        return policy
    keeper = plugin.load("state_keeper")
    maker = TurnMaker(policy, keeper() if keeper is not None else None, plugin.load("code_writer"))
    return StyledPolicy(maker, new_style(style, ""))


def _find(name: str) -> tuple[EnvironmentPlugin, str]:
    """The environment of a policy, and the part that it is."""
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
        raise UserError(f"{name} does not answer in one turn; set agent.style to another one than cot")
    return reasoner


class _InOneTurn:
    """A reasoner as a policy."""

    def __init__(self, reasoner: Reasoner) -> None:
        self._reasoner = reasoner

    def respond(self, observation: str) -> str:
        return turn_text(*self._reasoner.reason(observation))


class _AnyEnvironment:
    """Plays in whichever environment it is put, for recipes that mix them: the first message says which."""

    def __init__(self, kind: str, seed: int, style: StyleName) -> None:
        self._kind, self._seed, self._style = kind, seed, style
        self._policy: TextPolicy | None = None

    def respond(self, observation: str) -> str:
        if self._policy is None:
            self._policy = make_policy(f"{_environment_of(observation)}-{self._kind}", self._seed, self._style)
        return self._policy.respond(observation)


def _environment_of(first_message: str) -> str:
    """The environment whose expert understands how an episode begins. Raises `ValueError` if none does."""
    for name, expert in _experts():
        try:
            expert.respond(first_message)
        except ValueError:
            continue
        return name
    raise ValueError(f"this is no task of an environment with an expert: {first_message[:120]!r}")


def _experts() -> Iterator[tuple[str, TextPolicy]]:
    """Those that can be imported; another package's that cannot is for who names it to hear of."""
    for name, plugin in working_plugins().items():
        if plugin.expert_policy:
            try:
                make = plugin.load("expert_policy")
            except UserError:
                continue
            yield name, make(0)
