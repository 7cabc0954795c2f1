"""Runs one step of each combination of settings and compares the result with the dry run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.config.recipe import Recipe
from cluster.dry_run.dry_run import dry_run
from rollout.environments.plugins import make_task_source
from rollout.environments.wrappers.pooled import EnvironmentPool
from rollout.episode.episode import run_episode
from rollout.errors import UserError
from rollout.factory import make_builder, make_engine, make_environment
from rollout.tools.sandbox.tiers import available_tiers
from tests.cluster.conftest import scripted
from tests.rollout.rolling_out import identity_of

ACTING: tuple[dict[str, Any], ...] = (
    {"type": "plain"},
    {"type": "self_consistent", "candidates": 2},
    {"type": "constrained", "to": "admissible"},
    {"type": "constrained", "to": "grammar"},
)
HIT = "[1] Weir: It holds back water."


def combinations(environment: dict[str, Any], corpus: Path) -> Iterator[Recipe]:
    """Recipes for all combinations of acting, style, retrieval and passages that pass validation."""
    styles = ["react", "cot", *(["codeact"] if has_sandbox() else [])]
    for acting, style, searches, passages in product(ACTING, styles, (False, True), (0, 2)):
        try:
            yield recipe(environment, acting, style, corpus if searches else None, passages)
        except ValidationError:
            continue


def recipe(
    environment: dict[str, Any], acting: dict[str, Any], style: str, corpus: Path | None, passages: int, **sections: Any
) -> Recipe:
    engine = scripted("-") | {"policy": None, "replies": ["Thought: what?\nAction: look"], "max_model_len": 10**6}
    limits = {"max_steps": 1, "max_tokens": 10**5, "sampling": {"max_tokens": 64}}
    sandbox = {"preload": [], "packages": [], "memory_mib": 128}
    settings = {
        "name": "toy",
        "environment": environment,
        "agent": {**limits, "acting": acting, "style": style, "passages": passages, "sandbox": sandbox},
        "retrieval": None if corpus is None else {"corpus": str(corpus)},
        "teacher": {"engine": engine},
        "collect": {"teacher_episodes": 1},
    }
    return Recipe.model_validate({**settings, **sections})


def has_sandbox() -> bool:
    return any(status.works for status in available_tiers()[:2])


async def refusal(recipe: Recipe) -> str:
    """The reason why an episode of the recipe's teacher cannot run; empty if it ran."""
    config, agent, searches = recipe.environment, recipe.agent, recipe.retrieval is not None
    engine, search = await make_engine(recipe.teacher.engine, agent), (lambda query: HIT) if searches else None
    task = make_task_source(config).tasks("train", 1)[0]
    try:
        builder = make_builder(agent, config, recipe.teacher.engine, with_search=searches)
        environment = EnvironmentPool(lambda: make_environment(config, agent, search)).take()
        identity = identity_of(task)
        made = await run_episode(task, environment, engine, builder, agent, identity)
    except UserError as error:
        return str(error)
    environment.close()
    assert made.outcome.failure is None
    assert made.counts.steps == 1
    return ""


def differences(environments: Sequence[dict[str, Any]], corpus: Path) -> tuple[int, int, list[str]]:
    """Number of combinations that run, number that are refused, and those where the dry run has another result."""
    accepted, refused, differ = 0, 0, list[str]()
    for environment in environments:
        for one in combinations(environment, corpus):
            why = asyncio.run(refusal(one))
            accepted, refused = accepted + (not why), refused + bool(why)
            fatal = [finding.text for finding in dry_run(one).findings if finding.fatal]
            if fatal != ([why] if why else []):
                differ.append(f"{one.environment.type} {one.agent}: the run says {why!r}, the dry run {fatal}")
    return accepted, refused, differ
