"""Seeded generator of catalogs and goals with held-out splits.

A product is a pure function of the catalog's seed and its position, and a goal is a pure function of its task's
payload. Goals of ``valid_seen`` use products that ``train`` never uses. Each goal of ``valid_unseen`` names an
attribute that ``train`` never combines with that product type.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from random import Random

from rollout.environment import Payload, Task
from rollout.environments.generated import SPLITS, GeneratedTasks, check_generator, stable_hash
from rollout.environments.webshop.catalog import Listing
from rollout.environments.webshop.goods import OPTIONS, PRODUCT_TYPES, SYLLABLES
from rollout.environments.webshop.product import Goal, Product

GENERATOR_VERSION = 1

_OPENINGS = ("find", "buy", "get")
_STEPS_ABOVE = (1, 2, 3)
"""Distances in tens of dollars from the price, rounded down to tens, to the price limit."""


def is_held_back_pair(product_type: str, attribute: str) -> bool:
    """Whether this product type with this attribute is held out from ``train`` and ``valid_seen``."""
    return stable_hash(f"pair/{product_type}/{attribute}") % 5 == 0


def is_held_back_product(asin: str) -> bool:
    """Whether this product is held out from ``train``."""
    return stable_hash(f"product/{asin}") % 8 == 0


@dataclass(frozen=True, slots=True)
class Catalog:
    """A generated catalog.

    Attributes:
        products: number of products.
        seed: seed of the products.
    """

    products: int = 1000
    seed: int = 0

    @property
    def fingerprint(self) -> str:
        return f"generated-{GENERATOR_VERSION}-{self.products}-{self.seed}"

    def listings(self) -> Iterator[Listing]:
        """Yield all products in order, without instructions."""
        return (Listing(self.product(position), None, ()) for position in range(self.products))

    def product(self, position: int) -> Product:
        """The product at a position, from 0."""
        rng = Random(f"shop/{GENERATOR_VERSION}/{self.seed}/{position}")
        product_type = rng.choice(PRODUCT_TYPES)
        brand = "".join(map(rng.choice, SYLLABLES)).capitalize()
        first, second, third = attributes = tuple(rng.sample(product_type.attributes, 3))
        options = {name: tuple(self._values(rng, name)) for name in product_type.options}
        cents = rng.randrange(product_type.prices[0] * 100, product_type.prices[1] * 100)
        return Product(
            asin=self._asin(position),
            title=f"{brand} {product_type.name}, {first} and {second}",
            description=f"This is {_with_article(product_type.name)} by {brand}. It is {first}, {second} and {third}.",
            bullets=(f"It is {third}.", f"It is {first}.", f"It is {second}."),
            prices=(cents / 100,),
            options=options,
            category=product_type.department,
            query=product_type.name,
            product_category=f"{product_type.department.title()} › {product_type.aisle} › {product_type.name.title()}",
            attributes=attributes,
        )

    def _values(self, rng: Random, name: str) -> list[str]:
        """Draw two to four values of an option, in the order of `OPTIONS`."""
        chosen = rng.sample(range(len(OPTIONS[name])), rng.randint(2, 4))
        return [OPTIONS[name][place] for place in sorted(chosen)]

    def _asin(self, position: int) -> str:
        """A letter and digits; the digits do not reveal the position."""
        least = 10 ** (max(4, len(str(4 * self.products))) - 1)
        span = 9 * least
        step = next(step for step in range(span * 5 // 8, span) if gcd(step, span) == 1)
        return f"B{least + (position * step + 17 * self.seed) % span}"


@dataclass(frozen=True, slots=True)
class GeneratedGoals(GeneratedTasks):
    """Task source of the goals in one generated catalog."""

    catalog: Catalog = Catalog()

    def task(self, split: str, seed: int, index: int) -> Task:
        payload: Payload = {
            "generator": GENERATOR_VERSION,
            "products": self.catalog.products,
            "catalogue_seed": self.catalog.seed,
            "split": split,
            "seed": seed,
            "index": index,
        }
        name = f"webshop/{self.catalog.products}/{self.catalog.seed}/{split}/{seed}/{index}"
        return Task(name, "webshop", split, generate_goal(payload).product.category, payload)


def generate_goal(payload: Payload) -> Goal:
    """Generate the goal of a task's payload.

    Raises:
        ValueError: the payload was made by another version of the generator, or is damaged.
    """
    check_generator(payload, "shop", GENERATOR_VERSION)
    missing = [name for name in ("products", "catalogue_seed", "split", "seed", "index") if name not in payload]
    if missing or payload["split"] not in SPLITS:
        raise ValueError(f"the task is damaged: {missing[0] if missing else 'split'} is missing or unknown")
    catalog = Catalog(int(payload["products"] or 0), int(payload["catalogue_seed"] or 0))
    rng = Random("/".join(f"{payload[name]}" for name in ("products", "catalogue_seed", "split", "seed", "index")))
    for _ in range(10_000):  # a drawn product may belong to another split: draw again
        goal = _draw(catalog.product(rng.randrange(catalog.products)), str(payload["split"]), rng)
        if goal is not None:
            return goal
    raise ValueError(f"no product of {catalog.products} suits {payload['split']}; make the catalog larger")


def _draw(product: Product, split: str, rng: Random) -> Goal | None:
    if split != "valid_unseen" and is_held_back_product(product.asin) != (split == "valid_seen"):
        return None
    held_back = [said for said in product.attributes if is_held_back_pair(product.query, said)]
    plain = [said for said in product.attributes if said not in held_back]
    if not (held_back if split == "valid_unseen" else plain):
        return None
    attributes = [rng.choice(held_back)] if split == "valid_unseen" else []
    attributes += rng.sample(plain, min(len(plain), rng.randint(1, 2) - len(attributes)))
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
