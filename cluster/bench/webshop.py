"""Benchmark of WebShop: a small shop in memory and a large one on disk."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.bench.result import call_ms
from rollout.environments.webshop.environment import WebShopConfig, load_shop
from rollout.environments.webshop.generator import Catalog, GeneratedGoals, generate_goal
from rollout.environments.webshop.product import Goal
from rollout.environments.webshop.session import Session
from rollout.environments.webshop.store import Shop, open_shop

MIB = 2**20
PRODUCTS = 1000
"""Size of the small generated shop."""
_UNTIMED_CLICKS = ("click[search]", "click[back to search]", "click[< prev]", "click[next >]", "click[buy now]")
"""Clicks that start a new search or end the session; they are not timed as clicks."""
_PRODUCTS_PER_GOAL = 2
"""Number of products opened for each goal."""


@dataclass(slots=True)
class _Times:
    """Milliseconds of each search and click."""

    search: list[float] = field(default_factory=list)
    sentence: list[float] = field(default_factory=list)
    click: list[float] = field(default_factory=list)


def small_shop(data_dir: str | None, folder: Path, seed: int, goals: int) -> dict[str, float]:
    """Milliseconds per click and per search among 1,000 products, generated or WebShop's in ``data_dir``.

    Raises:
        UserError: if ``data_dir`` does not contain WebShop's files.
    """
    if data_dir is None:
        shop = load_shop(WebShopConfig(products=PRODUCTS))
        wanted = _generated(Catalog(PRODUCTS), seed, goals)
    else:
        shop = load_shop(WebShopConfig(source="official", data_dir=data_dir, index_dir=str(folder)))
        wanted = [shop.goal("human", index) for index in range(min(goals, shop.num_goals("human")))]
    _run_sessions(shop, wanted[:3])  # warm up data that is loaded once
    times = _run_sessions(shop, wanted)
    return {
        "shop_click_ms": statistics.median(times.click),
        "shop_search_ms": statistics.median(times.search),
        "shop_search_sentence_ms": statistics.median(times.sentence),
    }


def large_shop(products: int, folder: Path, seed: int, goals: int) -> dict[str, float]:
    """Seconds to build a generated shop on disk, its size in bytes, and the figures of a new worker process."""
    catalog = Catalog(products)
    build_ms = call_ms(lambda: open_shop(folder, catalog.fingerprint, catalog.listings, products))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    # In a new process, because this one still has the memory of the build.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        figures = pool.submit(_as_worker, catalog, folder, seed, goals).result()
    return {"shop_build_s": build_ms / 1e3, "shop_bytes": float(size), **figures}


def _as_worker(catalog: Catalog, folder: Path, seed: int, goals: int) -> dict[str, float]:
    """Open the shop and run sessions. ``worker_mib`` is resident memory; ``private`` excludes the shared index."""
    shop, wanted = Shop(folder), _generated(catalog, seed, goals)
    first_ms = call_ms(lambda: shop.search(_query(wanted[0])))
    times = _run_sessions(shop, wanted)
    memory = psutil.Process().memory_info()
    return {
        "shop_first_search_ms": first_ms,
        "shop_search_ms": statistics.median(times.search),
        "shop_search_sentence_ms": statistics.median(times.sentence),
        "shop_click_ms": statistics.median(times.click),
        "shop_worker_mib": memory.rss / MIB,
        "shop_worker_private_mib": (memory.rss - memory.shared) / MIB,
    }


def _generated(catalog: Catalog, seed: int, count: int) -> list[Goal]:
    return [generate_goal(task.payload) for task in GeneratedGoals(catalog).tasks("train", count, seed)]


def _run_sessions(shop: Shop, goals: Sequence[Goal]) -> _Times:
    """Run one session for each goal: search for it, open products, and click everything on their pages."""
    times = _Times()
    for goal in goals:
        session = Session(shop, goal)
        times.sentence.append(_step_ms(session, f"search[{goal.instruction}]"))
        search = f"search[{_query(goal)}]"
        times.search.append(_step_ms(session, search))
        for product in _clicks(session)[:_PRODUCTS_PER_GOAL]:
            times.click.append(_step_ms(session, product))
            times.click += _click_all(session)
            session.step(search)
    return times


def _click_all(session: Session) -> list[float]:
    """Click everything on a product's page once and return the times."""
    times = []
    for click in _clicks(session):
        times.append(_step_ms(session, click))
        if click not in _clicks(session):  # a page below the product page
            session.step("click[< prev]")
    return times


def _query(goal: Goal) -> str:
    """Search words of an agent that knows the goal."""
    return " ".join((goal.product.query, *goal.attributes, *(value for _, value in goal.options)))


def _clicks(session: Session) -> list[str]:
    return [action for name in session.clickables() if (action := f"click[{name}]") not in _UNTIMED_CLICKS]


def _step_ms(session: Session, action: str) -> float:
    return call_ms(lambda: session.step(action))
