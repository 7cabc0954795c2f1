"""What a run has to do, and what of it is not done yet: pure functions of the recipe and of what lies on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.config.collect import FirstThoughtConfig, Role, ScoreConfig
from cluster.config.environments import apportion, interleave, parts_of
from cluster.config.recipe import Agent, Recipe
from cluster.run.directory import RunDirectory
from cluster.run.episodes import EpisodeRequest, HintContext, Stage
from rollout.engine import Sampling
from rollout.environment import Task
from rollout.errors import UserError
from rollout.trajectory import Trajectory
from rollout.trajectory.store import TrajectoryStore

THINKER = "first_thought"
FAILING = "failures"
"""Roles of the teacher's that collect nothing to train on; their episodes are kept under these names."""


@dataclass(frozen=True, slots=True)
class Work:
    """Episodes that one role plays with one version of its weights, kept in one store.

    Attributes:
        name: unique within a run: ``prepare/failures/0``, ``collect/teacher/0``, ``score/student/0``,
            ``evaluate/student``.
        role: whose pool plays it.
        weight_version: which weights it needs; rounds of training so far. A teacher's never change.
    """

    name: str
    title: str
    role: Role
    weight_version: int
    stage: Stage
    requests: tuple[EpisodeRequest, ...]

    @property
    def is_evaluation(self) -> bool:
        return self.name.startswith("evaluate/")

    def missing(self) -> list[EpisodeRequest]:
        """Requests whose episode is not in the store."""
        keys = TrajectoryStore(self.stage.store).keys()
        return [request for request in self.requests if request.key not in keys]

    def summaries(self) -> list[Trajectory]:
        """What the store holds of this work; episodes of other weights or of an older plan are left out."""
        keys = {request.key for request in self.requests}
        return [summary for summary in TrajectoryStore(self.stage.store).summaries() if summary.key in keys]


@dataclass(frozen=True, slots=True)
class Round:
    """What is played and scored before a round is trained.

    Attributes:
        preparations: what the collections need: failures to take hints from, and first thoughts.
        collections: episodes to train on.
        scorings: collected episodes with the teacher's distributions.
    """

    preparations: tuple[Work, ...]
    collections: tuple[Work, ...]
    scorings: tuple[Work, ...]

    @property
    def works(self) -> tuple[Work, ...]:
        """All of them, in order."""
        return (*self.preparations, *self.collections, *self.scorings)


@dataclass(frozen=True, slots=True)
class Plan:
    """All work of a run, in the order of the dataflow."""

    rounds: tuple[Round, ...]
    baselines: tuple[Work, ...]
    """Evaluations that need no training: ``teacher`` and ``student_before``."""
    final: tuple[Work, ...]
    """Evaluation of the trained student."""

    @property
    def evaluations(self) -> tuple[Work, ...]:
        return (*self.baselines, *self.final)

    @property
    def works(self) -> tuple[Work, ...]:
        """All of them, in order."""
        return (*(work for round in self.rounds for work in round.works), *self.evaluations)


def make_plan(recipe: Recipe, directory: RunDirectory) -> Plan:
    """Derive the plan; the same recipe gives the same one at every start. `UserError` for a split without tasks."""
    rounds = plan_rounds(recipe, directory)
    evaluations: dict[Agent, Work] = {}
    if recipe.evaluate is not None:
        held_out_tasks = tasks_of(recipe, "evaluate", recipe.evaluate.split, recipe.evaluate.episodes)
        held_out = mixed(recipe, held_out_tasks, recipe.evaluate.episodes)
        agents = [agent for agent in recipe.evaluate.agents if can_be_evaluated(recipe, agent)]
        evaluations = {agent: evaluation(recipe, directory, agent, held_out) for agent in agents}
    final = tuple(work for agent, work in evaluations.items() if agent == "student")
    baselines = tuple(work for agent, work in evaluations.items() if agent != "student")
    return Plan(rounds, baselines, final)


