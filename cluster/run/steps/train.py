"""Step: the learner trains the student on the episodes of a round and of the rounds before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.config.recipe import LearnerRole, Recipe, model_of
from cluster.run.directory import RunDirectory
from cluster.run.failed_episodes import IncompleteError
from cluster.run.steps.planner import Planner, checkpoint_output
from cluster.run.steps.step import Cost, EpisodeStep, Step, StepContext
from cluster.run.training_data import TrainRequest, check_other_stores
from evaluation.failures import count_failures
from learner.bad_steps import bad_steps_folder
from rollout.errors import UserError
from rollout.models import model_folder


@dataclass(frozen=True, kw_only=True)
class TrainStep(Step):
    """One round of training.

    Attributes:
        sources: steps whose episodes are trained on, oldest round first.
        base_model: what the training starts from, as a recipe names it; None trains from random weights.
        other_stores: stores of other runs that are trained on as well.
    """

    round: int
    learner: LearnerRole
    sources: tuple[EpisodeStep, ...]
    base_model: str | None
    other_stores: tuple[str, ...] = ()

    @property
    def pending(self) -> str:
        return f"round {self.round} is not trained yet"

    def is_complete(self, context: StepContext) -> bool:
        return context.directory.checkpoint(self.round).is_dir()

    def refuse(self, context: StepContext, reason: str) -> None:
        require_complete(self.sources, context)

    async def execute(self, context: StepContext) -> None:
        require_complete(self.sources, context)
        require_trainable(self.sources, context.recipe)
        check_other_stores(self.other_stores, self.learner, context.recipe.collect.keep)
        request = TrainRequest(
            learner=self.learner,
            run_dir=str(context.directory.path),
            round=self.round,
            stores=(*(step.store for step in self.sources), *self.other_stores),
            keep=context.recipe.collect.keep,
            base_model=model_folder(self.base_model) if self.base_model else None,
            num_threads=context.num_threads(self.learner),
            chat=context.recipe.agent.chat,
            is_last=self.round == context.recipe.rounds - 1,
        )
        with context.timed("train"):
            async with context.show_training(self.round):
                await context.train(request)
        context.notify(*left_out_of_training(context.directory, self.round))
        context.notify(*training_warnings(context.directory, self.round))

    @property
    def cost(self) -> Cost:
        """Tokens of the budget, or of all episodes where that is less; how many are kept is not known before."""
        learner, episodes = self.learner, sum(len(step.requests) for step in self.sources)
        bounds = [learner.max_tokens] if learner.max_tokens else []
        # Episodes of other runs are not counted, so they leave the epochs unbounded.
        if learner.epochs and not self.other_stores:
            longest = sum(len(step.requests) * step.spec.agent.max_tokens for step in self.sources)
            bounds.append(longest * learner.epochs)
        return Cost(episodes, min(bounds, default=0), describe_budget(learner))


def plan_training(planner: Planner, round: int) -> Iterator[TrainStep]:
    """One step a round, if the recipe has a learner. It waits for all rollouts of the round, which need its cores."""
    learner = planner.recipe.learner
    if learner is None:
        return
    sources = select_training_data(planner, round)
    before = [step.name for step in planner.steps if not isinstance(step, TrainStep)]
    yield TrainStep(
        name=f"train/{round}",
        title=planner.titled("learner trains", round),
        phase="train",
        inputs=tuple(step.output for step in sources) + ((checkpoint_output(round - 1),) if round else ()),
        output=checkpoint_output(round),
        after=tuple(before),
        round=round,
        # The checkpoint of an earlier round has been widened already.
        learner=with_exact_teacher(planner.recipe, learner.model_copy(update={"widen": 1}) if round else learner),
        sources=tuple(sources),
        base_model=base_model(planner, round),
        other_stores=planner.recipe.collect.also,
    )


def with_exact_teacher(recipe: Recipe, learner: LearnerRole) -> LearnerRole:
    """The learner with the model of its exact teacher, which is the recipe's teacher if none is given."""
    if learner.teacher is None or learner.teacher.model is not None:
        return learner
    teacher = learner.teacher.model_copy(update={"model": model_of(recipe.teacher)})
    return learner.model_copy(update={"teacher": teacher})


def select_training_data(planner: Planner, round: int) -> list[EpisodeStep]:
    """Steps whose episodes ``round`` is trained on, oldest round first; scored episodes in place of collected ones."""
    collect = planner.recipe.collect
    oldest = 0 if collect.max_age_rounds is None else max(0, round + 1 - collect.max_age_rounds)
    found = []
    for past in range(oldest, round + 1):
        scored = {step.inputs[0]: step for step in planner.of_round(past, "score")}
        collected = [step for step in planner.of_round(past, "collect") if step.role in collect.train_on]
        found += [scored.get(step.output, step) for step in collected]
    return found


