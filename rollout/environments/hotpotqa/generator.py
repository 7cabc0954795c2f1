"""Seeded generator of fictional encyclopaedias and of questions about them, with splits that hold something back.

Nothing in them exists, so no model can know an answer by heart. ``valid_seen`` has other encyclopaedias than ``train``
and asks for the same combinations of facts. ``valid_unseen`` asks for combinations that ``train`` never asks for, about
things whose names ``train`` never has. Encyclopaedia and question are pure functions of a task's payload, in any
process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal

from rollout.environment import Payload, Task
from rollout.environments.generated import GeneratedTasks, check_generator
from rollout.environments.hotpotqa.asking import Question, ask
from rollout.environments.hotpotqa.facts import FACTS, REMARKS, Thing
from rollout.environments.hotpotqa.names import draw_name
from rollout.tools.retrieval.documents import Document

GENERATOR_VERSION = 1
QuestionType = Literal["bridge", "comparison"]
FEWEST_PAGES = 20

_SHARES: Mapping[str, float] = {
    "person": 0.3,
    "town": 0.2,
    "book": 0.14,
    "company": 0.1,
    "river": 0.08,
    "bridge": 0.07,
    "museum": 0.07,
    "region": 0.04,
}
_TWIN_KINDS = ("river", "bridge", "museum", "company", "region")
_TWIN_SHARE = 0.25
"""Share of books that have the name of another thing."""
_BARE_SHARE = 0.1
"""Share of rivers whose page says what they are, though nothing else has their name."""
_LISTED_SHARE = 0.6
"""Share of shared names with a page that lists what they may refer to."""
_KEPT_ENCYCLOPAEDIAS = 4


@dataclass(frozen=True, slots=True)
class Encyclopaedia:
    """Things, and the pages about them; lists of what a name may refer to are pages too."""

    things: tuple[Thing, ...]
    pages: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class HotpotQATasks(GeneratedTasks):
    """A task source of questions about generated encyclopaedias.

    Attributes:
        pages: about how many pages an encyclopaedia has.
        question_types: in turn.
        hops: how many facts a bridge question goes along.
        questions_per_world: how many tasks in a row share an encyclopaedia.
    """

    pages: int = 40
    question_types: tuple[QuestionType, ...] = ("bridge", "comparison")
    hops: int = 2
    questions_per_world: int = 1

    def task(self, split: str, seed: int, index: int) -> Task:
        question_type = self.question_types[index % len(self.question_types)]
        payload: Payload = {
            "generator": GENERATOR_VERSION,
            "split": split,
            "pages": self.pages,
            "hops": self.hops,
            "seed": seed,
            "world": index // self.questions_per_world,
            "index": index,
            "question_type": question_type,
        }
        name = f"hotpotqa/generated-{self.pages}-{self.hops}/{split}/{seed}/{index}"
        return Task(name, "hotpotqa", split, question_type, payload)


def generated_task(payload: Payload) -> tuple[Encyclopaedia, Question]:
    """The encyclopaedia and the question of a task's payload.

    Raises:
        ValueError: the payload was made by another version of the generator, or is damaged.
    """
    check_generator(payload, "encyclopaedia", GENERATOR_VERSION)
    try:
        split, pages, seed = str(payload["split"]), int(payload["pages"] or 0), int(payload["seed"] or 0)
        world, index, hops = int(payload["world"] or 0), int(payload["index"] or 0), int(payload["hops"] or 0)
        question_type = str(payload["question_type"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"the task's payload is damaged ({error}); make the tasks again") from error
    made = encyclopaedia(split, pages, seed, world)
    rng = Random(f"question/{split}/{pages}/{seed}/{index}/{hops}/{question_type}")
    return made, ask(made.things, rng, question_type, hops, unseen=split == "valid_unseen")


@lru_cache(maxsize=_KEPT_ENCYCLOPAEDIAS)
def encyclopaedia(split: str, pages: int, seed: int, world: int) -> Encyclopaedia:
    """An encyclopaedia of about ``pages`` pages (at least `FEWEST_PAGES`)."""
    rng = Random(f"encyclopaedia/{split}/{pages}/{seed}/{world}")
    things = _things(rng, max(pages, FEWEST_PAGES), held_back=split == "valid_unseen")
    by_kind = {kind: [thing for thing in things if thing.kind == kind] for kind in FACTS}
    for thing in things:
        _tell(thing, by_kind, rng)
    _marry(by_kind["person"], rng)
    texts = [(thing.title, _text(thing, rng)) for thing in things] + _lists(things, rng)
    rng.shuffle(texts)
    documents = tuple(Document(str(number), title, text) for number, (title, text) in enumerate(texts))
    return Encyclopaedia(tuple(things), documents)


def _things(rng: Random, pages: int, held_back: bool) -> list[Thing]:
    things: list[Thing] = []
    taken: set[str] = set()
    for kind, share in _SHARES.items():
        for _ in range(max(2, round(share * pages))):
            name = draw_name(kind, rng, taken, held_back)
            qualified = kind == "river" and rng.random() < _BARE_SHARE
            things.append(Thing(kind, name, f"{name} ({kind})" if qualified else name))
    hosts = [thing for thing in things if thing.kind in _TWIN_KINDS]
    rng.shuffle(hosts)
    for book in (thing for thing in things if thing.kind == "book"):
        if hosts and rng.random() < _TWIN_SHARE:
            _share_name(hosts.pop(), book)
    return things


def _share_name(host: Thing, book: Thing) -> None:
    book.name = host.name
    host.title, book.title = f"{host.name} ({host.kind})", f"{host.name} (book)"


def _tell(thing: Thing, by_kind: Mapping[str, Sequence[Thing]], rng: Random) -> None:
    """Draw the thing's facts."""
    for fact in FACTS[thing.kind]:
        if fact.noun == "spouse":
            continue
        if fact.leads_to:
            other = rng.choice([other for other in rng.sample(by_kind[fact.leads_to], 2) if other is not thing])
            thing.links[fact.noun] = other
            thing.facts[fact.noun] = other.name
        else:
            thing.facts[fact.noun] = str(rng.choice(fact.words) if fact.words else rng.randint(*fact.numbers))


