"""What guides the episodes of a stage: hints from a bank, first thoughts from a store. And how a bank is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from cluster.run.episodes import HintContext
from rollout.engine import Engine
from rollout.environment import Reset, Task
from rollout.episode.guidance import Guidance, Guide
from rollout.errors import UserError
from rollout.factory import tokenizer_of
from rollout.hints.asking import ChatSession
from rollout.hints.bank import HintBank, read_bank, write_bank
from rollout.hints.config import HintConfig, ModelWriter
from rollout.hints.retrieve import RANKING_SYSTEM, HintRetriever, require_enough
from rollout.hints.writer import SYSTEM, bank_of, count_writings, write_hints
from rollout.prompts.cot import first_thought
from rollout.trajectory.store import TrajectoryStore
from rollout.trajectory.turns import played_turns

if TYPE_CHECKING:
    from cluster.run.episodes import Stage


@dataclass(frozen=True, slots=True)
class BankRequest:
    """A bank to be made of the failed episodes in ``store``, and written to ``bank``."""

    store: str
    bank: str
    config: HintConfig


def make_guide(stage: Stage, engine: Engine, engine_config: BaseModel) -> Guide | None:
    """What guides the episodes of ``stage``; None if nothing does. Reads the bank and the thoughts.

    Raises:
        UserError: the bank is missing, damaged or too small.
    """
    if stage.advice is None and stage.thoughts is None:
        return None
    retriever = None if stage.advice is None else make_hint_retriever(stage.advice, engine, engine_config)
    thoughts = first_thoughts(stage.thoughts) if stage.thoughts else {}

    async def guide(task: Task, reset: Reset) -> Guidance:
        session = f"hints/{stage.role}/{stage.round}/{task.id}"
        is_advised = stage.advice is not None and draw(task) < stage.advice.share
        hints = await retriever.choose(task.task_type, reset, session) if retriever and is_advised else ()
        return Guidance(hints, thoughts.get(task.id, ""))

    return guide


def draw(task: Task) -> float:
    """A number in [0, 1) that is the task's own, the same in every process."""
    return int.from_bytes(sha256(f"hints/{task.id}".encode()).digest()[:4], "big") / 2**32


def make_hint_retriever(advice: HintContext, engine: Engine, engine_config: BaseModel) -> HintRetriever:
    """Chooses the hints of a stage's episodes, with ``engine`` if a model is to choose."""
    chat = None
    if advice.config.retriever == "llm":
        chat = ChatSession(engine, tokenizer_of(engine_config), RANKING_SYSTEM)
    return HintRetriever(read_bank(advice.bank, advice.config.max_hint_characters), advice.config, chat)


def first_thoughts(store: str) -> Mapping[str, str]:
    """The first step of each chain of thought in a store, by task; tasks whose chain is empty are left out."""
    chains = {e.identity.task: turns[0].thought for e in TrajectoryStore(store).read() if (turns := played_turns(e))}
    return {task: thought for task, chain in chains.items() if (thought := first_thought(chain))}


async def make_bank(request: BankRequest, engine: Engine, engine_config: BaseModel) -> Mapping[str, int]:
    """Write the bank; returns what to report of it (`rollout.hints.writer.count_writings`).

    Raises:
        UserError: no hint came of it, or fewer than an episode is to be shown.
    """
    config = request.config
    chat = ChatSession(engine, tokenizer_of(engine_config), SYSTEM) if isinstance(config.writer, ModelWriter) else None
    writings = await write_hints(TrajectoryStore(request.store).read(), config, chat)
    bank = bank_of(writings, config)
    require_enough(bank, config, f"the bank made of {len(writings)} failed episodes")
    write_bank(bank, request.bank)
    return {**count_writings(writings), "bank": len(bank)}


def take_bank(config: HintConfig, bank: Path) -> HintBank | None:
    """The bank of a run: the one in its folder, else the recipe's own, copied there; None if it is still to be made.

    Raises:
        UserError: it is missing, damaged, or has fewer hints than an episode is to be shown.
    """
    if not bank.exists() and config.bank is None:
        return None
    source = bank if bank.exists() else Path(str(config.bank)).expanduser()
    if not source.is_file():
        raise UserError(f"hints.bank {source} is not there; give the file of a bank, or leave it out to have one made")
    found = read_bank(source, config.max_hint_characters)
    require_enough(found, config, str(source))
    if source != bank:
        write_bank(found, bank)
    return found
