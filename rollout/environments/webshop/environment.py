"""The WebShop environment, and WebShop's own goals as a task source."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from rollout.environment import Reset, Step, Task, TaskSource, started
from rollout.environments.webshop.catalog import CatalogName, OfficialFiles
from rollout.environments.webshop.generator import Catalog, GeneratedGoals, generate_goal
from rollout.environments.webshop.pages import ObservationMode
from rollout.environments.webshop.product import Goal
from rollout.environments.webshop.reward import RewardRule
from rollout.environments.webshop.session import Session
from rollout.environments.webshop.store import Shop, open_shop, shop_in_memory
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel

_IN_MEMORY = 5000
"""Maximum number of products of a generated catalog that is kept in memory and not written to disk."""
_SPLITS = {"test": (0, 500), "dev": (500, 1500), "train": (1500, None)}


class WebShopConfig(FrozenModel):
    """Settings of the WebShop environment."""

    type: Literal["webshop"] = "webshop"
    source: Literal["generated", "official"] = "generated"
    """A generated catalog, or WebShop's own files."""
    products: int = Field(1000, ge=100, le=5_000_000)
    """Number of products of a generated catalog."""
    catalogue_seed: int = Field(0, ge=0)
    """Seed of a generated catalog."""
    data_dir: str | None = None
    """Folder of WebShop's files; None is ``$WEBSHOP_DATA``, else ``~/.cache/webshop``."""
    catalogue: CatalogName = "1000"
    """Which of WebShop's files: ``1000`` products, or ``all`` 1.18 million."""
    goals: Literal["human", "synthetic"] = "human"
    """Which of WebShop's instructions: written by people, or generated from templates."""
    index_dir: str = "~/.cache/stillhouse/shop"
    """Folder of the index of WebShop's files or of a large generated catalog. It is built once; all workers of a node
    map it."""
    observation: ObservationMode = "text_rich"
    """Format of pages: ``text`` is one line with ``[SEP]`` between parts; ``text_rich`` is several lines with marked
    buttons."""
    reward: RewardRule = "original"
    """``original`` is WebShop's rule with its quirks; ``strict`` counts an option only if exactly that value was
    chosen."""

    @model_validator(mode="after")
    def _check(self) -> WebShopConfig:
        if self.data_dir is not None and self.source == "generated":
            raise ValueError("data_dir is read with source: official only; set source: official or leave data_dir out")
        return self

    @property
    def builds_index(self) -> bool:
        """Whether an environment builds an index if there is none (`cluster.run.playable`)."""
        return self.source == "official" or self.products > _IN_MEMORY


class WebShopEnvironment:
    """WebShop in one catalog. The shop is opened, and built if necessary, at the first reset."""

    action_templates = ("search[{}]", "click[{}]")

    def __init__(self, config: WebShopConfig) -> None:
        self._config = config
        self._session: Session | None = None

    def reset(self, task: Task) -> Reset:
        """Start ``task``.

        Raises:
            ValueError: the task belongs to another catalog, or is damaged.
            UserError: data is missing or damaged.
        """
        goal, shop = self._goal(task)
        self._session = Session(shop, goal, task.id.rsplit("/", 1)[-1], self._config.observation, self._config.reward)
        return Reset(self._session.observation(), goal.instruction)

    def step(self, action: str) -> Step:
        """Execute an action. Buying ends the episode; it is a success if the reward is 1."""
        session = started(self._session)
        before = session.reward
        reply = session.step(action)
        bought = session.reward
        return Step(
            observation=reply.observation,
            reward=bought.total if bought is not None and before is None else 0.0,
            done=bought is not None,
            success=bought is not None and bought.total > 1 - 1e-9,
            valid=reply.valid,
            scores=bought.parts if bought is not None and before is None else {},
        )

    def admissible_actions(self) -> Sequence[str] | None:
        """The clicks on the current page; None on the search page, where any query is allowed.

        Other pages accept a search too, as in the original.
        """
        session = started(self._session)
        return None if session.has_search_bar else sorted(f"click[{name}]" for name in session.clickables())

    def open_actions(self) -> Sequence[str]:
        """The search action on the search page; empty on other pages."""
        return ("search[{}]",) if started(self._session).has_search_bar else ()

    def fork(self) -> WebShopEnvironment:
        """An independent copy of the session; the shop is shared."""
        other = copy(self)
        other._session = started(self._session).copy()
        return other

    def close(self) -> None:
        self._session = None

    @cached_property
    def _shop(self) -> Shop:
        return load_shop(self._config)

    def _goal(self, task: Task) -> tuple[Goal, Shop]:
        config, payload = self._config, task.payload
        if config.source == "generated":
            goal = generate_goal(payload)
            wanted = Catalog(int(payload["products"] or 0), int(payload["catalogue_seed"] or 0))
            if wanted != Catalog(config.products, config.catalogue_seed):
                raise ValueError(f"the task {task.id} is of another catalog ({wanted}); make the tasks again")
            return goal, self._shop
        shop, kind, index = self._shop, str(payload.get("goals")), payload.get("goal")
        if payload.get("catalogue") != shop.fingerprint:
            raise ValueError(f"the task {task.id} is of another catalog, not that in data_dir; make the tasks again")
        if kind not in ("human", "synthetic") or not isinstance(index, int) or not 0 <= index < shop.num_goals(kind):
            raise ValueError(f"the task {task.id} is damaged: there is no goal {index} among the {kind} goals")
        return shop.goal(kind, index), shop


