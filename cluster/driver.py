"""The driver: the page on which a whole run is written down.

                    ┌────────────── act(r) ──────────────┐      ┌──── train(r) ────┐
    tasks ──────────▶ teacher pool ─▶ trajectories/teacher/round=r ─▶ learner ─▶ checkpoints/round=r
      │             │                                    │                              │
      └─────────────▶ student pool ─▶ trajectories/student/round=r                      │
                    │      ▲                             │                              │
                    │      └──────────────────── renew(r + 1) ◀─────────────────────────┘
                    │      │ weights of version r + 1, in place
                    └──────┼─────────────────────────────┘
                           ▼
    held-out tasks ─▶ both pools ─▶ evaluation/<agent> ─▶ report.json, report.md, report.html

Both pools act at the same time. ``teacher`` and ``student_before`` are evaluated in the first ``act``, queued behind
the collection; the trained ``student`` in the last one. Episodes are written by the workers when they end; the driver
sees summaries. What is done is read from the disk, never remembered: a driver that was killed anywhere is started again
with the same folder and goes on; what is complete there is skipped and starts no engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from cluster.config.collect import Role
from cluster.config.environments import parts_of
from cluster.config.recipe import Recipe, distributions_of, model_of
from cluster.run.directory import RunDirectory
from cluster.run.episodes import EpisodeRequest
from cluster.run.plan import FAILING, Plan, Work, make_plan, record_splits
from cluster.run.progress import Screen
from cluster.run.training_data import require_complete, require_trainable, to_train_on
from cluster.run.write_report import make_report
from cluster.runtime.backend import Backend, open_backend
from cluster.runtime.guidance import BankRequest, take_bank
from cluster.runtime.resources import Demand, moments, threads
from cluster.runtime.retrieval import start_retrieval
from cluster.runtime.rollout_pool import Pool
from cluster.runtime.rollout_worker import WorkerConfig
from cluster.runtime.train_learner import TrainRequest, show_training
from evaluation.report import Report
from rollout.concurrency import run_all
from rollout.models import model_folder
from rollout.tools.retrieval.service import Service
from rollout.trajectory.store import TrajectoryStore

PHASES = frozenset({"rollout", "train", "evaluate"})


@dataclass
class Run:
    """What the phases of one run share."""

    recipe: Recipe
    directory: RunDirectory
    backend: Backend
    plan: Plan
    phases: Collection[str]
    screen: Screen
    pools: dict[Role, Pool] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    retrieval: asyncio.Future[Service] | None = None
    """What the agents search: started by the first pool that does."""

    def say(self, notes: Collection[str]) -> None:
        """Show sentences that were not shown before."""
        for note in sorted(set(notes) - self.said):
            self.screen.note(note)
        self.said.update(notes)

    def missing(self, works: Sequence[Work]) -> list[tuple[Work, list[EpisodeRequest]]]:
        """What this start of the run still has to play of ``works``."""
        wanted = [work for work in works if ("evaluate" if work.is_evaluation else "rollout") in self.phases]
        return [(work, missing) for work in wanted if (missing := work.missing())]

    def is_trained(self, round: int) -> bool:
        return self.directory.checkpoint(round).is_dir()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Write down the wall clock of a phase that ends well."""
        started_s = time.monotonic()
        yield
        self.directory.log_metrics({"kind": "phase", "phase": phase, "seconds": time.monotonic() - started_s})


def run(
    recipe: Recipe,
    directory: RunDirectory,
    *,
    address: str | None = None,
    phases: Collection[str] = PHASES,
    screen: Screen | None = None,
) -> Report:
    """Do what is not done yet of a recipe's phases, and report.

    Args:
        address: of a Ray cluster; None starts one on this machine; ``local`` stays in this process, without Ray.
        phases: of ``rollout``, ``train`` and ``evaluate``.

    Raises:
        UserError: the recipe asks for what cannot be had, a pool cannot work, or there is nothing to train on.
    """
    screen = screen or Screen()
    plan = make_plan(recipe, directory)
    if recipe.hints is not None:
        take_bank(recipe.hints, directory.hint_bank)
    record_splits(plan, directory)
    backend = open_backend(address, directory.logs, moments(recipe))
    try:
        for moment in moments(recipe):
            backend.check(moment)
        asyncio.run(drive(Run(recipe, directory, backend, plan, phases, screen)))
    finally:
        backend.close()
    report = make_report(recipe.name, plan, directory)
    screen.report(report)
    return report


async def drive(run: Run) -> None:
    """The rounds of a run, then its last evaluation. Stops the pools however it ends."""
    try:
        await start(run)
        for round in range(run.recipe.rounds):
            await act(run, run.plan.rounds[round].preparations)
            await advise(run)
            await act(run, [*run.plan.rounds[round].collections, *(run.plan.baselines if round == 0 else ())])
            await act(run, run.plan.rounds[round].scorings)
            if not await train(run, round):
                if run.missing(run.plan.final):
                    run.screen.note(f"round {round} is not trained yet, so the trained student is not evaluated")
                return
            await renew(run, round + 1)
        await act(run, run.plan.final)
    finally:
        await asyncio.gather(*(pool.stop() for pool in run.pools.values()))


async def start(run: Run) -> None:
    """Produces the pools that have something to play. Waits for their engines, which start at the same time."""
    first = [work for work in run.plan.works if work.weight_version == 0 or not run.recipe.student_grows]
    roles = {work.role for work, _ in run.missing(first)}
    if not run.recipe.student_has_start:
        roles.discard("student")
    if roles:
        with run.timed("start"):
            await run_all(*(start_pool(run, role) for role in sorted(roles)))


