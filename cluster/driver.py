"""The driver: executes the plan of a run.

                    ┌───────────── collect ─────────────┐       ┌───── train ──────┐
    tasks ──────────▶ teacher pool ─▶ trajectories/teacher/round=r ─▶ learner ─▶ checkpoints/round=r
      │             │                                   │                              │
      └─────────────▶ student pool ─▶ trajectories/student/round=r                     │
                    │      ▲                            │                              │
                    │      └───────────── sync_weights to version r + 1 ◀──────────────┘
                    └──────┼────────────────────────────┘
                           ▼
    held-out tasks ─▶ both pools ─▶ evaluation/<agent> ─▶ report.json, report.md, report.html

`cluster.run.plan.make_plan` says which steps there are. Here every step starts as soon as the steps that it depends on
have ended; steps of one role share a pool of workers, which starts at the first step that needs it and stops after the
last. Workers write episodes when they end; the driver sees summaries. What is done is read from the disk and never
remembered: a driver that was killed anywhere is started again on the same folder and goes on; a step that is complete
there is skipped and starts no engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cluster.config.collect import Role
from cluster.config.environments import parts_of
from cluster.config.recipe import LearnerRole, Recipe, distributions_of
from cluster.run.attempts import Attempts, Completed
from cluster.run.directory import RunDirectory
from cluster.run.episodes import WorkerJob
from cluster.run.failed_episodes import IncompleteError
from cluster.run.guidance import load_hint_bank
from cluster.run.phases import PHASES
from cluster.run.plan import Plan, make_plan, record_splits
from cluster.run.plan_file import write_plan
from cluster.run.playable import check_agents
from cluster.run.progress import Screen
from cluster.run.steps.step import EpisodeStep, Step
from cluster.run.stored import return_freed_memory
from cluster.run.tasks import TaskLists
from cluster.run.training_data import TrainRequest, check_other_stores
from cluster.run.write_report import write_run_report
from cluster.runtime.backend import Backend, open_backend
from cluster.runtime.compaction import CompactionError
from cluster.runtime.resources import ResourceRequest, num_torch_threads, resource_groups
from cluster.runtime.retrieval import start_retrieval
from cluster.runtime.rollout_pool import Pool
from cluster.runtime.rollout_worker import WorkerConfig
from cluster.runtime.slot import PoolEvent
from cluster.runtime.train_learner import show_training
from evaluation.evaluator import STORED_COLUMNS, CompletedEpisode, Evaluator
from evaluation.report import Report
from rollout.concurrency import run_all
from rollout.tools.retrieval.service import Service
from rollout.trajectory import Trajectory
from rollout.trajectory.store import TrajectoryStore

COMPACT_EVERY = 2**14
"""Episodes of a step after which its store is compacted while more are added."""


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
        IncompleteError: episodes could not be completed. The report is written, and the same command goes on.
        UserError: the recipe asks for what is not available, a pool cannot work, or there is nothing to train on.
    """
    return_freed_memory()
    screen = screen or Screen()
    check_agents(recipe, phases)
    is_trained = directory.checkpoint(recipe.rounds - 1).is_dir()
    if recipe.learner is not None and "train" in phases and not is_trained:
        check_other_stores(recipe.collect.also, recipe.learner, recipe.collect.keep)
    tasks = TaskLists(recipe, phases=phases)
    plan = make_plan(recipe, directory, tasks)
    groups = resource_groups(plan, recipe, phases)
    if recipe.hints is not None and {"rollout", "evaluate"} & set(phases):
        load_hint_bank(recipe.hints, directory.hint_bank)
    if not (tasks.absent and directory.plan_file.is_file()):
        write_plan(plan, directory)
        record_splits(plan.episode_steps(), directory)
    backend = open_backend(address, directory.logs, groups, recipe.failures)
    driver = Driver(recipe, directory, backend, plan, phases, screen)
    try:
        for group in groups:
            backend.check(group.requests)
        asyncio.run(driver.drive())
    except IncompleteError as error:
        driver.defects = [str(error)]
    finally:
        backend.close()
    report = write_run_report(directory)
    screen.report(report)
    if driver.defects:
        raise IncompleteError(" ".join([*driver.defects, "Finished episodes are kept."]))
    return report