def load_shop(config: WebShopConfig) -> Shop:
    """Open or build the shop of these settings; all environments of the process share it.

    Raises:
        UserError: data is missing or damaged, or the index cannot be written.
    """
    index_dir = Path(config.index_dir).expanduser()
    if config.source == "official":
        files = OfficialFiles.find(config.data_dir, config.catalogue)
        total = 1000 if config.catalogue == "1000" else None
        return open_shop(index_dir / f"official-{config.catalogue}", files.fingerprint(), files.read, total)
    catalog = Catalog(config.products, config.catalogue_seed)
    if config.products > _IN_MEMORY:
        name = catalog.fingerprint
        return open_shop(index_dir / name, name, catalog.listings, config.products)
    return _small_shop(catalog)


@cache
def _small_shop(catalog: Catalog) -> Shop:
    return shop_in_memory(catalog.listings(), catalog.fingerprint)


@dataclass(frozen=True, slots=True)
class OfficialGoals:
    """Task source of WebShop's goals, with its splits: test is the first 500, dev the next 1,000, train the rest."""

    config: WebShopConfig

    def splits(self) -> Sequence[str]:
        return tuple(_SPLITS)

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Up to ``count`` goals of ``split``: in WebShop's order for seed 0, else shuffled by ``seed``.

        Raises:
            UserError: the data is missing or damaged, or the split has no goal.
        """
        if split not in _SPLITS:
            raise UserError(f"there is no split {split!r}; choose one of {', '.join(_SPLITS)}")
        shop, kind = load_shop(self.config), self.config.goals
        start, end = _SPLITS[split]
        indexes = list(range(shop.num_goals(kind)))[start:end]
        if not indexes:
            raise UserError(
                f"{split} is empty: there are {shop.num_goals(kind)} {kind} goals for this catalog; choose the split "
                "test, or goals: synthetic"
            )
        if seed:
            random.Random(seed).shuffle(indexes)
        return [self._task(shop, split, index) for index in indexes[:count]]

    def _task(self, shop: Shop, split: str, index: int) -> Task:
        kind = self.config.goals
        return Task(
            id=f"webshop/{self.config.catalogue}/{kind}/{index}",
            environment="webshop",
            split=split,
            task_type=shop.goal_category(kind, index),
            payload={"catalogue": shop.fingerprint, "goals": kind, "goal": index},
        )


def webshop_tasks(config: WebShopConfig) -> TaskSource:
    """The task source for ``config``."""
    if config.source == "official":
        return OfficialGoals(config)
    return GeneratedGoals(Catalog(config.products, config.catalogue_seed))