def base_model(planner: Planner, round: int) -> str | None:
    """What ``round`` starts from: the last checkpoint, else ``learner.model``, else the student's own model."""
    learner, student = planner.recipe.learner, planner.recipe.student
    if round:
        return str(planner.directory.checkpoint(round - 1))
    if learner is None or learner.scratch is not None:
        return None
    return learner.model or (model_of(student) if student else None)


def require_complete(steps: Sequence[EpisodeStep], context: StepContext) -> None:
    """Raise `UserError` unless every episode that the recipe asks for is stored, except for a few that are given up.

    It is an `IncompleteError` if episodes failed.
    """
    for step in steps:
        missing, failed = step.missing(context.directory), step.failed(context.directory)
        if (failed.owed() or failed.tombstones()) and (defect := step.defect(context)):
            raise IncompleteError(f"{defect} Training needs them.")
        if missing:
            raise UserError(
                f"{step.title}: {len(missing)} of {len(step.requests)} episodes are missing in {step.store}; "
                "collect them first, with `stillhouse rollout` or `stillhouse run` on the same run directory."
            )


def require_trainable(steps: Sequence[EpisodeStep], recipe: Recipe) -> None:
    """Raise `UserError` if the learner would keep no episode."""
    learner = recipe.learner
    if learner is None or recipe.collect.also:
        return
    summaries = [summary for step in steps for summary in step.summaries()]
    if any(learner.keeps(summary.identity.role, summary.outcome.success) for summary in summaries):
        return
    outcomes = [summary.outcome for summary in summaries]
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    why = f" {len(failures)} ended by an error ({count_failures(failures)})." if failures else ""
    folder = steps[0].store if steps else "the run directory"
    raise UserError(
        f"The teacher solved none of {len(outcomes)} tasks, so there is nothing to learn from.{why} All episodes are "
        f"kept in {folder}. Take a better teacher or easier tasks, or set learner.keep to all."
    )


def left_out_of_training(run: RunDirectory, round: int) -> list[str]:
    """Sentences on the episodes and shards that the training of a round left out."""
    rows = [row for row in run.read_metrics() if row.get("kind") == "trained" and row.get("round") == round]
    sentences = []
    for row in rows[-1:]:
        if dropped := row["dropped"]:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
            sentences.append(f"round {round} is trained without {sum(dropped.values()):,} episodes: {reasons}")
        sentences += [f"{path} is left out: {reason}" for path, reason in row["unreadable"].items()]
        if count := row.get("truncated_episodes"):
            sentences.append(
                f"round {round} is trained on {count:,} truncated episodes: {row['truncated_tokens']:,} tokens at their"
                f" end were removed, {row['truncated_trained_tokens']:,} of them to be trained; raise "
                "learner.max_sequence_tokens if the model's context allows it"
            )
        sentences += [f"round {round}: {note}" for note in row.get("notes", ())]
    return sentences


def training_warnings(run: RunDirectory, round: int) -> list[str]:
    """Sentences on a training that was cut off by ``max_seconds``, or whose steps were skipped."""
    rows = [row for row in run.read_metrics() if row.get("kind") == "trained" and row.get("round") == round]
    sentences = []
    for row in rows[-1:]:
        if row.get("stopped_by") == "seconds" and row["schedule_fraction"] < 1.0:
            sentences.append(
                f"round {round} was cut off by learner.max_seconds at {row['schedule_fraction']:.0%} of its epochs or "
                "tokens, so its result depends on the speed of this machine; raise learner.max_seconds, or lower the "
                "other limit"
            )
        if count := row.get("skipped_steps"):
            sentences.append(
                f"round {round} skipped {count:,} of {row['steps']:,} steps, whose loss or gradients were not finite; "
                f"their episodes are in {bad_steps_folder(str(run.checkpoint(round)))}"
            )
    return sentences


def describe_budget(learner: LearnerRole) -> str:
    """The budget of a training in words."""
    budget = (
        f"{learner.epochs} epochs" if learner.epochs else "",
        f"{learner.max_tokens:,} tokens" if learner.max_tokens else "",
        f"{learner.max_seconds:g} s" if learner.max_seconds else "",
    )
    step = f"{learner.batch_episodes} episodes" if learner.batch_episodes else f"{learner.batch_tokens:,} tokens"
    return f"{' or '.join(filter(None, budget))}, steps of {step}, keeps {learner.keep}"
