"""The tables of a report for human readers, and their Markdown rendering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "–"
"""Placeholder for values that were not measured."""
INCOMPLETE = " (incomplete)"
"""Follows a rate if too many episodes have no result."""

MAX_FAILED_ROWS = 50
"""Failed episodes that the table names; report.json names all."""

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
    make = (_agents, _scores, _task_types, _comparisons, _failed, _phases, _work, _notes)
    return [table for table in (table_of(report) for table_of in make) if table.rows]


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
        (agent, environment, *_count_cells(figures), *(_with_interval(figures, metric) for metric in _TITLES))
        for agent, environment, figures in figures_by_agent(report)
    )
    note = "Means per completed episode, 95 % intervals in brackets. Errors are episodes without a result."
    return Table("Agents", ("agent", "environment", "episodes", "errors", *_TITLES.values()), rows, note)


def _scores(report: Mapping[str, Any]) -> Table:
    rows = tuple(
        (agent, environment, name, *_count_cells(figures), _number(score, ".3f"))
        for agent, environment, figures in figures_by_agent(report)
        for name, score in figures.get("scores", {}).items()
    )
    note = "Means per completed episode of the environment's further scores; one without a score counts as 0."
    return Table("Scores", ("agent", "environment", "score", "episodes", "errors", "mean"), rows, note)


def _task_types(report: Mapping[str, Any]) -> Table:
    rows = tuple(
        (agent, environment, name, *_count_cells(kind), _with_interval(kind, "success"), _with_interval(kind, "steps"))
        for agent, environment, figures in figures_by_agent(report)
        for name, kind in figures["task_types"].items()
    )
    return Table("Task types", ("agent", "environment", "task type", "episodes", "errors", "success", "steps"), rows)


def _comparisons(report: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            f"{row['a']} − {row['b']}",
            row["environment"],
            _TITLES[row["metric"]],
            _number(row["difference"], "+" + _FORMATS[row["metric"]]),
            _interval(row["ci95"], "+" + _FORMATS[row["metric"]]),
            f"{row['n_pairs']:,}",
            f"{row['n_dropped']:,}",
        )
        for row in report["comparisons"]
    )
    header = ("agents", "environment", "figure", "difference", "95 % interval", "tasks", "errors")
    note = "Differences are paired by task. Errors are episodes that some agent did not complete; all are left out."
    return Table("Comparisons", header, rows, note)


def _failed(report: Mapping[str, Any]) -> Table:
    shown = report["failed"][:MAX_FAILED_ROWS]
    rows = tuple(
        (
            row["step"],
            row["task"],
            f"{row['attempt']}",
            row["cause"],
            f"{row['type']}: {row['message']}",
            f"{row['attempts']}",
            "given up" if row["given_up"] else "tried again",
        )
        for row in shown
    )
    more = len(report["failed"]) - len(shown)
    note = "They have no result and are in no rate. The same command tries them again, except those that are given up."
    note += f" {more:,} more are in report.json." if more else ""
    header = ("step", "task", "attempt", "cause", "error", "attempts", "then")
    return Table("Episodes that failed", header, rows, note)


def _phases(report: Mapping[str, Any]) -> Table:
    rows = ((phase, _number(seconds, ",.1f")) for phase, seconds in report["wall_seconds"].items())
    return Table("Wall clock", ("phase", "seconds"), tuple(rows))


def _work(report: Mapping[str, Any]) -> Table:
    rollouts, learner = report["rollouts"], report["learner"]
    rows = (
        ("episodes collected", _number(rollouts["episodes"], ",d")),
        ("episodes per second", _number(rollouts["episodes_per_second"], ",.2f")),
        ("episodes that failed", _number(rollouts["errors"], ",d")),
        ("training steps", _number(learner["steps"], ",d")),
        ("training tokens per second", _number(learner["tokens_per_second"], ",.0f")),
        ("first loss", _number(learner["loss_first"], ".4f")),
        ("last loss", _number(learner["loss_last"], ".4f")),
        *((f"rounds ended by {limit}", f"{count:,}") for limit, count in learner.get("stopped_by", {}).items()),
        *(("skipped training steps", f"{count:,}") for count in learner.get("skipped", {}).values()),
        *((f"not trained on: {reason}", f"{count:,}") for reason, count in learner.get("dropped", {}).items()),
        *((f"not read: {path}", reason) for path, reason in learner.get("unreadable", {}).items()),
        *((f"truncated: {name.replace('_', ' ')}", f"{n:,}") for name, n in learner.get("truncated", {}).items()),
    )
    return Table("Rollouts and learner", ("figure", "value"), rows)


def _notes(report: Mapping[str, Any]) -> Table:
    rows = tuple((note["role"], note["note"]) for note in report.get("notes", ()))
    return Table("Engines", ("role", "note"), rows)


def figures_by_agent(report: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Agent, environment and figures of every group of episodes in a report."""
    return (
        (agent, environment, figures)
        for agent, environments in report["agents"].items()
        for environment, figures in environments.items()
    )


def _count_cells(figures: Mapping[str, Any]) -> tuple[str, str]:
    """Completed episodes, and the others by cause."""
    causes = ", ".join(f"{cause} {count:,}" for cause, count in figures["causes"].items())
    return f"{figures['n']:,}", f"{figures['errors']:,}" + (f" ({causes})" if causes else "")


def _with_interval(figures: Mapping[str, Any], metric: str) -> str:
    spec, interval = _FORMATS[metric], figures[f"{metric}_ci95"]
    mean = _number(figures[metric], spec)
    mean = mean if interval is None else f"{mean} {_interval(interval, spec)}"
    return mean if figures["complete"] or metric != "success" else mean + INCOMPLETE


def _number(value: float | None, spec: str) -> str:
    return ABSENT if value is None else format(value, spec)


def _interval(bounds: Sequence[float] | None, spec: str) -> str:
    return ABSENT if bounds is None else f"[{', '.join(_number(bound, spec) for bound in bounds)}]"
