"""How far a run is, read from its plan and from what its folder holds. Safe to ask while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cluster.run.directory import RunDirectory
from cluster.run.plan_file import StepRecord, read_plan
from evaluation.evaluator import STORED_COLUMNS, CompletedEpisode, Evaluator, StepFigures
from evaluation.failures import FailureFigures


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one step.

    Attributes:
        done, total: completed and planned episodes; for a step without episodes 1 stands for its whole output.
        success: fraction of the completed episodes that succeeded; None without any.
        errors: episodes that failed and have no result, ``given_up`` of them for good.
        causes: errors by cause; ``message`` is the most common one.
    """

    name: str
    title: str
    phase: str
    kind: str
    done: int
    total: int
    success: float | None = None
    errors: int = 0
    given_up: int = 0
    causes: Mapping[str, int] = field(default_factory=dict)
    message: str = ""

    @property
    def state(self) -> str:
        """``done``, ``started`` or ``waiting``."""
        if self.done + self.given_up >= self.total:
            return "done"
        return "started" if self.done or self.errors else "waiting"


def run_status(run: RunDirectory) -> dict[str, Any]:
    """Progress of every step of a run.

    Returns:
        ``run_dir``, ``recipe``, ``phases`` (name -> ``waiting``, ``started`` or ``done``), ``steps`` (a row for each
        step with the fields of `Progress` and its state), ``last_metrics``.
    """
    plan, metrics = read_plan(run), run.read_metrics()
    steps = progress(run, plan.steps)
    return {
        "run_dir": str(run.path),
        "recipe": plan.recipe,
        "phases": {phase: state_of(step for step in steps if step.phase == phase) for phase in phases_of(steps)},
        "steps": [{**asdict(step), "state": step.state} for step in steps],
        "last_metrics": metrics[-1] if metrics else None,
    }


def progress(run: RunDirectory, steps: Sequence[StepRecord]) -> list[Progress]:
    """Progress of every step whose output is kept in the run directory; weights in engines are not."""
    return [step_progress(run, step) for step in steps if step.kind != "sync_weights"]


def step_progress(run: RunDirectory, step: StepRecord) -> Progress:
    """Progress of one step."""
    about = (step.name, step.title, step.phase, step.kind)
    if not step.tasks:
        return Progress(*about, int((run.path / step.output).exists()), 1)
    episodes = step.episodes(run)
    evaluator = Evaluator()
    for _, table in episodes.tables(STORED_COLUMNS):
        evaluator.restore(step.name, table)
    for episode in episodes.failed.values():
        evaluator.add(CompletedEpisode(step.name, episode.summary()))
    figures = evaluator.snapshot().steps.get(step.name, StepFigures())
    failures = figures.failures
    return Progress(
        *about,
        figures.n,
        len(step.keys),
        figures.success,
        failures.total,
        len(episodes.given_up),
        failures.causes,
        failures.message,
    )


def phases_of(steps: Iterable[Progress]) -> list[str]:
    """The phases that a run has, in the order of its steps."""
    return list(dict.fromkeys(step.phase for step in steps))


def state_of(steps: Iterable[Progress]) -> str:
    """State of a phase: ``done`` when all of its steps are."""
    states = {step.state for step in steps}
    return states.pop() if len(states) == 1 else "started"


def describe(found: dict[str, Any]) -> str:
    """The status in lines for a terminal."""
    lines = [f"{found['recipe']} in {found['run_dir']}"]
    lines += [f"{phase:<9} {state}" for phase, state in found["phases"].items()]
    return "\n".join([*lines, *(f"  {_describe_step(step)}" for step in found["steps"])])


def _describe_step(step: dict[str, Any]) -> str:
    text = f"{step['title']:<32} {step['done']:>6} of {step['total']:<6}"
    if step["success"] is not None:
        text += f" success {step['success']:.1%}"
    if not step["errors"]:
        return text
    given_up = f", {step['given_up']} given up" if step["given_up"] else ""
    return f"{text}  errors {step['errors']}{given_up} ({FailureFigures(step['causes'], step['message'])})"
