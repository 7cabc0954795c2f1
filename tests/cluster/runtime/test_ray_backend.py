"""What only a real cluster can show: actors, processes that die, several training processes, one cluster for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.config.recipe import Recipe, Resources
from cluster.run.directory import RunDirectory
from cluster.run.episodes import EpisodeRequest
from cluster.run.plan import make_plan
from cluster.run.training_data import TrainRequest
from cluster.runtime.resources import ResourceRequest
from cluster.runtime.rollout_pool import Pool, PoolError
from cluster.runtime.rollout_worker import WorkerConfig
from rollout.errors import UserError
from rollout.trajectory.store import TrajectoryStore
from tests.rollout.trajectory.stores import episode, shards

if TYPE_CHECKING:
    from cluster.runtime.ray_backend import RayBackend

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SMALL = Resources(cpus=0.5)


def requests_of(recipe: Recipe, folder: Path) -> list[EpisodeRequest]:
    run = RunDirectory(folder)
    return make_plan(recipe, run).episode_steps("collect")[0].missing(run)


def pool_of(backend: RayBackend, recipe: Recipe, workers: int = 1) -> Pool:
    config = WorkerConfig(recipe.teacher.engine, (recipe.environment,), recipe.agent)
    return Pool(
        "teacher", lambda: backend.worker(ResourceRequest("teacher", workers, SMALL), config), workers, concurrency=4
    )


@asynccontextmanager
async def started(pool: Pool) -> AsyncIterator[Pool]:
    """The pool, started; stopped at the end."""
    try:
        await pool.start()
        yield pool
    finally:
        await pool.stop()


async def test_episodes_of_two_actors_arrive_once_and_are_stored_by_the_actors(
    backend: RayBackend, toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = toy_recipe()
    requests = requests_of(recipe, tmp_path)
    async with started(pool_of(backend, recipe, workers=2)) as pool:
        summaries = [summary async for summary in pool.rollout(requests)]
    assert sorted(summary.key for summary in summaries) == sorted(request.key for request in requests)
    assert all(not summary.segments for summary in summaries)
    stored = list(TrajectoryStore(requests[0].spec.store).read())
    assert {episode.key for episode in stored} == {request.key for request in requests}
    assert all(episode.segments for episode in stored)


async def test_an_actor_killed_in_the_middle_is_replaced_and_its_episodes_are_played(
    backend: RayBackend, toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    import ray

    recipe = toy_recipe()
    requests = requests_of(recipe, tmp_path)
    async with started(pool_of(backend, recipe)) as pool:
        await pool.load_weights("anywhere", 3)
        played = []
        async for summary in pool.rollout(requests):
            played.append(summary)
            if len(played) == 3:
                ray.kill(pool.slots[0].worker.actor)  # type: ignore[attr-defined]
    assert sorted(summary.key for summary in played) == sorted(request.key for request in requests)
    assert {summary.policy.weight_version for summary in played} == {3}


async def test_a_store_is_compacted_by_another_process(backend: RayBackend, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for task in "abc":
        TrajectoryStore(folder).write([episode(task)])
    await backend.compact(str(folder))
    assert len(shards(folder)) == 1
    assert TrajectoryStore(folder).is_compact()


async def test_a_sentence_for_the_user_comes_out_of_an_actor_as_it_went_in(
    backend: RayBackend, toy_recipe: Callable[..., Recipe]
) -> None:
    engine = {"type": "scripted", "tokenizer": "builtin:household-tokenizer", "policy": "nobody"}
    with pytest.raises(UserError, match="^there is no policy 'nobody'; choose one of"):
        async with started(pool_of(backend, toy_recipe(teacher={"engine": engine}))):
            pass


async def test_an_unexpected_error_in_an_actor_is_one_sentence(
    backend: RayBackend, toy_recipe: Callable[..., Recipe]
) -> None:
    recipe = toy_recipe()
    worker = backend.worker(
        ResourceRequest("teacher", 1, SMALL), WorkerConfig(recipe.teacher.engine, (recipe.environment,), recipe.agent)
    )
    with pytest.raises(PoolError, match="^A worker failed: "):
        async for _ in worker.rollout([]):  # workers are never sent an empty list
            pass
    await worker.stop()


async def test_each_role_has_its_own_stop_timeout(backend: RayBackend, toy_recipe: Callable[..., Recipe]) -> None:
    recipe = toy_recipe()
    config = WorkerConfig(recipe.teacher.engine, (recipe.environment,), recipe.agent)
    workers = [backend.worker(ResourceRequest(role, 1, SMALL), config) for role in ("teacher", "student")]
    await asyncio.gather(*(worker.stop() for worker in workers))
    assert [worker.stop_timeout_s for worker in workers] == [15.0, 2.5]  # type: ignore[attr-defined]


@pytest.mark.slow  # a minute; test_train_learner.py has its parts: a group without Ray, and what Ray Train is given
async def test_two_processes_train_one_checkpoint(
    backend: RayBackend, toy_recipe: Callable[..., Recipe], toy_model: str, tmp_path: Path
) -> None:
    recipe = toy_recipe(learner={"model": toy_model, "epochs": 1, "batch_episodes": 4, "workers": 2})
    requests = requests_of(recipe, tmp_path)
    async with started(pool_of(backend, recipe)) as pool:
        async for _ in pool.rollout(requests):
            pass
    assert recipe.learner is not None
    run = RunDirectory(tmp_path)
    await backend.train(TrainRequest(recipe.learner, str(tmp_path), 0, (requests[0].spec.store,), toy_model, 1))
    assert (run.checkpoint(0) / "model.safetensors").is_file()
    assert [row["steps"] for row in run.read_metrics() if row["kind"] == "trained"] == [3]


@pytest.mark.slow
async def test_a_learner_without_anything_to_learn_from_says_so(
    backend: RayBackend, toy_recipe: Callable[..., Recipe], toy_model: str, tmp_path: Path
) -> None:
    learner = toy_recipe().learner
    assert learner is not None
    with pytest.raises(UserError, match="^none of 0 trajectories has tokens to train on"):
        await backend.train(TrainRequest(learner, str(tmp_path), 0, (str(tmp_path / "empty"),), toy_model, 1))


def test_a_recipe_that_asks_for_more_than_the_cluster_has_is_refused_at_once(backend: RayBackend) -> None:
    with pytest.raises(UserError, match="teacher worker needs 999 CPU"):
        backend.check([ResourceRequest("teacher", 1, Resources(cpus=999))])
    with pytest.raises(UserError, match="1 GPU"):
        backend.check([ResourceRequest("teacher", 1, Resources(gpus=1))])


def test_logs_of_the_cluster_can_be_found_from_the_run(backend: RayBackend) -> None:
    assert (backend.storage.parent / "ray").resolve() == backend.logs.resolve()
