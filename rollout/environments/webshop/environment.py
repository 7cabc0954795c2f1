"""The shop as an environment, and WebShop's own goals as a source of tasks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from rollout.environment import Reset, Step, Task, TaskSource
from rollout.environments.webshop.catalogue import CatalogueName, OfficialFiles
from rollout.environments.webshop.generator import Catalogue, GeneratedGoals, generate_goal
from rollout.environments.webshop.pages import ObservationMode
from rollout.environments.webshop.product import Goal
from rollout.environments.webshop.reward import RewardRule
from rollout.environments.webshop.session import Session
from rollout.environments.webshop.store import Shop, open_shop, shop_in_memory
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel

_IN_MEMORY = 5000
"""Generated catalogues of up to so many products are kept in memory and leave nothing on disk."""
_SPLITS = {"test": (0, 500), "dev": (500, 1500), "train": (1500, None)}
_memory: dict[str, Shop] = {}
"""Small generated shops of this process, by fingerprint."""


class WebShopConfig(FrozenModel):
    """Which shop, what is shown of it, and how a purchase is judged."""

    type: Literal["webshop"] = "webshop"
    source: Literal["generated", "official"] = "generated"
    """A generated catalogue, or WebShop's own files."""
    products: int = Field(1000, ge=100, le=5_000_000)
    """Size of a generated catalogue."""
    catalogue_seed: int = Field(0, ge=0)
    """Of a generated catalogue; another seed gives other products."""
    data_dir: str | None = None
    """Folder of WebShop's files; None is ``$WEBSHOP_DATA``, else ``~/.cache/webshop``."""
    catalogue: CatalogueName = "1000"
    """Of WebShop's files: the 1,000 products, or ``all`` 1.18 million."""
    goals: Literal["human", "synthetic"] = "human"
    """Of WebShop's files: wishes that people wrote, or that were put together by rule."""
    index_dir: str = "~/.cache/stillhouse/shop"
    """Where the index of WebShop's files or of a large generated catalogue is built once; every worker of a node maps
    it."""
    observation: ObservationMode = "text_rich"
    """Pages on one line with ``[SEP]`` between the parts, or on lines with the buttons marked."""
    reward: RewardRule = "original"
    """WebShop's rule with its quirks, or ``strict``: an option counts if exactly that value was chosen."""

    @model_validator(mode="after")
    def _check(self) -> WebShopConfig:
        if self.data_dir is not None and self.source == "generated":
            raise ValueError("data_dir is read with source: official only; set source: official or leave data_dir out")
        return self

    @property
    def builds_index(self) -> bool:
        """Whether an environment builds an index where there is none (`cluster.run.playable`)."""
        return self.source == "official" or self.products > _IN_MEMORY


class WebShopEnvironment:
    """Plays goals in one shop; it is opened, and built if it has to be, at the first reset."""

    action_templates = ("search[{}]", "click[{}]")

    def __init__(self, config: WebShopConfig) -> None:
        self._config = config
        self._session: Session | None = None
        self._shop: Shop | None = None

    def reset(self, task: Task) -> Reset:
        """Start ``task``.

        Raises:
            ValueError: the task belongs to another catalogue, or is damaged.
            UserError: data is missing or damaged.
        """
        goal, shop = self._goal(task)
        self._session = Session(shop, goal, task.id.rsplit("/", 1)[-1], self._config.observation, self._config.reward)
        return Reset(self._session.observation(), goal.instruction)

    def step(self, action: str) -> Step:
        """Do one action. Buying ends the episode; it is a success if the reward is 1."""
        session = self._playing()
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
        """The clicks that the page offers; None on the search page, where any words may be searched for.

        A search typed on another page is understood as well, as in the original.
        """
        session = self._playing()
        if session.has_search_bar:
            return None
        return sorted(f"click[{name}]" for name in session.clickables())

    def open_actions(self) -> Sequence[str]:
        """Searches, on the search page."""
        return ("search[{}]",) if self._playing().has_search_bar else ()

    def fork(self) -> WebShopEnvironment:
        """A copy of the visit; the shop is shared."""
        twin = copy(self)
        twin._session = self._playing().copy()
        return twin

    def close(self) -> None:
        self._session = self._shop = None

    def _playing(self) -> Session:
        if self._session is None:
            raise RuntimeError("reset must come before the first step")
        return self._session

    def _opened(self) -> Shop:
        if self._shop is None:
            self._shop = shop_of(self._config)
        return self._shop

    def _goal(self, task: Task) -> tuple[Goal, Shop]:
        config, payload = self._config, task.payload
        if config.source == "generated":
            goal = generate_goal(payload)
            wanted = Catalogue(int(payload["products"] or 0), int(payload["catalogue_seed"] or 0))
            if wanted != Catalogue(config.products, config.catalogue_seed):
                raise ValueError(f"the task {task.id} is of another catalogue ({wanted}); make the tasks again")
            return goal, self._opened()
        shop, kind, index = self._opened(), str(payload.get("goals")), payload.get("goal")
        if payload.get("catalogue") != shop.fingerprint:
            raise ValueError(f"the task {task.id} is of another catalogue, not that in data_dir; make the tasks again")
        if kind not in ("human", "synthetic") or not isinstance(index, int) or not 0 <= index < shop.num_goals(kind):
            raise ValueError(f"the task {task.id} is damaged: there is no goal {index} among the {kind} goals")
        return shop.goal(kind, index), shop


def shop_of(config: WebShopConfig) -> Shop:
    """The shop of these settings, shared by all environments of the process.

    Raises:
        UserError: data is missing or damaged, or the index cannot be written.
    """
    index_dir = Path(config.index_dir).expanduser()
    if config.source == "official":
        files = OfficialFiles.find(config.data_dir, config.catalogue)
        total = 1000 if config.catalogue == "1000" else None
        return open_shop(index_dir / f"official-{config.catalogue}", files.fingerprint(), files.read, total)
    catalogue = Catalogue(config.products, config.catalogue_seed)
    name = catalogue.fingerprint
    if config.products > _IN_MEMORY:
        return open_shop(index_dir / name, name, catalogue.listings, config.products)
    if name not in _memory:
        _memory[name] = shop_in_memory(catalogue.listings(), name)
    return _memory[name]


@dataclass(frozen=True, slots=True)
class OfficialGoals:
    """WebShop's goals as tasks, with its splits by place: test the first 500, dev the next 1,000, train the rest."""

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
        shop, kind = shop_of(self.config), self.config.goals
        start, end = _SPLITS[split]
        indexes = list(range(shop.num_goals(kind)))[start:end]
        if not indexes:
            raise UserError(
                f"{split} is empty: there are {shop.num_goals(kind)} {kind} goals for this catalogue; choose the split "
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
    """The source of tasks that ``config`` asks for."""
    if config.source == "official":
        return OfficialGoals(config)
    return GeneratedGoals(Catalogue(config.products, config.catalogue_seed))
