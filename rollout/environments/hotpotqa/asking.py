"""Draws questions about a generated wiki: bridge questions along a chain of facts, and comparisons of two entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from rollout.environments.generated import stable_hash
from rollout.environments.hotpotqa.facts import FACTS, Entity, Fact

_HELD_BACK = 5
_REGULAR_SHARE = 0.5
"""Fraction of bridge questions worded ``What is the <noun> of ...?``."""
_YES_NO_SHARE = 0.35
"""Fraction of comparisons with a yes/no answer."""
_TRIES = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        text: the question as the agent reads it.
        answer: the only accepted answer.
        titles: titles of the pages that are needed for the answer, in order.
        combinations: keys of the fact combinations that the question uses.
    """

    text: str
    answer: str
    titles: tuple[str, ...]
    combinations: tuple[str, ...]


def is_held_back_combination(key: str) -> bool:
    """Whether a combination of facts is held out from ``train`` and ``valid_seen``."""
    return stable_hash(f"combination/{key}") % _HELD_BACK == 0


def ask(entities: Sequence[Entity], rng: Random, question_type: str, hops: int, unseen: bool) -> Question:
    """Draw a question. All of its combinations are held out if ``unseen`` is true; otherwise none is.

    Raises:
        ValueError: the type is unknown, or no question of the split was found.
    """
    if question_type not in ("bridge", "comparison"):
        raise ValueError(f"there is no question type {question_type!r}; choose bridge or comparison")
    for _ in range(_TRIES):  # most draws belong to the other split or repeat an entity
        drawn = _bridge(entities, rng, hops) if question_type == "bridge" else _comparison(entities, rng)
        if drawn is not None and all(is_held_back_combination(key) == unseen for key in drawn.combinations):
            return drawn
    raise ValueError(f"no {question_type} question over {hops} facts was found in {len(entities)} pages; ask for more")


def describe(entity: Entity) -> str:
    """The words for an entity in a question: a person's name alone, any other name with its kind."""
    return entity.name if entity.kind == "person" else f"the {entity.kind} {entity.name}"


def _bridge(entities: Sequence[Entity], rng: Random, hops: int) -> Question | None:
    start = at = rng.choice(entities)
    chain: list[Fact] = []
    passed = [start]
    for hop in range(hops):
        last = hop == hops - 1
        facts = [fact for fact in FACTS[at.kind] if fact.noun in at.facts and (last or fact.leads_to)]
        if not facts:
            return None
        chain.append(rng.choice(facts))
        if not last:
            at = at.links[chain[-1].noun]
            passed.append(at)
    answer = at.facts[chain[-1].noun]
    names = [entity.name for entity in passed]
    if len({*names, answer}) <= hops:
        return None  # the chain returns to an entity, or reaches another one with the same name
    described = describe(start)
    for fact in chain[:-1]:
        described = f"the {fact.noun} of {described}"
    regular = rng.random() < _REGULAR_SHARE
    last_fact = chain[-1]
    asked = "Who" if last_fact.leads_to == "person" else "What"
    wording = f"{asked} is the {last_fact.noun} of {{d}}?" if regular else last_fact.question
    keys = tuple(f"{one.key} > {other.key}" for one, other in pairwise(chain))
    return Question(wording.format(d=described), answer, tuple(entity.title for entity in passed), keys)


def _comparison(entities: Sequence[Entity], rng: Random) -> Question | None:
    one = rng.choice(entities)
    others = [entity for entity in rng.sample(entities, min(len(entities), 40)) if entity.kind == one.kind]
    others = [entity for entity in others if entity.name != one.name]
    closed = rng.random() < _YES_NO_SHARE
    facts = [fact for fact in FACTS[one.kind] if (fact.same if closed else fact.comparisons[0])]
    if not facts or not others:
        return None
    fact = rng.choice(facts)
    return _same(one, others, fact, rng) if closed else _extreme(one, rng.choice(others), fact, rng)


def _same(one: Entity, others: Sequence[Entity], fact: Fact, rng: Random) -> Question | None:
    """A question whether two entities have the same value; yes and no are about equally frequent."""
    value = one.facts[fact.noun]
    wanted = rng.random() < 0.5
    fitting = [other for other in others if (other.facts[fact.noun] == value) == wanted]
    if not fitting:
        return None
    other = rng.choice(fitting)
    text = fact.same.format(a=one.name, b=other.name)
    return Question(text, "yes" if wanted else "no", (one.title, other.title), (f"{fact.key} same",))


def _extreme(one: Entity, other: Entity, fact: Fact, rng: Random) -> Question | None:
    """A question which of two entities has the smaller or greater number."""
    if one.facts[fact.noun] == other.facts[fact.noun]:
        return None
    greater = rng.random() < 0.5
    ordered = sorted((one, other), key=lambda entity: int(entity.facts[fact.noun]))
    text = fact.comparisons[greater].format(a=one.name, b=other.name)
    key = f"{fact.key} {'greater' if greater else 'smaller'}"
    return Question(text, ordered[greater].name, (one.title, other.title), (key,))
