"""Step: a hint bank is written from failed episodes, or the recipe's own bank is copied into the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cluster.config.collect import HintsRole, Role
from cluster.run.episodes import WorkerContext
from cluster.run.failed_episodes import IncompleteError
from cluster.run.guidance import load_hint_bank
from cluster.run.steps.failures import FAILURES
from cluster.run.steps.planner import HINT_BANK, Planner, trajectories_output
from cluster.run.steps.step import Cost, Step, StepContext
from evaluation.failures import MAX_FAILED_SHARE, count_failures
from rollout.environments.hints import hint_rules
from rollout.episode.config import AgentConfig
from rollout.factory import tokenizer_of
from rollout.hints.bank import write_bank
from rollout.hints.chat import ChatSession
from rollout.hints.config import HintConfig, ModelWriter
from rollout.hints.retrieve import require_enough
from rollout.hints.writer import SYSTEM, build_bank, summarize, write_hints
from rollout.trajectory.store import TrajectoryStore


@dataclass(frozen=True, slots=True)
class WriteHintBank:
    """Writes the bank of the failed episodes in ``store`` to the file ``bank``, on a worker."""

    store: str
    bank: str
    config: HintConfig
    agent: AgentConfig

    async def run(self, context: WorkerContext) -> Mapping[str, int]:
        """Write the bank; returns what to report of it (`rollout.hints.writer.summarize`).

        Raises:
            IncompleteError: the writer's engine failed for too many episodes. Nothing is written.
            UserError: no hints came of it, or fewer than an episode is shown.
        """
        config, chat = self.config, None
        if isinstance(config.writer, ModelWriter):
            chat = ChatSession(context.engine, tokenizer_of(context.engine_config, self.agent), SYSTEM)
        episodes = TrajectoryStore(self.store, read_only=True).read()
        results = await write_hints(episodes, config, chat, rules=hint_rules)
        failures = count_failures(made.failure for made in results if made.failure and not made.failure.is_result)
        if failures.total > MAX_FAILED_SHARE * len(results):
            raise IncompleteError(
                f"bank of hints: {failures.total} of {len(results)} failed episodes could not be read by the writer "
                f"({failures}), so no bank was written."
            )
        bank = build_bank(results, config, hint_rules)
        require_enough(bank, config, f"the bank made of {len(results)} failed episodes")
        write_bank(bank, self.bank)
        return {**summarize(results), "bank": len(bank)}


@dataclass(frozen=True, kw_only=True)
class HintBankStep(Step):
    """The bank of the failed episodes in ``source``, or the recipe's own bank where ``source`` is None."""

    config: HintsRole
    bank: str
    source: str | None

    @property
    def role(self) -> Role | None:
        return "teacher" if self.source else None

    def is_complete(self, context: StepContext) -> bool:
        return load_hint_bank(self.config, context.directory.hint_bank) is not None

    async def execute(self, context: StepContext) -> None:
        assert self.source is not None, "the recipe's own bank was copied when it was looked for"
        job = WriteHintBank(self.source, self.bank, self.config, context.recipe.agent)
        with context.timed("hints"):
            made = await context.call_worker("teacher", job)
        context.directory.log_metrics({"kind": "hints", **made})
        context.notify(f"{made['bank']} hints were made of {made['episodes']} failed episodes: {self.bank}")

    @property
    def cost(self) -> Cost:
        writer = "rules" if self.config.writer.by == "rules" else "the teacher"
        source = self.config.bank or f"of the failures, written by {writer}"
        return Cost(note=f"{source}; {self.config.k} an episode")


def plan_hint_bank(planner: Planner, round: int) -> Iterator[HintBankStep]:
    """One step before the first round, if the recipe has hints."""
    config = planner.recipe.hints
    if config is None or round:
        return
    failures = planner.of_round(0, "prepare")
    source = next((step for step in failures if step.spec.role == FAILURES), None)
    yield HintBankStep(
        name="prepare/hint_bank",
        title="bank of hints",
        phase="rollout",
        inputs=(trajectories_output(FAILURES, 0),) if source else (),
        output=HINT_BANK,
        config=config,
        bank=planner.hint_bank(),
        source=source.store if source else None,
    )
