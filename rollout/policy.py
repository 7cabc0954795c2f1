"""Policies that write text without a model: experts and random players behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class TextPolicy(Protocol):
    """Plays one episode from what an agent can read; one object an episode."""

    def respond(self, observation: str) -> str:
        """The whole answer to a user message: ``Thought: ...`` and ``Action: ...``.

        The first call gets the first user message (first observation and task), each later call the next observation.
        """
        ...


def text_policies() -> Mapping[str, Callable[[int], TextPolicy]]:
    """Factories of the built-in policies by name; each takes the episode's seed."""
    from rollout.encyclopaedia.expert import EncyclopaediaExpert
    from rollout.encyclopaedia.random_play import RandomPlayer as EncyclopaediaRandom
    from rollout.household.expert import HouseholdExpert
    from rollout.household.random_play import RandomPlayer as HouseholdRandom
    from rollout.maths.expert import MathsExpert
    from rollout.maths.random_play import RandomPlayer as MathsRandom
    from rollout.shop.expert import ShopExpert
    from rollout.shop.random_play import RandomShopper

    return {
        "household-expert": HouseholdExpert,
        "household-random": HouseholdRandom,
        "hotpotqa-expert": EncyclopaediaExpert,
        "hotpotqa-random": EncyclopaediaRandom,
        "math-expert": MathsExpert,
        "math-random": MathsRandom,
        "webshop-expert": ShopExpert,
        "webshop-random": RandomShopper,
    }
