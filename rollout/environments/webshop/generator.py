"""Seeded generator of catalogues and goals, with splits that hold something back.

A product is a pure function of the catalogue's seed and its place, and a goal of its task's payload, in any process.
``valid_seen`` asks for products that ``train`` never asks for. In ``valid_unseen`` each goal names
an attribute that ``train`` never asks for with that kind of goods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from random import Random

from rollout.environment import Payload, Task
from rollout.environments.generated import SPLITS, GeneratedTasks, check_generator, stable_hash
from rollout.environments.webshop.catalogue import Listing
from rollout.environments.webshop.goods import OPTIONS, SORTS, SYLLABLES
from rollout.environments.webshop.product import Goal, Product

GENERATOR_VERSION = 1

_OPENINGS = ("find", "buy", "get")
_STEPS_ABOVE = (1, 2, 3)
"""The limit is one of the next tens of dollars above the price."""


def is_held_back_pair(sort: str, attribute: str) -> bool:
    """Whether goals of ``train`` and ``valid_seen`` never ask for this kind of goods with this attribute."""
    return stable_hash(f"pair/{sort}/{attribute}") % 5 == 0


def is_held_back_product(asin: str) -> bool:
    """Whether goals of ``train`` never ask for this product."""
    return stable_hash(f"product/{asin}") % 8 == 0


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A generated catalogue.

    Attributes:
        products: how many.
        seed: another seed gives other products.
    """

    products: int = 1000
    seed: int = 0

    @property
    def fingerprint(self) -> str:
        return f"generated-{GENERATOR_VERSION}-{self.products}-{self.seed}"

    def listings(self) -> Iterator[Listing]:
        """All products in order; goals are drawn apart from them."""
        return (Listing(self.product(position), None, ()) for position in range(self.products))

    def product(self, position: int) -> Product:
        """The product at a place, from 0."""
        rng = Random(f"shop/{GENERATOR_VERSION}/{self.seed}/{position}")
        sort = rng.choice(SORTS)
        brand = "".join(map(rng.choice, SYLLABLES)).capitalize()
        first, second, third = attributes = tuple(rng.sample(sort.attributes, 3))
        options = {name: tuple(self._values(rng, name)) for name in sort.options}
        cents = rng.randrange(sort.prices[0] * 100, sort.prices[1] * 100)
        return Product(
            asin=self._asin(position),
            title=f"{brand} {sort.name}, {first} and {second}",
            description=f"This is {_with_article(sort.name)} by {brand}. It is {first}, {second} and {third}.",
            bullets=(f"It is {third}.", f"It is {first}.", f"It is {second}."),
            prices=(cents / 100,),
            options=options,
            category=sort.department,
            query=sort.name,
            product_category=f"{sort.department.title()} › {sort.aisle} › {sort.name.title()}",
            attributes=attributes,
        )

    def _values(self, rng: Random, name: str) -> list[str]:
        """Two to four values of an option, in the order in which the option lists them."""
        chosen = rng.sample(range(len(OPTIONS[name])), rng.randint(2, 4))
        return [OPTIONS[name][place] for place in sorted(chosen)]

    def _asin(self, position: int) -> str:
        """A letter and digits; the number says nothing about the place."""
        least = 10 ** (max(4, len(str(4 * self.products))) - 1)
        span = 9 * least
        step = next(step for step in range(span * 5 // 8, span) if gcd(step, span) == 1)
        return f"B{least + (position * step + 17 * self.seed) % span}"


@dataclass(frozen=True, slots=True)
class GeneratedGoals(GeneratedTasks):
    """A task source of goals in one generated catalogue."""

    catalogue: Catalogue = Catalogue()

    def task(self, split: str, seed: int, index: int) -> Task:
        payload: Payload = {
            "generator": GENERATOR_VERSION,
            "products": self.catalogue.products,
            "catalogue_seed": self.catalogue.seed,
            "split": split,
            "seed": seed,
            "index": index,
        }
        name = f"webshop/{self.catalogue.products}/{self.catalogue.seed}/{split}/{seed}/{index}"
        return Task(name, "webshop", split, generate_goal(payload).product.category, payload)


def generate_goal(payload: Payload) -> Goal:
    """The goal of a task's payload.

    Raises:
        ValueError: the payload was made by another version of the generator, or is damaged.
    """
    check_generator(payload, "shop", GENERATOR_VERSION)
    missing = [name for name in ("products", "catalogue_seed", "split", "seed", "index") if name not in payload]
    if missing or payload["split"] not in SPLITS:
        raise ValueError(f"the task is damaged: {missing[0] if missing else 'split'} is missing or unknown")
    catalogue = Catalogue(int(payload["products"] or 0), int(payload["catalogue_seed"] or 0))
    rng = Random("/".join(f"{payload[name]}" for name in ("products", "catalogue_seed", "split", "seed", "index")))
    for _ in range(10_000):  # a drawn product may be kept for another split: draw again
        goal = _draw(catalogue.product(rng.randrange(catalogue.products)), str(payload["split"]), rng)
        if goal is not None:
            return goal
    raise ValueError(f"no product of {catalogue.products} suits {payload['split']}; make the catalogue larger")


def _draw(product: Product, split: str, rng: Random) -> Goal | None:
    if split != "valid_unseen" and is_held_back_product(product.asin) != (split == "valid_seen"):
        return None
    held_back = [said for said in product.attributes if is_held_back_pair(product.query, said)]
    plain = [said for said in product.attributes if said not in held_back]
    if split == "valid_unseen":
        if not held_back:
            return None
        attributes = [rng.choice(held_back), *rng.sample(plain, min(len(plain), rng.randint(0, 1)))]
    else:
        if not plain:
            return None
        attributes = rng.sample(plain, min(len(plain), rng.randint(1, 2)))
    names = list(product.options)[: rng.randint(1, len(product.options))]
    options = tuple((name, rng.choice(product.options[name])) for name in names)
    limit = (product.prices[0] // 10 + rng.choice(_STEPS_ABOVE)) * 10.0
    wanted = ", and ".join(f"{name}: {value}" for name, value in options)
    instruction = (
        f"{rng.choice(_OPENINGS)} {_with_article(product.query)} that is {' and '.join(attributes)} "
        f"with {wanted}, and price lower than {limit:.2f} dollars"
    )
    return Goal(instruction, product, tuple(attributes), options, limit)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