def _marry(people: Sequence[Thing], rng: Random) -> None:
    """Two by two; one may be left over."""
    shuffled = rng.sample(people, len(people))
    for one, other in zip(shuffled[::2], shuffled[1::2], strict=False):
        one.links["spouse"], other.links["spouse"] = other, one
        one.facts["spouse"], other.facts["spouse"] = other.name, one.name


def _text(thing: Thing, rng: Random) -> str:
    """The page: what the thing is, then its other facts and some remarks in any order, in one or two paragraphs."""
    first, *others = (fact for fact in FACTS[thing.kind] if fact.noun in thing.facts)
    sentences = [fact.sentence.format(n=thing.name, v=thing.facts[fact.noun]) for fact in others]
    remarks = rng.sample(REMARKS[thing.kind], rng.randint(1, len(REMARKS[thing.kind])))
    sentences += [remark.format(n=thing.name) for remark in remarks]
    rng.shuffle(sentences)
    sentences.insert(0, first.sentence.format(n=thing.name, v=thing.facts[first.noun]))
    cut = rng.randint(2, len(sentences))
    return "\n".join(" ".join(part) for part in (sentences[:cut], sentences[cut:]) if part)


def _lists(things: Sequence[Thing], rng: Random) -> list[tuple[str, str]]:
    """Pages of shared names that list what they may refer to."""
    shared: dict[str, list[str]] = {}
    for thing in things:
        if thing.title != thing.name:
            shared.setdefault(thing.name, []).append(thing.title)
    return [
        (name, "\n".join([f"{name} may refer to:", *titles]))
        for name, titles in shared.items()
        if len(titles) > 1 and rng.random() < _LISTED_SHARE
    ]