def plan_rounds(recipe: Recipe, directory: RunDirectory) -> tuple[Round, ...]:
    """What is done before each training: preparing, collecting, scoring."""
    roles, failures = collecting_roles(recipe), failing_episodes(recipe)
    found = tasks_of(recipe, "collect", recipe.collect.split, tasks_per_round(recipe), recipe.rounds)
    rounds = []
    for number in range(recipe.rounds):
        tasks = {role: mixed(recipe, found, episodes, number) for role, episodes in roles.items()}
        preparing = []
        if failures and number == 0:
            preparing.append(failing(recipe, directory, mixed(recipe, found, failures)))
        if recipe.first_thought is not None and "teacher" in tasks:
            preparing.append(thinking(recipe, directory, recipe.first_thought, number, tasks["teacher"]))
        collecting = tuple(collection(recipe, directory, role, number, tasks[role]) for role in roles)
        score = recipe.score
        scored = [work for work in collecting if score is not None and work.role in score.roles]
        scoring_ = tuple(scoring(directory, recipe, score, work) for work in scored if score is not None)
        rounds.append(Round(tuple(preparing), collecting, scoring_))
    return tuple(rounds)


def record_splits(plan: Plan, directory: RunDirectory) -> None:
    """Write a digest of the tasks of each split that the run uses to its manifest."""
    tasks = {request.task.id: request.task for work in plan.works for request in work.requests}
    for split in sorted({task.split for task in tasks.values()}):
        directory.record_split(split, [task for task in tasks.values() if task.split == split])


@dataclass(frozen=True, slots=True)
class PartTasks:
    """The tasks of one environment: ``per_round`` in a round, round after round; fewer if there are not so many."""

    tasks: Sequence[Task]
    per_round: int


def tasks_of(recipe: Recipe, section: str, split: str, per_round: int, rounds: int = 1) -> list[PartTasks]:
    """Tasks of each of the recipe's environments, ``per_round`` in all.

    Raises:
        UserError: naming the recipe's section, if a split is unknown or empty.
    """
    from rollout.environments.plugins import make_task_source

    parts = parts_of(recipe.environment)
    found = []
    for part, share in zip(parts, apportion(per_round, [part.weight for part in parts]), strict=True):
        source, of = make_task_source(part.environment), f" of {part.environment.type}" if len(parts) > 1 else ""
        splits = ", ".join(source.splits())
        if split not in source.splits():
            raise UserError(f"{section}.split is {split}, which is not there{of}; choose one of {splits}.")
        tasks = source.tasks(split, share * rounds, recipe.seed)
        if share and not tasks:
            raise UserError(f"{section}.split {split}{of} has no task; choose one of {splits}.")
        found.append(PartTasks(tasks, share))
    return found


def mixed(recipe: Recipe, parts: Sequence[PartTasks], count: int, round: int = 0) -> list[Task]:
    """``count`` tasks of a round, each environment's share of them spread evenly."""
    shares = apportion(count, [part.weight for part in parts_of(recipe.environment)])
    return interleave(
        [slice_of(part.tasks, round * part.per_round, share) for part, share in zip(parts, shares, strict=True)]
    )


def collecting_roles(recipe: Recipe) -> dict[Role, int]:
    """Tasks that each role plays in a round; roles that collect nothing are left out."""
    episodes: dict[Role, int] = {"teacher": recipe.collect.teacher_episodes}
    if recipe.student_has_start:
        episodes["student"] = recipe.collect.student_episodes
    return {role: count for role, count in episodes.items() if count}


def failing_episodes(recipe: Recipe) -> int:
    """Tasks that the teacher plays without hints, once, so that there are failures to learn from."""
    return recipe.hints.failures_episodes if recipe.hints and recipe.hints.bank is None else 0


def tasks_per_round(recipe: Recipe) -> int:
    """Tasks that a round draws: as many as whoever plays most of them needs."""
    return max(*collecting_roles(recipe).values(), failing_episodes(recipe), 0)


def can_be_evaluated(recipe: Recipe, agent: Agent) -> bool:
    """Whether the recipe has what ``agent`` needs to act."""
    if agent == "teacher":
        return True
    if agent == "student_before":
        return recipe.student_has_start
    return recipe.student is not None and recipe.learner is not None


def slice_of(tasks: Sequence[Task], start: int, count: int) -> list[Task]:
    """``count`` tasks from ``start`` on; a data set that is too small is gone through again from its beginning."""
    return [tasks[i % len(tasks)] for i in range(start, start + min(count, len(tasks)))]


