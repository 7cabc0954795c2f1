"""Policies that write text without a model: experts and random players behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from rollout.scripted_policy import Reasoner, TextPolicy

if TYPE_CHECKING:  # these modules take `TextPolicy` from here
    from rollout.environments.demonstrate import CodeWriter, StateKeeper
    from rollout.prompts.styles import StyleName


ANY_WORLD = ("expert", "random")
"""Policies that find out themselves which world they play in."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The built-in policies of one world, and what other styles than ReAct's need to word their turns.

    Attributes:
        expert, random: factories that take the episode's seed.
        state: a new keeper of what an agent can write down, an episode.
        code: an action as Python; None is a call of ``act``.
        reasoner: factory of the expert that answers in one turn; None in worlds without an answer.
        novice: factory of a player that fails for want of what hints can tell; None in worlds without one.
    """

    expert: Callable[[int], TextPolicy]
    random: Callable[[int], TextPolicy]
    state: Callable[[], StateKeeper]
    code: CodeWriter | None = None
    reasoner: Callable[[int], Reasoner] | None = None
    novice: Callable[[int], TextPolicy] | None = None


def text_policies() -> Mapping[str, Callable[[int], TextPolicy]]:
    """Factories of the built-in policies by name; each takes the episode's seed. They write in ReAct's form."""
    worlds = _players()
    experts = {f"{world}-expert": players.expert for world, players in worlds.items()}
    random = {f"{world}-random": players.random for world, players in worlds.items()}
    novices = {f"{world}-novice": players.novice for world, players in worlds.items() if players.novice is not None}
    return {**experts, **random, **novices, **{kind: partial(_AnyWorld, kind) for kind in ANY_WORLD}}


def text_policy(name: str, seed: int, style: StyleName) -> TextPolicy:
    """A built-in policy for one episode, which writes as ``style`` has it.

    Raises:
        KeyError: there is no such policy.
        ValueError: the style is ``cot``, and it plays in a world where nobody answers in one turn, or at random.
    """
    if name in ANY_WORLD:
        return _AnyWorld(name, seed, style)
    if style == "cot":
        return _InOneTurn(_reasoner(name)(seed))
    policy = text_policies()[name](seed)
    if style == "react":
        return policy
    from rollout.environments.demonstrate import StyledPolicy, TurnMaker
    from rollout.prompts.styles import new_style

    players = _players()[name.rpartition("-")[0]]
    return StyledPolicy(TurnMaker(policy, players.state(), players.code), new_style(style, ""))


def answers_in_one_turn(world: str) -> bool:
    """Whether the expert of a world can write in the style ``cot``."""
    return _players()[world].reasoner is not None


def _reasoner(name: str) -> Callable[[int], Reasoner]:
    world, _, kind = name.rpartition("-")
    reasoner = _players()[world].reasoner
    if reasoner is None or kind != "expert":
        raise ValueError(f"{name} does not answer in one turn; set agent.style to another one than cot")
    return reasoner


class _InOneTurn:
    """A reasoner as a policy."""

    def __init__(self, reasoner: Reasoner) -> None:
        self._reasoner = reasoner

    def respond(self, observation: str) -> str:
        from rollout.prompts.cot import written

        return written(*self._reasoner.reason(observation))


class _AnyWorld:
    """Plays in whichever world it is put, for recipes that mix them: the first message says which."""

    def __init__(self, kind: str, seed: int, style: StyleName = "react") -> None:
        self._kind, self._seed, self._style = kind, seed, style
        self._policy: TextPolicy | None = None

    def respond(self, observation: str) -> str:
        if self._policy is None:
            self._policy = text_policy(f"{_world_of(observation)}-{self._kind}", self._seed, self._style)
        return self._policy.respond(observation)


def _world_of(first_message: str) -> str:
    """The world whose expert understands how an episode begins. Raises `ValueError` if none does."""
    for world, players in _players().items():
        try:
            players.expert(0).respond(first_message)
        except ValueError:
            continue
        return world
    raise ValueError(f"this is no task of an embedded world: {first_message[:120]!r}")


@cache
def _players() -> Mapping[str, PolicySet]:
    """By the name of the world."""
    from rollout.environments.hotpotqa import demonstrations as encyclopaedia
    from rollout.environments.hotpotqa.expert_policy import EncyclopaediaExpert
    from rollout.environments.hotpotqa.random_policy import RandomPolicy as EncyclopaediaRandom
    from rollout.environments.hotpotqa.reasoning import EncyclopaediaReasoner
    from rollout.environments.household import demonstrations as household
    from rollout.environments.household.expert_policy import HouseholdExpert
    from rollout.environments.household.novice_policy import HouseholdNovice
    from rollout.environments.household.random_policy import RandomPolicy as HouseholdRandom
    from rollout.environments.math import demonstrations as maths
    from rollout.environments.math.expert_policy import MathsExpert
    from rollout.environments.math.random_policy import RandomPolicy as MathsRandom
    from rollout.environments.math.reasoning import MathsReasoner
    from rollout.environments.webshop import demonstrations as shop
    from rollout.environments.webshop.expert_policy import ShopExpert
    from rollout.environments.webshop.random_policy import RandomShopper
    from rollout.prompts.codeact import as_code

    return {
        "household": PolicySet(HouseholdExpert, HouseholdRandom, household.StateKeeper, novice=HouseholdNovice),
        "hotpotqa": PolicySet(
            EncyclopaediaExpert, EncyclopaediaRandom, encyclopaedia.StateKeeper, as_code, EncyclopaediaReasoner
        ),
        "math": PolicySet(MathsExpert, MathsRandom, maths.StateKeeper, maths.as_code, MathsReasoner),
        "webshop": PolicySet(ShopExpert, RandomShopper, shop.StateKeeper, as_code),
    }
