"""How fast a shop answers, small in memory and large on disk."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rollout.environments.webshop.environment import WebShopConfig, shop_of
from rollout.environments.webshop.generator import Catalogue, GeneratedGoals, generate_goal
from rollout.environments.webshop.product import Goal
from rollout.environments.webshop.session import Session
from rollout.environments.webshop.store import Shop, open_shop

MIB = 2**20
PRODUCTS = 1000
"""Of the small generated shop."""
_MOVES = ("click[search]", "click[back to search]", "click[< prev]", "click[next >]", "click[buy now]")
"""Clicks that search anew or end the visit; they are not timed as clicks."""
_OPENED = 2
"""Products that are looked at for each goal."""


@dataclass(slots=True)
class _Times:
    """Milliseconds of each search and click."""

    search: list[float] = field(default_factory=list)
    sentence: list[float] = field(default_factory=list)
    click: list[float] = field(default_factory=list)


def small_shop(data_dir: str | None, folder: Path, seed: int, goals: int) -> dict[str, float]:
    """Milliseconds a click and a search among 1,000 products: generated ones, or WebShop's in ``data_dir``.

    Raises:
        UserError: ``data_dir`` does not hold WebShop's files.
    """
    if data_dir is None:
        shop = shop_of(WebShopConfig(products=PRODUCTS))
        wanted = _generated(Catalogue(PRODUCTS), seed, goals)
    else:
        shop = shop_of(WebShopConfig(source="official", data_dir=data_dir, index_dir=str(folder)))
        wanted = [shop.goal("human", index) for index in range(min(goals, shop.num_goals("human")))]
    _visits(shop, wanted[:3])  # what is read once is read
    times = _visits(shop, wanted)
    return {
        "shop_click_ms": statistics.median(times.click),
        "shop_search_ms": statistics.median(times.search),
        "shop_search_sentence_ms": statistics.median(times.sentence),
    }


def large_shop(products: int, folder: Path, seed: int, goals: int) -> dict[str, float]:
    """Seconds to build a generated shop on disk, its bytes, and what a fresh worker sees of it."""
    catalogue = Catalogue(products)
    started_s = time.perf_counter()
    open_shop(folder, catalogue.fingerprint, catalogue.listings, products)
    build_s = time.perf_counter() - started_s
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    # A process of its own: this one has the memory of the building.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seen = pool.submit(_as_worker, catalogue, folder, seed, goals).result()
    return {"shop_build_s": build_s, "shop_bytes": float(size), **seen}


def _as_worker(catalogue: Catalogue, folder: Path, seed: int, goals: int) -> dict[str, float]:
    """Open the shop and visit it. ``worker_mib`` is resident memory; ``private`` is without the shared index."""
    shop, wanted = Shop(folder, catalogue.fingerprint), _generated(catalogue, seed, goals)
    first_ms = _ms(lambda: shop.search(_query(wanted[0])))
    times = _visits(shop, wanted)
    memory = psutil.Process().memory_info()
    return {
        "shop_first_search_ms": first_ms,
        "shop_search_ms": statistics.median(times.search),
        "shop_search_sentence_ms": statistics.median(times.sentence),
        "shop_click_ms": statistics.median(times.click),
        "shop_worker_mib": memory.rss / MIB,
        "shop_worker_private_mib": (memory.rss - memory.shared) / MIB,
    }


def _generated(catalogue: Catalogue, seed: int, count: int) -> list[Goal]:
    return [generate_goal(task.payload) for task in GeneratedGoals(catalogue).tasks("train", count, seed)]


def _visits(shop: Shop, goals: Sequence[Goal]) -> _Times:
    """One visit for each goal: search for what is wanted, open products, click all that they offer."""
    times = _Times()
    for goal in goals:
        session = Session(shop, goal)
        times.sentence.append(_step_ms(session, f"search[{goal.instruction}]"))
        search = f"search[{_query(goal)}]"
        times.search.append(_step_ms(session, search))
        for product in _clicks(session)[:_OPENED]:
            times.click.append(_step_ms(session, product))
            times.click += _look_around(session)
            session.step(search)
    return times


def _look_around(session: Session) -> list[float]:
    """Click everything on a product's page once."""
    times = []
    for click in _clicks(session):
        times.append(_step_ms(session, click))
        if click not in _clicks(session):  # a page below the product's
            session.step("click[< prev]")
    return times


def _query(goal: Goal) -> str:
    """The words that an agent which knows the goal searches for."""
    return " ".join((goal.product.query, *goal.attributes, *(value for _, value in goal.options)))


def _clicks(session: Session) -> list[str]:
    return [action for name in session.clickables() if (action := f"click[{name}]") not in _MOVES]


def _step_ms(session: Session, action: str) -> float:
    return _ms(lambda: session.step(action))


def _ms(deed: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    deed()
    return 1e3 * (time.perf_counter() - started_s)
