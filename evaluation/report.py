"""The report of a run: ``report.json`` (schema 1, a stable contract), and its Markdown and HTML renderings."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from evaluation.html import render_html
from evaluation.metrics import METRICS, Summary, paired_differences, summarize
from evaluation.records import (
    EpisodeRecord,
    by_environment,
    by_task_type,
    completed_by_all,
    episode_record,
    failed_keys,
)
from evaluation.tables import render_markdown
from rollout.storage.atomic import atomic_write_text
from rollout.trajectory import Trajectory, is_owed

REPORT_SCHEMA = 1

Report = dict[str, Any]
"""A dict of JSON types with the keys that `build_report` documents."""


@dataclass(frozen=True, slots=True)
class RolloutFigures:
    """Totals of the collected episodes; ``errors`` counts those that were not completed.

    ``seconds`` is the wall-clock time of collection.
    """

    episodes: int = 0
    seconds: float = 0.0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class LearnerFigures:
    """Totals of training over all rounds; None where nothing was measured.

    Attributes:
        dropped: number of episodes that were read and not trained on, by reason.
        unreadable: reason for each shard that was skipped, by path.
        truncated: ``episodes`` that were too long, their removed ``tokens``, and ``trained_tokens`` among these that
            would have been trained; an episode counts in each round that trains on it.

        stopped_by: number of rounds that each limit of the budget ended: ``epochs``, ``tokens`` or ``seconds``.
        skipped: ``steps`` without an update because their loss or gradients were not finite.

    The report has the last five only where there is something to report.
    """

    steps: int = 0
    tokens_per_second: float | None = None
    loss_first: float | None = None
    loss_last: float | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    truncated: Mapping[str, int] = field(default_factory=dict)
    stopped_by: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


def rollout_figures(trajectories: Iterable[Trajectory], seconds: float) -> RolloutFigures:
    """Count the episodes that were completed and those that were not."""
    errors = [is_owed(trajectory) for trajectory in trajectories]
    return RolloutFigures(len(errors) - sum(errors), seconds, sum(errors))


def build_report(
    agents: Mapping[str, Iterable[Trajectory]],
    *,
    rollouts: RolloutFigures | None = None,
    learner: LearnerFigures | None = None,
    wall_seconds: Mapping[str, float] | None = None,
    comparisons: Sequence[tuple[str, str]] | None = None,
    failed: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[Mapping[str, str]] = (),
    run: str = "",
) -> Report:
    """Build the report of a run.

    Args:
        agents: episodes by agent (``teacher``, ``student_before``, ``student``, baselines); summaries are sufficient.
            Those that were not completed (`rollout.trajectory.is_owed`) are counted as errors and are in no rate. All
            agents are compared without them.
        rollouts: totals of the collected episodes.
        learner: totals of training.
        wall_seconds: wall-clock seconds by phase.
        comparisons: pairs ``(a, b)`` of agents, reported as a minus b. By default, each agent is compared with every
            agent before it.
        failed: all episodes of the run that were not completed, as dicts with the keys ``step``, ``task``, ``attempt``,
            ``cause``, ``type``, ``message``, ``attempts`` and ``given_up``.
        notes: what engines reported when they started, as dicts with the keys ``role`` and ``note``.
        run: name of the run.

    Returns:
        ``schema``, ``run``, ``agents``, ``comparisons``, ``failed``, ``rollouts``, ``learner``, ``wall_seconds``, and
        ``notes`` if there are any. An agent without episodes has no environments; a pair without a common task has no
        comparison.
    """
    records = {agent: [episode_record(episode) for episode in episodes] for agent, episodes in agents.items()}
    pairs = [(b, a) for a, b in combinations(records, 2)] if comparisons is None else comparisons
    paired = dict(zip(records, completed_by_all(records.values()), strict=True))
    dropped = Counter(environment for environment, *_ in failed_keys(records.values()))
    return {
        "schema": REPORT_SCHEMA,
        "run": run,
        "agents": {agent: _agent_figures(episodes) for agent, episodes in records.items()},
        "comparisons": [
            {**row, "n_dropped": dropped[row["environment"]]} for a, b in pairs for row in _compare(a, b, paired)
        ],
        "failed": list(failed),
        "rollouts": _rollout_figures(rollouts or RolloutFigures()),
        "learner": {name: value for name, value in asdict(learner or LearnerFigures()).items() if value != {}},
        "wall_seconds": dict(wall_seconds or {}),
        **({"notes": [dict(note) for note in notes]} if notes else {}),
    }


def write_report(run_dir: str | Path, report: Report) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html`` into a run's folder, each file atomically.

    Numbers that are not finite (a diverged loss) are written as null.
    """
    folder = Path(run_dir)
    finite = _finite(report)
    atomic_write_text(folder / "report.json", json.dumps(finite, indent=2, sort_keys=True, allow_nan=False) + "\n")
    atomic_write_text(folder / "report.md", render_markdown(finite))
    atomic_write_text(folder / "report.html", render_html(finite))


def _rollout_figures(rollouts: RolloutFigures) -> dict[str, Any]:
    per_second = rollouts.episodes / rollouts.seconds if rollouts.seconds > 0 else None
    return {"episodes": rollouts.episodes, "episodes_per_second": per_second, "errors": rollouts.errors}


def _agent_figures(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Return the figures of one agent by environment."""
    return {environment: _environment_figures(group) for environment, group in by_environment(records).items()}


def _environment_figures(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    return {
        **_figures(summarize(records)),
        "splits": sorted({record.split for record in records}),
        "task_types": {name: _figures(summarize(group)) for name, group in by_task_type(records).items()},
    }


def _figures(summary: Summary) -> dict[str, Any]:
    means = {metric: summary.means.get(metric) for metric in METRICS}
    intervals = {f"{metric}_ci95": _pair(summary.intervals.get(metric)) for metric in METRICS}
    scores = {"scores": dict(summary.scores)} if summary.scores else {}
    failures = summary.failures
    errors = {"errors": failures.total, "causes": dict(failures.causes), "message": failures.message}
    return {"n": summary.n, **errors, "complete": summary.is_complete, **means, **intervals, **scores}


def _compare(a: str, b: str, records: Mapping[str, Sequence[EpisodeRecord]]) -> list[dict[str, Any]]:
    """Return the rows of ``a`` minus ``b`` for every environment that both agents have episodes of."""
    of_a, of_b = (by_environment(records.get(agent, ())) for agent in (a, b))
    rows = [
        {"a": a, "b": b, "environment": environment, **asdict(difference)}
        for environment in of_a.keys() & of_b.keys()
        for difference in paired_differences(of_a[environment], of_b[environment])
    ]
    for row in rows:
        row["ci95"] = _pair(row["ci95"])
    return sorted(rows, key=lambda row: (row["environment"], METRICS.index(row["metric"])))


def _pair(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
