"""One probe request to each endpoint of a recipe: whether it answers, and with what the run needs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

from cluster.config.recipe import Recipe, RoleConfig, distributions_of
from cluster.dry_run.findings import Finding
from rollout.engine import Sampling
from rollout.engines.openai_engine import EndpointError, OpenAIConfig, probe_endpoint, start
from rollout.errors import UserError
from rollout.messages import first_line

TIMEOUT_S = 10.0
"""Limit of a probe; its requests are not sent again."""


def endpoint_findings(recipe: Recipe, sections: Collection[str]) -> Iterator[Finding]:
    """Endpoints of these sections that cannot be reached, refuse the key or the model, or return too little."""
    for section, role in {"teacher": recipe.teacher, "student": recipe.student}.items():
        if section in sections and role is not None and isinstance(role.engine, OpenAIConfig):
            yield from _probe_findings(recipe, section, role, role.engine)


def _probe_findings(recipe: Recipe, section: str, role: RoleConfig, engine: OpenAIConfig) -> Iterator[Finding]:
    generated, scored = distributions_of(recipe) if section == "teacher" else (0, 0)
    collects = recipe.collect_sampling("teacher" if section == "teacher" else "student")
    sampling = collects.model_copy(update={"top_logprobs": generated})
    once = engine.model_copy(update={"max_retries": 0, "timeout_s": min(engine.timeout_s, TIMEOUT_S)})
    try:
        asyncio.run(asyncio.wait_for(_probe(once, sampling, scored), TIMEOUT_S))
    except TimeoutError:
        yield Finding(f"{section}: {engine.base_url} did not answer within {TIMEOUT_S:g} s", fatal=True)
    except (UserError, EndpointError, NotImplementedError, ValueError) as error:
        yield Finding(f"{section}: {first_line(error).rstrip('.')}", fatal=True)


async def _probe(config: OpenAIConfig, sampling: Sampling, scored: int) -> None:
    """Ask for one completion, and for the scores of a short text if the recipe needs ``scored`` entries."""
    await probe_endpoint(config, sampling)
    if not scored:
        return
    engine = await start(config)
    try:
        await engine.score([0, 0], scored)
    finally:
        await engine.close()
