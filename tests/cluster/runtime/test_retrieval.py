"""The retrieval service of a run: its recipe section, in this process, and as actors of which one dies."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import ValidationError

from cluster.config.recipe import Recipe, Resources
from cluster.driver import run
from cluster.dry_run.dry_run import dry_run
from cluster.run.directory import RunDirectory, open_run
from cluster.run.plan import make_plan
from cluster.run.progress import Screen
from cluster.runtime.resources import ResourceRequest, resource_groups
from cluster.runtime.retrieval import start_retrieval
from cluster.runtime.rollout_pool import Pool
from cluster.runtime.rollout_worker import WorkerConfig
from rollout.errors import UserError
from rollout.tools.retrieval.client import RetrievalClient
from rollout.tools.retrieval.service import Service
from rollout.trajectory import Kind
from rollout.trajectory.store import TrajectoryStore
from tests.cluster.conftest import scripted

if TYPE_CHECKING:
    from cluster.runtime.ray_backend import RayBackend, RayReplica

MakeRecipe = Callable[..., Recipe]
HIT = "[1] Weir: It holds back water."


@pytest.fixture
def retrieval(tmp_path: Path) -> dict[str, Any]:
    """A recipe's section, with its corpus."""
    rows = [("Weir", "It holds back water."), ("Mill", "It grinds corn.")]
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"title": title, "text": text}) + "\n" for title, text in rows))
    return {"corpus": str(path), "index_dir": str(tmp_path / "index"), "resources": {"cpus": 0.25}}


@pytest.fixture
def asking(toy_recipe: MakeRecipe, retrieval: dict[str, Any]) -> MakeRecipe:
    """Makes a recipe whose teacher searches in its first turn; nothing is learned."""
    asks = scripted("-") | {"policy": None, "replies": ["Thought: what?\nAction: search[water]", "Action: look"]}

    def make(**sections: Any) -> Recipe:
        settings = {
            "agent": {"max_steps": 2, "max_tokens": 3000, "sampling": {"max_tokens": 64}},
            "retrieval": retrieval,
            "teacher": {"engine": asks, "concurrency": 4, "resources": {"cpus": 0.25}},
            "student": None,
            "collect": {"teacher_episodes": 8},
            "learner": None,
            "evaluate": None,
        }
        return toy_recipe(**{**settings, **sections})

    return make


def first_observations(store: str | Path) -> list[str]:
    """What answered the first turn of each stored episode."""
    episodes = list(TrajectoryStore(store, read_only=True).read())
    assert not [episode.outcome.failure for episode in episodes if episode.outcome.failure]
    return [s.text for episode in episodes for s in episode.segments if s.kind is Kind.OBSERVATION and s.turn == 1]


def go(recipe: Recipe, folder: Path) -> str:
    """Run in this process; gives what the screen showed."""
    file = io.StringIO()
    with open_run(folder, recipe) as directory:
        run(recipe, directory, address="local", screen=Screen(file))
    return file.getvalue()


def test_the_agents_of_a_run_search_and_the_index_is_built_with_progress_once(
    asking: MakeRecipe, tmp_path: Path
) -> None:
    shown = go(asking(), tmp_path / "run")
    assert "retrieval starts: documents 2" in shown
    assert first_observations(tmp_path / "run" / "trajectories" / "teacher" / "round=000") == [HIT] * 8
    assert "retrieval" not in go(asking(), tmp_path / "run")  # nothing is left to play
    assert "documents" not in go(asking(), tmp_path / "other run")


def test_an_agent_held_to_admissible_actions_may_also_search(
    asking: MakeRecipe, toy_model: str, tmp_path: Path
) -> None:
    """A model with random weights plays whole episodes: all that it does is admissible or a search."""
    agent = {
        "style": "act",
        "max_steps": 6,
        "max_tokens": 2048,
        "sampling": {"max_tokens": 40, "temperature": 1.0, "seed": 0},
        "acting": {"type": "constrained", "to": "admissible"},
    }
    engine = {"type": "transformers", "model": toy_model, "device": "cpu", "max_model_len": 2048}
    recipe = asking(agent=agent, teacher={"engine": engine, "concurrency": 4}, collect={"teacher_episodes": 6})
    assert dry_run(recipe).can_run
    go(recipe, tmp_path / "run")
    store = TrajectoryStore(tmp_path / "run" / "trajectories" / "teacher" / "round=000", read_only=True)
    episodes = list(store.read())
    assert [episode.outcome.failure for episode in episodes] == [None] * 6
    assert sum(episode.counts.invalid_actions for episode in episodes) == 0
    actions = [s.text.strip() for episode in episodes for s in episode.segments if s.kind is Kind.ACT]
    searches = [action for action in actions if re.fullmatch(r"search\[.+\]", action)]
    assert len(actions) == 36
    assert 0 < len(searches) < 36


