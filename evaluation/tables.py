"""The tables of a report for human readers, and their Markdown rendering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "–"
"""Placeholder for values that were not measured."""

_COLUMNS = (
    ("success", "success", ".3f"),
    ("score", "score", ".3f"),
    ("steps", "steps", ".1f"),
    ("prompt_tokens", "prompt tokens", ",.0f"),
    ("output_tokens", "output tokens", ",.1f"),
    ("reason_tokens", "reasoning tokens", ",.1f"),
    ("invalid_action_rate", "invalid actions", ".3f"),
    ("seconds", "seconds", ".2f"),
)
_FORMATS = {metric: spec for metric, _, spec in _COLUMNS}
_TITLES = {metric: title for metric, title, _ in _COLUMNS}


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of text cells; ``note`` explains how to read it. The first column holds names."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def report_tables(report: Mapping[str, Any]) -> list[Table]:
    """Return the non-empty tables of a report, most important first."""
    tables = [_agents(report), _scores(report), _task_types(report), _comparisons(report)]
    tables += [_phases(report), _work(report)]
    return [table for table in tables if table.rows]


def report_title(report: Mapping[str, Any]) -> str:
    """Return ``Report of RUN``, or ``Report`` for a run without a name."""
    return f"Report of {report['run']}" if report.get("run") else "Report"


def render_markdown(report: Mapping[str, Any]) -> str:
    """Render the report as Markdown tables."""
    tables = (table_markdown(table) for table in report_tables(report))
    return "\n".join([f"# {markdown_cell(report_title(report))}\n", *tables])


def table_markdown(table: Table) -> str:
    """Render one table with its title as Markdown."""
    lines = [table.header, ("---", *("---:" for _ in table.header[1:])), *table.rows]
    body = "\n".join("| " + " | ".join(markdown_cell(cell) for cell in line) + " |" for line in lines)
    return f"## {table.title}\n\n{table.note + chr(10) * 2 if table.note else ''}{body}\n"


def markdown_cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table: one line, without column separators or HTML tags."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _agents(report: Mapping[str, Any]) -> Table:
    rows = tuple(
        (agent, environment, f"{figures['n']:,}", *_figure_cells(figures))
        for agent, environment, figures in figures_by_agent(report)
    )
    note = "Means per episode, 95 % intervals in brackets."
    return Table("Agents", ("agent", "environment", "episodes", *_TITLES.values()), rows, note)


def _scores(report: Mapping[str, Any]) -> Table:
    rows = tuple(
        (agent, environment, name, _number(score, ".3f"))
        for agent, environment, figures in figures_by_agent(report)
        for name, score in figures.get("scores", {}).items()
    )
    note = "Means per episode of the environment's further scores; an episode without a score counts as 0."
    return Table("Scores", ("agent", "environment", "score", "mean"), rows, note)


def _task_types(report: Mapping[str, Any]) -> Table:
    rows = tuple(
        (agent, environment, name, f"{kind['n']:,}", _with_interval(kind, "success"), _with_interval(kind, "steps"))
        for agent, environment, figures in figures_by_agent(report)
        for name, kind in figures["task_types"].items()
    )
    return Table("Task types", ("agent", "environment", "task type", "episodes", "success", "steps"), rows)


def _comparisons(report: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            f"{row['a']} − {row['b']}",
            row["environment"],
            _TITLES[row["metric"]],
            _number(row["difference"], "+" + _FORMATS[row["metric"]]),
            _interval(row["ci95"], "+" + _FORMATS[row["metric"]]),
            f"{row['n_pairs']:,}",
        )
        for row in report["comparisons"]
    )
    header = ("agents", "environment", "figure", "difference", "95 % interval", "tasks")
    return Table("Comparisons", header, rows, "Differences are paired by task.")


def _phases(report: Mapping[str, Any]) -> Table:
    rows = tuple((phase, _number(seconds, ",.1f")) for phase, seconds in report["wall_seconds"].items())
    return Table("Wall clock", ("phase", "seconds"), rows)


def _work(report: Mapping[str, Any]) -> Table:
    rollouts, learner = report["rollouts"], report["learner"]
    rows = (
        ("episodes collected", _number(rollouts["episodes"], ",d")),
        ("episodes per second", _number(rollouts["episodes_per_second"], ",.2f")),
        ("episodes ended by an error", _number(rollouts["errors"], ",d")),
        ("training steps", _number(learner["steps"], ",d")),
        ("training tokens per second", _number(learner["tokens_per_second"], ",.0f")),
        ("first loss", _number(learner["loss_first"], ".4f")),
        ("last loss", _number(learner["loss_last"], ".4f")),
        *((f"not trained on: {reason}", f"{count:,}") for reason, count in learner.get("dropped", {}).items()),
        *((f"not read: {path}", reason) for path, reason in learner.get("unreadable", {}).items()),
    )
    return Table("Rollouts and learner", ("figure", "value"), rows)


def figures_by_agent(report: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Agent, environment and figures of every group of episodes in a report."""
    for agent, environments in report["agents"].items():
        for environment, figures in environments.items():
            yield agent, environment, figures


def _figure_cells(figures: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_with_interval(figures, metric) for metric in _TITLES)


def _with_interval(figures: Mapping[str, Any], metric: str) -> str:
    spec, interval = _FORMATS[metric], figures[f"{metric}_ci95"]
    mean = _number(figures[metric], spec)
    return mean if interval is None else f"{mean} {_interval(interval, spec)}"


def _number(value: float | None, spec: str) -> str:
    return ABSENT if value is None else format(value, spec)


def _interval(bounds: Sequence[float] | None, spec: str) -> str:
    return ABSENT if bounds is None else f"[{', '.join(_number(bound, spec) for bound in bounds)}]"