@dataclass
class Driver:
    """One start of a run: executes steps and offers them what they need (`cluster.run.steps.step.StepContext`)."""

    recipe: Recipe
    directory: RunDirectory
    backend: Backend
    plan: Plan
    phases: Collection[str]
    screen: Screen
    evaluator: Evaluator = field(default_factory=Evaluator)
    has_output: dict[str, bool] = field(default_factory=dict)
    """By name, the steps that have ended, and whether their output is there."""
    defects: list[str] = field(default_factory=list)
    """Sentences about steps of which too few episodes were completed."""
    pools: dict[Role, Pool] = field(default_factory=dict)
    starting: dict[Role, asyncio.Task[Pool]] = field(default_factory=dict)
    retrieval: asyncio.Task[Service] | None = None
    compacting: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """By name, the compactions of steps whose episodes are still produced."""
    timers: dict[str, PhaseTimer] = field(default_factory=dict)
    shown_notes: set[str] = field(default_factory=set)

    async def drive(self) -> None:
        """Execute all steps. Stops the pools however it ends."""
        self.ended = {step.name: asyncio.Event() for step in self.plan.steps}
        try:
            await run_all(*(self.execute(step) for step in self.plan.steps))
        finally:
            await self.stop_all()

    async def execute(self, step: Step) -> None:
        """Produce the output of a step once the steps that it depends on have ended."""
        for name in self.plan.dependencies(step):
            await self.ended[name].wait()
        self.has_output[step.name] = await self.produce(step)
        self.ended[step.name].set()
        await self.release_pools()

    async def produce(self, step: Step) -> bool:
        """Execute a step unless it is complete. Returns whether its output is there and can be used."""
        if not await asyncio.to_thread(step.is_complete, self):
            if step.phase not in self.phases:
                return False
            producers = [self.plan.producers[name] for name in step.inputs]
            absent = [producer.pending for producer in producers if not self.has_output[producer.name]]
            if absent:
                step.refuse(self, absent[0])
                return False
            await step.execute(self)
        if isinstance(step, EpisodeStep) and step.phase in self.phases:
            if (running := self.compacting.pop(step.name, None)) is not None:
                await running
            await self.compact(step)
        defect = await asyncio.to_thread(step.defect, self)
        if defect and step.phase in self.phases:
            self.defects.append(defect)
            self.notify(defect)
        return not defect

    async def roll_out(self, step: EpisodeStep) -> None:
        """Consumes the missing requests of a step, produces episodes in its store and a record of those that failed."""
        self.screen.begin(step.name, step.title, len(step.requests))
        completed = await self.restore(step)
        attempts = Attempts(step, completed, self.directory, self.recipe.failures.episode)
        for summary in attempts.given_up():
            self.evaluate(step, summary)
        self.show(step)
        pool = await self.pool(step.acts_as)
        if completed.count:
            pool.vouch()
        roll_out = partial(pool.rollout, priority=self.plan.order[step.name])
        async with aclosing(attempts.summaries(roll_out)) as summaries:
            async for summary in summaries:
                self.evaluate(step, summary)
                if completed.count and completed.count % COMPACT_EVERY == 0:
                    self.compact_meanwhile(step)
        self.show(step)
        self.screen.end(step.name)

    def compact_meanwhile(self, step: EpisodeStep) -> None:
        """Compact while episodes are added, so that few shards are not in the manifest if the run is killed."""
        running = self.compacting.get(step.name)
        if running is None or running.done():
            if running is not None:
                running.result()
            self.compacting[step.name] = asyncio.ensure_future(self.compact(step))

    async def compact(self, step: EpisodeStep) -> None:
        """Merge the shards of a step and write the keys of all in one place, unless that was done."""
        if await asyncio.to_thread(TrajectoryStore(step.store, read_only=True).is_compact):
            return
        try:
            await self.backend.compact(step.store)
        except CompactionError as error:
            self.notify(f"{step.title}: its files could not be merged ({error}); the same command tries it again.")

    async def restore(self, step: EpisodeStep) -> Completed:
        """Consumes the episodes of a step that are stored, produces their figures and a note of each."""
        completed, tables = Completed(step.requests), step.requests.keys.tables(step.store, STORED_COLUMNS)
        while (found := await asyncio.to_thread(next, tables, None)) is not None:
            places, table = found
            self.evaluator.restore(step.name, table)
            completed.add_all(places, table["steps"].to_numpy())
        return completed

    def evaluate(self, step: EpisodeStep, summary: Trajectory) -> None:
        """Consumes an episode that has ended, produces the figures on the screen."""
        self.evaluator.add(CompletedEpisode(step.name, summary))
        if self.screen.is_due(step.name):
            self.show(step)

    def show(self, step: EpisodeStep) -> None:
        """Produces the figures on the screen."""
        if (figures := self.evaluator.snapshot().steps.get(step.name)) is not None:
            self.screen.episodes(step.name, figures)

    async def call_worker(self, role: Role, job: WorkerJob) -> Mapping[str, int]:
        """Run a job on one worker of a role."""
        return await (await self.pool(role)).call(job)

    async def train(self, request: TrainRequest) -> None:
        """Consumes episodes, produces a checkpoint."""
        await self.backend.train(request)

    async def sync_weights(self, role: Role, folder: str, version: int) -> None:
        """Consumes a checkpoint, produces a pool that acts with it: in place, unless the student has grown."""
        if role in self.pools and self.recipe.student_grows and self.pools[role].weight_version == 0:
            await self.stop_pool(role)
        pool = await self.pool(role, model=folder)
        await pool.load_weights(folder, version)

    async def pool(self, role: Role, model: str | None = None) -> Pool:
        """The pool of a role; it is started at the first call. ``model`` replaces the recipe's."""
        if role not in self.starting:
            self.starting[role] = asyncio.ensure_future(self.start_pool(role, model))
        return await asyncio.shield(self.starting[role])

    async def start_pool(self, role: Role, model: str | None) -> Pool:
        """Produces a pool whose engines have started."""
        config = self.recipe.teacher if role == "teacher" else self.recipe.student
        assert config is not None, "a step of the student is planned only where there is one"
        engine = config.engine if model is None else config.engine.model_copy(update={"model": model})
        environments = tuple(part.environment for part in parts_of(self.recipe.environment))
        distributions = distributions_of(self.recipe) if role == "teacher" else (0, 0)
        agent, failures = self.recipe.agent, self.recipe.failures
        service = await self.service()
        policies = failures.episode, failures.hosts
        worker = WorkerConfig(engine, environments, agent, service, distributions, *policies)
        request = ResourceRequest(role, config.workers, config.resources)
        spawn = partial(self.backend.worker, request, worker)
        on_event = partial(self.record_event, role)
        pool = Pool(role, spawn, config.workers, config.concurrency, failures.worker(role), on_event)
        self.pools[role] = pool
        row = f"start/{role}"
        self.screen.begin(row, f"{role} engine starts", 0, unit="")
        with self.timed("start"):
            await pool.start()
        self.screen.end(row)
        return pool

    def record_event(self, role: Role, event: PoolEvent) -> None:
        """Show and record what a worker reports when it starts, and its restarts."""
        if event.kind == "note" and event.text in self.shown_notes:
            return
        self.notify(event.text)
        self.directory.log_metrics({"kind": event.kind, "role": role, "note": event.text})

    async def service(self) -> Service | None:
        """The retrieval service of all pools, started at the first call; None if the recipe has none."""
        if self.recipe.retrieval is None:
            return None
        if self.retrieval is None:
            starting = start_retrieval(self.recipe.retrieval, self.backend, self.screen)
            self.retrieval = asyncio.ensure_future(starting)
        return await asyncio.shield(self.retrieval)

    async def release_pools(self) -> None:
        """Stop the pools that no later step needs, so that their cores and memory are free."""
        while idle := set(self.pools) - self.needed_roles():  # looked up again: other steps end during a stop
            await self.stop_pool(idle.pop())

    def needed_roles(self) -> set[Role | None]:
        """Roles of the steps that this start of the run has not ended yet."""
        return {step.role for step in self.plan.steps if step.name not in self.has_output and step.phase in self.phases}

    async def stop_pool(self, role: Role) -> None:
        """Stop a pool; the next step that needs the role starts another."""
        del self.starting[role]
        await self.pools.pop(role).stop()

    async def stop_all(self) -> None:
        """Stop all pools, also those that are still starting."""
        starting: list[asyncio.Task[Any]] = [*self.starting.values(), *([self.retrieval] if self.retrieval else [])]
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        await asyncio.gather(*(pool.stop() for pool in self.pools.values()))

    def is_needed(self, output: str) -> bool:
        """Whether a step that this start executes consumes an output."""
        consumers = self.plan.consumers(output)
        return any(step.phase in self.phases and not step.is_complete(self) for step in consumers)

    def num_threads(self, learner: LearnerRole) -> int:
        """Torch threads of each training process."""
        return num_torch_threads(learner.resources, learner.workers, self.backend.cores)

    def show_training(self, round: int) -> AbstractAsyncContextManager[None]:
        """Show the learner's progress until the block ends."""
        return show_training(self.directory, self.screen, round)

    def notify(self, *notes: str) -> None:
        """Show sentences that were not shown before."""
        for note in sorted(set(notes) - self.shown_notes):
            self.screen.note(note)
        self.shown_notes.update(notes)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Record the wall-clock time of a phase that ends well; parts of it that overlap count once."""
        timer = self.timers.setdefault(phase, PhaseTimer())
        timer.enter()
        yield
        seconds = timer.leave()
        if seconds is not None:
            self.directory.log_metrics({"kind": "phase", "phase": phase, "seconds": seconds})


class PhaseTimer:
    """Measures the time in which at least one part of a phase is active."""

    def __init__(self) -> None:
        self.active = 0
        self.started_s = 0.0

    def enter(self) -> None:
        """A part begins."""
        if not self.active:
            self.started_s = time.monotonic()
        self.active += 1

    def leave(self) -> float | None:
        """A part ends. Returns the seconds of the phase if it was the last one that was active."""
        self.active -= 1
        return None if self.active else time.monotonic() - self.started_s
