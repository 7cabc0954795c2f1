"""What guides the episodes of a step: hints from a bank, and first thoughts from a store."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel

from cluster.run.episodes import EpisodeSpec, HintContext
from rollout.engine import Engine
from rollout.environment import Reset, Task
from rollout.episode.config import AgentConfig
from rollout.episode.guidance import Guidance, Guide
from rollout.errors import UserError
from rollout.factory import tokenizer_of
from rollout.hints.bank import HintBank, read_bank, write_bank
from rollout.hints.chat import ChatSession
from rollout.hints.config import HintConfig
from rollout.hints.retrieve import RANKING_SYSTEM, HintRetriever, require_enough
from rollout.prompts.cot import first_thought
from rollout.trajectory.store import TrajectoryStore
from rollout.trajectory.turns import completed_turns


def make_guide(spec: EpisodeSpec, engine: Engine, engine_config: BaseModel) -> Guide | None:
    """Chooses hints and first thoughts for the episodes of ``spec``; None if they get none.

    Reads the hint bank and the first thoughts.

    Raises:
        UserError: the bank is missing, damaged or too small.
    """
    if spec.hints is None and spec.first_thoughts is None:
        return None
    retriever = None if spec.hints is None else make_hint_retriever(spec.hints, engine, engine_config, spec.agent)
    thoughts = first_thoughts(spec.first_thoughts) if spec.first_thoughts else {}

    async def guide(task: Task, reset: Reset) -> Guidance:
        session = f"hints/{spec.role}/{spec.round}/{task.id}"
        has_hints = spec.hints is not None and draw(task) < spec.hints.share
        hints = await retriever.choose(task.task_type, reset, session) if retriever and has_hints else ()
        return Guidance(hints, thoughts.get(task.id, ""))

    return guide


def draw(task: Task) -> float:
    """A number in [0, 1) that depends on the task's id alone."""
    return int.from_bytes(sha256(f"hints/{task.id}".encode()).digest()[:4], "big") / 2**32


def make_hint_retriever(
    context: HintContext, engine: Engine, engine_config: BaseModel, agent: AgentConfig
) -> HintRetriever:
    """Chooses hints from a bank, with ``engine`` if a model is to choose."""
    chat = None
    if context.config.retriever == "llm":
        chat = ChatSession(engine, tokenizer_of(engine_config, agent), RANKING_SYSTEM)
    return HintRetriever(read_bank(context.bank, context.config.max_hint_characters), context.config, chat)


def first_thoughts(store: str) -> Mapping[str, str]:
    """The first step of each chain of thought in a store, by task. Tasks whose chain is empty are left out."""
    episodes = TrajectoryStore(store, read_only=True).read()
    chains = {e.identity.task: turns[0].thought for e in episodes if (turns := completed_turns(e))}
    return {task: thought for task, chain in chains.items() if (thought := first_thought(chain))}


def load_hint_bank(config: HintConfig, bank: Path) -> HintBank | None:
    """The hint bank of a run: the file in its folder, else the recipe's own, which is copied there.

    Returns:
        None if the bank has not been written yet.

    Raises:
        UserError: it is missing, damaged, or has fewer hints than an episode is shown.
    """
    if not bank.exists() and config.bank is None:
        return None
    source = bank if bank.exists() else Path(str(config.bank)).expanduser()
    if not source.is_file():
        raise UserError(f"hints.bank {source} does not exist; give the file of a bank, or remove hints.bank")
    found = read_bank(source, config.max_hint_characters)
    require_enough(found, config, str(source))
    if source != bank:
        write_bank(found, bank)
    return found
