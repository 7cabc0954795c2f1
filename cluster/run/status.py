"""How far a run is, read from its plan and from what its folder holds. Safe to ask while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cluster.run.directory import RunDirectory
from cluster.run.plan_file import StepRecord, read_plan
from evaluation.evaluator import Evaluator, StepFigures


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one step.

    Attributes:
        done, total: episodes; for a step without episodes 1 stands for its whole output.
        success: fraction of the finished episodes that succeeded; None without any.
        errors: finished episodes that ended in an error.
    """

    name: str
    title: str
    phase: str
    kind: str
    done: int
    total: int
    success: float | None = None
    errors: int = 0

    @property
    def state(self) -> str:
        """``done``, ``started`` or ``waiting``."""
        return "done" if self.done >= self.total else "started" if self.done else "waiting"


def run_status(run: RunDirectory) -> dict[str, Any]:
    """Progress of every step of a run.

    Returns:
        ``run_dir``, ``recipe``, ``phases`` (name -> ``waiting``, ``started`` or ``done``), ``steps`` (a row for each
        step with its name, title, phase, kind, done, total, state, success, errors), ``last_metrics``.
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
    if not step.keys:
        return Progress(*about, int((run.path / step.output).exists()), 1)
    figures = Evaluator.resume(None, {step.name: step.stored(run)}).snapshot().steps.get(step.name, StepFigures())
    return Progress(*about, figures.n, len(step.keys), figures.success, figures.errors)


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
    return text + (f"  errors {step['errors']}" if step["errors"] else "")