async def start_pool(run: Run, role: Role, model: str | None = None) -> None:
    """Produces one pool. ``model`` goes before the recipe's."""
    config = run.recipe.teacher if role == "teacher" else run.recipe.student
    assert config is not None
    engine = config.engine if model is None else config.engine.model_copy(update={"model": model})
    demand = Demand(role, config.workers, config.resources)
    environments = tuple(part.environment for part in parts_of(run.recipe.environment))
    distributions = distributions_of(run.recipe) if role == "teacher" else (0, 0)
    worker = WorkerConfig(engine, environments, run.recipe.agent, await service(run), distributions)
    pool = Pool(role, lambda: run.backend.worker(demand, worker), config.workers, config.concurrency)
    run.pools[role] = pool
    run.screen.begin(f"start/{role}", f"{role} engine starts", 0, unit="")
    await pool.start()
    run.say(pool.notes)
    run.screen.end(f"start/{role}")


async def service(run: Run) -> Service | None:
    """Produces the retrieval service once for all pools; None if the recipe has none."""
    config = run.recipe.retrieval
    if config is None:
        return None
    if run.retrieval is None:
        run.retrieval = asyncio.ensure_future(start_retrieval(config, run.backend, run.screen))
    return await run.retrieval


async def advise(run: Run) -> None:
    """Consumes the failures, produces the bank of hints, once. Waits for the first ``act`` on preparations."""
    config, bank = run.recipe.hints, run.directory.hint_bank
    if config is None or "rollout" not in run.phases or take_bank(config, bank) is not None:
        return
    (failures,) = [work for work in run.plan.rounds[0].preparations if work.stage.role == FAILING]
    request = BankRequest(failures.stage.store, str(bank), config)
    if "teacher" not in run.pools:
        await start_pool(run, "teacher")
    with run.timed("hints"):
        made = await run.pools["teacher"].make_bank(request)
    run.directory.log_metrics({"kind": "hints", **made})
    run.screen.note(f"{made['bank']} hints were made of {made['episodes']} failed episodes: {bank}")


async def act(run: Run, works: Sequence[Work]) -> None:
    """Consumes tasks, produces episodes in the works' stores. Waits for all of them; both pools play at once."""
    todo = run.missing(works)
    for work, missing in todo:
        run.screen.begin(work.name, work.title, len(work.requests), resumed=len(work.requests) - len(missing))
    await run_all(*(play(run, role, todo) for role in sorted({work.role for work, _ in todo})))
    for work, _ in todo:
        await asyncio.to_thread(TrajectoryStore(work.stage.store).compact)


async def play(run: Run, role: Role, todo: Sequence[tuple[Work, Sequence[EpisodeRequest]]]) -> None:
    """Consumes what ``role`` has to play as one queue, so that its pool does not idle at the end of a work."""
    left = {work.stage.store: len(missing) for work, missing in todo}
    names = {work.stage.store: work.name for work, _ in todo}
    requests = [request for work, missing in todo if work.role == role for request in missing]
    async for request, summary in run.pools[role].rollout(requests):
        store = request.stage.store
        run.screen.episode(names[store], summary)
        left[store] -= 1
        if not left[store]:
            run.screen.end(names[store])


async def train(run: Run, round: int) -> bool:
    """Consumes the episodes up to ``round`` that are to be learned from, produces its checkpoint. Waits for their
    ``act``.

    A round that has a checkpoint is not trained again. Returns whether the next round can follow.
    """
    learner = run.recipe.learner
    if learner is None or run.is_trained(round):
        return True
    if "train" not in run.phases:
        return False
    works = to_train_on(run.recipe, run.plan, round)
    require_complete(works)
    require_trainable(works, run.recipe)
    await release_idle_pools(run, round)
    request = TrainRequest(
        # What a later round starts from has been widened already.
        learner=learner.model_copy(update={"widen": 1}) if round else learner,
        run_dir=str(run.directory.path),
        round=round,
        stores=(*(work.stage.store for work in works), *run.recipe.collect.also),
        keep=run.recipe.collect.keep,
        base_model=base_model(run, round),
        num_threads=threads(learner.resources, learner.workers, run.backend.cores),
    )
    with run.timed("train"):
        async with show_training(run.directory, run.screen, round):
            await run.backend.train(request)
    return True


def base_model(run: Run, round: int) -> str | None:
    """What ``round`` starts from: the last checkpoint, else what the learner names, else the student's own model."""
    learner, student = run.recipe.learner, run.recipe.student
    assert learner is not None
    if round:
        return str(run.directory.checkpoint(round - 1))
    if learner.scratch is not None:
        return None
    model = learner.model or (model_of(student) if student else None)
    return model_folder(model) if model else None


async def release_idle_pools(run: Run, round: int) -> None:
    """Produces free cores and memory: stops the pools that have nothing to play after ``round`` is trained."""
    later = [*(work for later in run.plan.rounds[round + 1 :] for work in later.works), *run.plan.final]
    needed = {work.role for work, _ in run.missing(later)}
    for role in [role for role in run.pools if role not in needed]:
        await run.pools.pop(role).stop()


async def renew(run: Run, version: int) -> None:
    """Consumes the checkpoint of round ``version - 1``, produces a student pool that plays with it, in place unless the
    student has grown.

    A student that has nothing to play at this version is left as it is.
    """
    if run.recipe.learner is None:
        return
    works = [work for work in run.plan.works if work.role == "student" and work.weight_version == version]
    if not run.missing(works):
        return
    folder = str(run.directory.checkpoint(version - 1))
    with run.timed("load weights"):
        before = run.pools.get("student")
        if before is not None and run.recipe.student_grows and before.weight_version == 0:
            await run.pools.pop("student").stop()
        if "student" not in run.pools:
            await start_pool(run, "student", model=folder)
        await run.pools["student"].load_weights(folder, version)