def collection(recipe: Recipe, directory: RunDirectory, role: Role, round: int, tasks: Sequence[Task]) -> Work:
    """What ``role`` collects in ``round``."""
    agent = recipe.agent.model_copy(update={"sampling": recipe.collect_sampling(role)})
    hints, depth = recipe.hints, recipe.collect.student_depth
    if role == "student" and depth is not None:
        agent = agent.model_copy(update={"max_steps": depth.steps(round, agent.max_steps)})
    helped = role == "teacher"
    stage = Stage(
        run=recipe.name,
        role=role,
        round=round,
        store=directory.trajectories(role, round),
        agent=agent,
        thoughts=directory.trajectories(THINKER, round) if helped and recipe.first_thought else None,
        advice=HintContext(str(directory.hint_bank), hints, hints.share)
        if helped and hints and hints.teacher
        else None,
    )
    title = f"{role} collects" + (f", round {round}" if recipe.rounds > 1 else "")
    version = round if role == "student" and recipe.learner else 0
    return Work(
        f"collect/{role}/{round}", title, role, version, stage, requests_of(stage, tasks, recipe.collect.attempts)
    )


def failing(recipe: Recipe, directory: RunDirectory, tasks: Sequence[Task]) -> Work:
    """Episodes of the teacher without hints; those that it fails are what hints are made of."""
    agent = recipe.agent.model_copy(update={"sampling": without_scores(recipe.collect_sampling("teacher"))})
    stage = Stage(recipe.name, FAILING, 0, directory.trajectories(FAILING, 0), agent)
    return Work("prepare/failures/0", "teacher plays without hints", "teacher", 0, stage, requests_of(stage, tasks, 1))


def thinking(
    recipe: Recipe, directory: RunDirectory, config: FirstThoughtConfig, round: int, tasks: Sequence[Task]
) -> Work:
    """The teacher's chains of thought over the tasks that it is going to play."""
    changes = {
        "style": "cot",
        "max_steps": 1,
        "examples": 0,
        "max_tokens": config.max_tokens or recipe.agent.max_tokens,
        "sampling": config.sampling.apply(without_scores(recipe.agent.sampling)),
    }
    agent = recipe.agent.model_copy(update=changes)
    stage = Stage(recipe.name, THINKER, round, directory.trajectories(THINKER, round), agent)
    title = "teacher thinks" + (f", round {round}" if recipe.rounds > 1 else "")
    return Work(f"prepare/{THINKER}/{round}", title, "teacher", 0, stage, requests_of(stage, tasks, 1))


def scoring(directory: RunDirectory, recipe: Recipe, config: ScoreConfig, work: Work) -> Work:
    """The episodes of ``work`` once more, with the teacher's distributions."""
    role, round = work.role, work.stage.round
    stage = replace(
        work.stage,
        store=directory.trajectories(f"{role}-scored", round),
        scored=work.stage.store,
        top_k=config.top_k,
        thoughts=None,
        advice=HintContext(str(directory.hint_bank), recipe.hints) if config.hints and recipe.hints else None,
    )
    requests = tuple(replace(request, stage=stage) for request in work.requests)
    title = f"teacher scores {role}" + (f", round {round}" if recipe.rounds > 1 else "")
    return Work(f"score/{role}/{round}", title, "teacher", 0, stage, requests)


def without_scores(sampling: Sampling) -> Sampling:
    """The same without distributions, where nobody learns from them."""
    return sampling.model_copy(update={"top_logprobs": 0})


def evaluation(recipe: Recipe, directory: RunDirectory, agent: Agent, tasks: Sequence[Task]) -> Work:
    """What ``agent`` plays when it is evaluated. Its round is the version of its weights, so versions never mix."""
    assert recipe.evaluate is not None
    version, hints = recipe.rounds if agent == "student" else 0, recipe.hints
    stage = Stage(
        run=recipe.name,
        role=agent,
        round=version,
        store=directory.evaluation(agent),
        agent=recipe.evaluated_agent(),
        advice=HintContext(str(directory.hint_bank), hints) if hints and agent in hints.agents else None,
    )
    requests = requests_of(stage, tasks, recipe.evaluate.attempts)
    role: Role = "teacher" if agent == "teacher" else "student"
    return Work(f"evaluate/{agent}", f"evaluate {agent}", role, version, stage, requests)


def requests_of(stage: Stage, tasks: Sequence[Task], attempts: int) -> tuple[EpisodeRequest, ...]:
    """All tasks once, then all a second time, ..., so that a run that is cut short has seen many tasks."""
    return tuple(EpisodeRequest(stage, task, attempt) for attempt in range(attempts) for task in tasks)
