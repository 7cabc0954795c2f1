"""The report of a run, built from the contents of its folder alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cluster.run.directory import RunDirectory
from cluster.run.plan_file import StepEpisodes, read_plan
from evaluation.report import LearnerFigures, Report, build_report, rollout_figures, write_report
from evaluation.streaming import BusyTime
from rollout.trajectory import Trajectory, is_owed

Metrics = Sequence[Mapping[str, Any]]


def write_run_report(run: RunDirectory) -> Report:
    """Write report.json, report.md and report.html from the current contents of a run folder, also during a run.

    Agents of which no episode has ended are left out.
    """
    plan, metrics = read_plan(run), run.read_metrics()
    episodes = {step: step.episodes(run) for step in plan.steps if step.keys}
    agents = {
        step.role: summaries
        for step, ended in episodes.items()
        if step.kind == "evaluate" and (summaries := ended.summaries())
    }
    collected = [summary for step, ended in episodes.items() if step.kind == "collect" for summary in ended.summaries()]
    evaluated = [summary for summaries in agents.values() for summary in summaries]
    seconds = {"collect": busy_seconds(collected), "evaluate": busy_seconds(evaluated), **phase_seconds(metrics)}
    report = build_report(
        agents,
        rollouts=rollout_figures(collected, seconds["collect"]),
        learner=learner_figures(metrics),
        wall_seconds={phase: round(value, 3) for phase, value in seconds.items()},
        failed=[row for step, ended in episodes.items() for row in failed_rows(step.name, ended)],
        notes=notes_of(metrics),
        run=plan.recipe,
    )
    write_report(run.path, report)
    return report


def failed_rows(step: str, ended: StepEpisodes) -> Iterator[dict[str, Any]]:
    """The failed episodes of a step, for the report."""
    for key, episode in ended.failed.items():
        failure = episode.failure
        yield {
            "step": step,
            "task": key.task,
            "attempt": key.attempt,
            "cause": failure.cause.value,
            "type": failure.type,
            "message": failure.message,
            "attempts": episode.attempts,
            "given_up": key in ended.given_up,
        }


def busy_seconds(summaries: Iterable[Trajectory]) -> float:
    """Wall-clock seconds in which at least one of these episodes ran, however often the run was stopped."""
    busy = BusyTime()
    for times in (summary.times for summary in summaries if not is_owed(summary)):
        busy.add(times.started_unix_s, times.started_unix_s + times.total_s)
    return busy.seconds


def notes_of(metrics: Metrics) -> list[dict[str, str]]:
    """By role, what the engines reported when they started (such as the self-test of the teacher), and restarts."""
    noted = {(row["role"], row["note"]) for row in metrics if row.get("kind") in ("note", "restart", "retired")}
    return [{"role": role, "note": note} for role, note in sorted(noted)]


def phase_seconds(metrics: Metrics) -> dict[str, float]:
    """Wall-clock seconds of the other phases that completed, summed over all rounds and starts of the run."""
    seconds: dict[str, float] = defaultdict(float)
    for row in metrics:
        if row.get("kind") == "phase":
            seconds[row["phase"]] += row["seconds"]
    return dict(seconds)


def _truncated(trained: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    names = ("episodes", "tokens", "trained_tokens")
    sums = {name: sum(row.get(f"truncated_{name}", 0) for row in trained) for name in names}
    return sums if sums["episodes"] else {}


def learner_figures(metrics: Metrics) -> LearnerFigures:
    """Training figures over all rounds, with the first loss of the first round and the last loss of the last round."""
    rounds = {row["round"]: row for row in metrics if row.get("kind") == "trained"}
    if not rounds:
        return LearnerFigures()
    trained = [rounds[number] for number in sorted(rounds)]
    seconds = sum(row["seconds"] for row in trained)
    dropped: Counter[str] = Counter()
    for row in trained:
        dropped.update(row.get("dropped", {}))
    return LearnerFigures(
        steps=sum(row["steps"] for row in trained),
        tokens_per_second=sum(row["tokens"] for row in trained) / max(seconds, 1e-9),
        loss_first=trained[0]["loss_first"],
        loss_last=trained[-1]["loss_last"],
        dropped=dict(dropped.most_common()),
        unreadable={path: reason for row in trained for path, reason in row.get("unreadable", {}).items()},
        truncated=_truncated(trained),
        stopped_by=dict(Counter(row["stopped_by"] for row in trained if "stopped_by" in row)),
        skipped={"steps": skipped} if (skipped := sum(row.get("skipped_steps", 0) for row in trained)) else {},
    )
