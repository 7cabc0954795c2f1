"""Seeded generator of fictional wikis and questions about them, with held-out splits.

All entities are invented, so a model cannot have memorized an answer. ``valid_seen`` has other wikis than ``train`` and
uses the same combinations of facts. ``valid_unseen`` uses combinations and names that never occur in ``train``. Wiki
and question are pure functions of a task's payload, identical in every process.
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
from rollout.environments.hotpotqa.facts import FACTS, REMARKS, Entity
from rollout.environments.hotpotqa.names import draw_name
from rollout.tools.retrieval.documents import Document

GENERATOR_VERSION = 1
QuestionType = Literal["bridge", "comparison"]
MIN_PAGES = 20

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
_SHARED_NAME_KINDS = ("river", "bridge", "museum", "company", "region")
_SHARED_NAME_SHARE = 0.25
"""Fraction of books that share their name with another entity."""
_QUALIFIED_SHARE = 0.1
"""Fraction of rivers whose title contains their kind although their name is unique."""
_DISAMBIGUATION_SHARE = 0.6
"""Fraction of shared names that have a disambiguation page."""
_MAX_CACHED_WIKIS = 4


@dataclass(frozen=True, slots=True)
class GeneratedWiki:
    """Entities and the pages about them, including disambiguation pages."""

    entities: tuple[Entity, ...]
    pages: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class HotpotQATasks(GeneratedTasks):
    """A task source of questions about generated wikis.

    Attributes:
        pages: approximate number of pages of a wiki.
        question_types: types of questions, used in turn.
        hops: number of facts in the chain of a bridge question.
        questions_per_world: number of consecutive tasks that share a wiki.
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


def generated_task(payload: Payload) -> tuple[GeneratedWiki, Question]:
    """Generate the wiki and the question of a task's payload.

    Raises:
        ValueError: the payload was created by another version of the generator, or is damaged.
    """
    check_generator(payload, "HotpotQA", GENERATOR_VERSION)
    try:
        split, pages, seed = str(payload["split"]), int(payload["pages"] or 0), int(payload["seed"] or 0)
        world, index, hops = int(payload["world"] or 0), int(payload["index"] or 0), int(payload["hops"] or 0)
        question_type = str(payload["question_type"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"the task's payload is damaged ({error}); make the tasks again") from error
    wiki = generate_wiki(split, pages, seed, world)
    rng = Random(f"question/{split}/{pages}/{seed}/{index}/{hops}/{question_type}")
    return wiki, ask(wiki.entities, rng, question_type, hops, unseen=split == "valid_unseen")


@lru_cache(maxsize=_MAX_CACHED_WIKIS)
def generate_wiki(split: str, pages: int, seed: int, world: int) -> GeneratedWiki:
    """Generate a wiki of about ``pages`` pages (at least `MIN_PAGES`); ``world`` is its number within the split."""
    rng = Random(f"encyclopaedia/{split}/{pages}/{seed}/{world}")
    entities = _entities(rng, max(pages, MIN_PAGES), held_back=split == "valid_unseen")
    by_kind = {kind: [entity for entity in entities if entity.kind == kind] for kind in FACTS}
    for entity in entities:
        _draw_facts(entity, by_kind, rng)
    _draw_spouses(by_kind["person"], rng)
    texts = [(entity.title, _page_text(entity, rng)) for entity in entities] + _disambiguation_pages(entities, rng)
    rng.shuffle(texts)
    documents = tuple(Document(str(number), title, text) for number, (title, text) in enumerate(texts))
    return GeneratedWiki(tuple(entities), documents)


def _entities(rng: Random, pages: int, held_back: bool) -> list[Entity]:
    entities: list[Entity] = []
    taken: set[str] = set()
    for kind, share in _SHARES.items():
        for _ in range(max(2, round(share * pages))):
            name = draw_name(kind, rng, taken, held_back)
            qualified = kind == "river" and rng.random() < _QUALIFIED_SHARE
            entities.append(Entity(kind, name, f"{name} ({kind})" if qualified else name))
    hosts = [entity for entity in entities if entity.kind in _SHARED_NAME_KINDS]
    rng.shuffle(hosts)
    for book in (entity for entity in entities if entity.kind == "book"):
        if hosts and rng.random() < _SHARED_NAME_SHARE:
            _share_name(hosts.pop(), book)
    return entities


def _share_name(host: Entity, book: Entity) -> None:
    book.name = host.name
    host.title, book.title = f"{host.name} ({host.kind})", f"{host.name} (book)"


def _draw_facts(entity: Entity, by_kind: Mapping[str, Sequence[Entity]], rng: Random) -> None:
    """Draw all facts of an entity except its spouse."""
    for fact in FACTS[entity.kind]:
        if fact.noun == "spouse":
            continue
        if fact.leads_to:
            other = rng.choice([other for other in rng.sample(by_kind[fact.leads_to], 2) if other is not entity])
            entity.links[fact.noun] = other
            entity.facts[fact.noun] = other.name
        else:
            entity.facts[fact.noun] = str(rng.choice(fact.words) if fact.words else rng.randint(*fact.numbers))


def _draw_spouses(people: Sequence[Entity], rng: Random) -> None:
    """Pair the people; one may stay single."""
    shuffled = rng.sample(people, len(people))
    for one, other in zip(shuffled[::2], shuffled[1::2], strict=False):
        one.links["spouse"], other.links["spouse"] = other, one
        one.facts["spouse"], other.facts["spouse"] = other.name, one.name


def _page_text(entity: Entity, rng: Random) -> str:
    """Text of a page: the first fact, then the other facts and some remarks shuffled, in one or two paragraphs."""
    first, *others = (fact for fact in FACTS[entity.kind] if fact.noun in entity.facts)
    sentences = [fact.sentence.format(n=entity.name, v=entity.facts[fact.noun]) for fact in others]
    remarks = rng.sample(REMARKS[entity.kind], rng.randint(1, len(REMARKS[entity.kind])))
    sentences += [remark.format(n=entity.name) for remark in remarks]
    rng.shuffle(sentences)
    sentences.insert(0, first.sentence.format(n=entity.name, v=entity.facts[first.noun]))
    cut = rng.randint(2, len(sentences))
    return "\n".join(" ".join(part) for part in (sentences[:cut], sentences[cut:]) if part)


def _disambiguation_pages(entities: Sequence[Entity], rng: Random) -> list[tuple[str, str]]:
    """Title and text of the disambiguation pages."""
    shared: dict[str, list[str]] = {}
    for entity in entities:
        if entity.title != entity.name:
            shared.setdefault(entity.name, []).append(entity.title)
    return [
        (name, "\n".join([f"{name} may refer to:", *titles]))
        for name, titles in shared.items()
        if len(titles) > 1 and rng.random() < _DISAMBIGUATION_SHARE
    ]