def test_a_service_without_a_corpus_ends_the_run_in_one_sentence(asking: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no corpus at .*absent"):
        go(asking(retrieval={"corpus": str(tmp_path / "absent.jsonl")}), tmp_path / "run")


def test_worlds_with_a_search_of_their_own_need_no_service_but_may_be_mixed_with_others(asking: MakeRecipe) -> None:
    shop, house = {"type": "webshop"}, {"type": "household", "size": "small"}
    with pytest.raises(ValidationError, match=r"has a search of its own \(hotpotqa\); leave retrieval out"):
        asking(environment={"type": "hotpotqa"})
    with pytest.raises(ValidationError, match=r"has a search of its own \(webshop\)"):
        asking(environment={"type": "mix", "parts": [{"environment": shop}]})
    asking(environment={"type": "mix", "parts": [{"environment": shop}, {"environment": house}]})


def test_a_search_that_may_outlast_its_step_is_refused(asking: MakeRecipe, retrieval: dict[str, Any]) -> None:
    client = {"timeout_s": 50, "retries": 2, "retry_wait_s": 0, "batch_wait_s": 0}
    with pytest.raises(ValidationError, match=r"may try for 150 s, but agent.step_timeout_s is 120; lower"):
        asking(retrieval={**retrieval, "client": client})


def test_the_replicas_are_counted_beside_all_workers_that_live_with_them(
    asking: MakeRecipe, toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    retrieval = asking().retrieval
    assert retrieval is not None
    service = ResourceRequest("retrieval", 2, Resources(cpus=0.25))
    recipe = toy_recipe(retrieval=retrieval.model_dump())
    groups = resource_groups(make_plan(recipe, RunDirectory(tmp_path)), recipe)
    assert groups
    assert all(service in group.requests for group in groups)


def test_a_run_may_go_on_with_more_replicas(asking: MakeRecipe, retrieval: dict[str, Any], tmp_path: Path) -> None:
    for replicas in (2, 5):
        with open_run(tmp_path / "run", asking(retrieval={**retrieval, "replicas": replicas})):
            pass


def test_the_section_in_the_documentation_is_valid(asking: MakeRecipe) -> None:
    page = (Path(__file__).parents[3] / "docs" / "environments.md").read_text(encoding="utf-8")
    section = yaml.safe_load(page[page.index("retrieval:\n") :].partition("```")[0])
    assert asking(**section).retrieval.kind == "bm25"  # type: ignore[union-attr]  # given


@pytest.mark.ray
@pytest.mark.timeout(600)
async def test_all_are_answered_while_a_replica_dies_and_it_comes_back(
    backend: RayBackend, asking: MakeRecipe, tmp_path: Path
) -> None:
    from cluster.runtime.ray_backend import RayReplica

    recipe, file = asking(collect={"teacher_episodes": 40}), io.StringIO()
    assert recipe.retrieval is not None
    service = await start_retrieval(recipe.retrieval, backend, Screen(file))
    assert "documents 2" in file.getvalue()
    victim = service.replicas[0]
    assert isinstance(victim, RayReplica)
    client = RetrievalClient(service.replicas, recipe.retrieval.client)
    first = await process_of(victim)
    kill(victim)
    assert [[hit.title for hit in await client.search("water", 1)] for _ in range(8)] == [["Weir"]] * 8
    assert first_observations(await play(backend, recipe, service, tmp_path, lambda: kill(victim))) == [HIT] * 40

    patient = recipe.retrieval.client.model_copy(update={"retries": 8, "timeout_s": 60})
    assert [hit.title for hit in await RetrievalClient([victim], patient).search("corn", 1)] == ["Mill"]
    assert await process_of(victim) != first
    with pytest.raises(UserError, match="there is no corpus at .*absent"):
        await RayReplica(recipe.retrieval.model_copy(update={"corpus": "absent"}), {"num_cpus": 0}, 9).start()


async def process_of(replica: RayReplica) -> int:
    """Process id of the actor that answers now."""
    return int(await replica.actor.__ray_call__.remote(lambda _: os.getpid()))


def kill(replica: RayReplica) -> None:
    import ray

    ray.kill(replica.actor, no_restart=False)


async def play(
    backend: RayBackend, recipe: Recipe, service: Service, folder: Path, at_the_first: Callable[[], None]
) -> str:
    """All episodes of the recipe by two workers, and something that happens when the first has ended; their store."""
    config = WorkerConfig(recipe.teacher.engine, (recipe.environment,), recipe.agent, service)
    request = ResourceRequest("teacher", 2, recipe.teacher.resources)
    run = RunDirectory(folder / "run")
    requests = make_plan(recipe, run).episode_steps("collect")[0].missing(run)
    pool = Pool("teacher", lambda: backend.worker(request, config), 2, concurrency=2)
    try:
        await pool.start()
        count = 0
        async for _ in pool.rollout(requests):
            count += 1
            if count == 1:
                at_the_first()
    finally:
        await pool.stop()
    return requests[0].spec.store
