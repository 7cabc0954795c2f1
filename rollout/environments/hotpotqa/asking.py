"""Questions about a generated encyclopaedia: along a chain of facts, or over two things of a kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from rollout.environments.generated import stable_hash
from rollout.environments.hotpotqa.facts import FACTS, Fact, Thing

_HELD_BACK = 5
_REGULAR_SHARE = 0.5
"""Share of bridge questions worded ``What is the <noun> of ...?``."""
_CLOSED_SHARE = 0.35
"""Share of comparisons that are answered by yes or no."""
_TRIES = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its answer, the titles of the pages that hold it, and the combinations of facts it asks for."""

    text: str
    answer: str
    titles: tuple[str, ...]
    combinations: tuple[str, ...]


def is_held_back_combination(key: str) -> bool:
    """Whether a combination of facts is kept out of the questions of ``train`` and ``valid_seen``."""
    return stable_hash(f"combination/{key}") % _HELD_BACK == 0


def ask(things: Sequence[Thing], rng: Random, question_type: str, hops: int, unseen: bool) -> Question:
    """A question whose combinations are all held back (``unseen``), or none of them.

    Raises:
        ValueError: no such type, or there is nothing to ask for.
    """
    if question_type not in ("bridge", "comparison"):
        raise ValueError(f"there is no question type {question_type!r}; choose bridge or comparison")
    for _ in range(_TRIES):  # most draws are of the other split, or repeat a thing
        drawn = _bridge(things, rng, hops) if question_type == "bridge" else _comparison(things, rng)
        if drawn is not None and all(is_held_back_combination(key) == unseen for key in drawn.combinations):
            return drawn
    raise ValueError(f"no {question_type} question over {hops} facts was found in {len(things)} pages; ask for more")


def description(thing: Thing) -> str:
    """How a question names a thing: people by name, others with what they are."""
    return thing.name if thing.kind == "person" else f"the {thing.kind} {thing.name}"


def _bridge(things: Sequence[Thing], rng: Random, hops: int) -> Question | None:
    start = at = rng.choice(things)
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
    names = [thing.name for thing in passed]
    if len({*names, answer}) <= hops:
        return None  # it leads back to where it has been, or to another thing of the same name
    described = description(start)
    for fact in chain[:-1]:
        described = f"the {fact.noun} of {described}"
    regular = rng.random() < _REGULAR_SHARE
    last_fact = chain[-1]
    asked = "Who" if last_fact.leads_to == "person" else "What"
    wording = f"{asked} is the {last_fact.noun} of {{d}}?" if regular else last_fact.question
    keys = tuple(f"{one.key} > {other.key}" for one, other in pairwise(chain))
    return Question(wording.format(d=described), answer, tuple(thing.title for thing in passed), keys)


def _comparison(things: Sequence[Thing], rng: Random) -> Question | None:
    one = rng.choice(things)
    others = [thing for thing in rng.sample(things, min(len(things), 40)) if thing.kind == one.kind]
    others = [thing for thing in others if thing.name != one.name]
    closed = rng.random() < _CLOSED_SHARE
    facts = [fact for fact in FACTS[one.kind] if (fact.same if closed else fact.comparisons[0])]
    if not facts or not others:
        return None
    fact = rng.choice(facts)
    return _same(one, others, fact, rng) if closed else _extreme(one, rng.choice(others), fact, rng)


def _same(one: Thing, others: Sequence[Thing], fact: Fact, rng: Random) -> Question | None:
    """Whether two have the same value; about as often yes as no."""
    value = one.facts[fact.noun]
    wanted = rng.random() < 0.5
    fitting = [other for other in others if (other.facts[fact.noun] == value) == wanted]
    if not fitting:
        return None
    other = rng.choice(fitting)
    text = fact.same.format(a=one.name, b=other.name)
    return Question(text, "yes" if wanted else "no", (one.title, other.title), (f"{fact.key} same",))


def _extreme(one: Thing, other: Thing, fact: Fact, rng: Random) -> Question | None:
    """Which of two has the smaller or greater number."""
    if one.facts[fact.noun] == other.facts[fact.noun]:
        return None
    greater = rng.random() < 0.5
    ordered = sorted((one, other), key=lambda thing: int(thing.facts[fact.noun]))
    text = fact.comparisons[greater].format(a=one.name, b=other.name)
    key = f"{fact.key} {'greater' if greater else 'smaller'}"
    return Question(text, ordered[greater].name, (one.title, other.title), (key,))
