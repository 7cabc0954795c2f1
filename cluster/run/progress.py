"""Progress display of a run: live progress bars on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from evaluation.evaluator import StepFigures
from evaluation.tables import ABSENT, INCOMPLETE

PLAIN_INTERVAL_S = 5.0
"""Minimum seconds between two plain lines of one row."""
REFRESH_PER_SECOND = 4
PLAIN_WIDTH = 120
"""Width of tables in columns if the output is not a terminal."""
TOKENS_DECIMALS_BELOW = 10.0


@dataclass
class Row:
    """Progress of one step, or of an engine that starts.

    Attributes:
        title: text at the start of the row.
        total: number of episodes, including those of earlier starts; 100 for a percentage; 0 if not known.
        done: finished part of ``total``.
        unit: ``episodes``, ``%``, or empty if nothing is counted.
        episodes: figures of the episodes, including those of earlier starts.
        facts: further figures by name, already formatted (for example the learner's loss).
    """

    title: str
    total: int
    done: int = 0
    unit: str = "episodes"
    episodes: StepFigures | None = None
    facts: dict[str, str] = field(default_factory=dict)
    started_s: float = 0.0
    ended_s: float | None = None
    printed_s: float = 0.0
    updated_s: float = 0.0

    def figures(self) -> str:
        """Rates and results as text."""
        parts = [f"{name} {value}" for name, value in self.facts.items()]
        found = self.episodes
        if found is not None and found.success is not None:
            parts.append(f"{found.episodes_per_second or 0.0:.1f} episodes/s")
            parts.append(f"{found.output_tokens_per_second or 0.0:,.0f} tokens/s")
            parts.append(f"success {found.success:.0%}")
        if found is not None and found.errors:
            parts.append(f"errors {found.errors:,} ({found.failures})")
        return " · ".join(parts)


class Screen:
    """Collects and displays progress. Call its methods from one thread; rich redraws a terminal from its own thread."""

    def __init__(self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = Console(file=file or sys.stdout, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH
        self.clock = clock
        self.rows: dict[str, Row] = {}
        self.live: Live | None = None

    @contextmanager
    def display(self) -> Iterator[Screen]:
        """Display progress until the block ends."""
        if not self.console.is_terminal:
            yield self
            return
        with Live(
            get_renderable=self.render, console=self.console, refresh_per_second=REFRESH_PER_SECOND, transient=False
        ) as live:
            self.live = live
            try:
                yield self
            finally:
                self.live = None

    def begin(self, name: str, title: str, total: int, *, unit: str = "episodes") -> None:
        """Add a row."""
        self.rows[name] = Row(title, total, unit=unit, started_s=self.clock(), printed_s=self.clock())
        self._line(name, always=True)

    def is_due(self, name: str) -> bool:
        """Whether new figures of a row would be seen."""
        return self.clock() - self.rows[name].updated_s >= 1.0 / REFRESH_PER_SECOND

    def episodes(self, name: str, figures: StepFigures) -> None:
        """Update the figures of a row that counts episodes."""
        row = self.rows[name]
        row.updated_s = self.clock()
        row.done, row.episodes = figures.n, figures
        self._line(name)

    def progress(self, name: str, done: int, facts: Mapping[str, Any]) -> None:
        """Update a row that does not count episodes, with further figures in ``facts``."""
        row = self.rows[name]
        row.done = done
        row.facts = {key: format_value(value) for key, value in facts.items()}
        self._line(name)

    def end(self, name: str) -> None:
        """Mark a row as finished."""
        row = self.rows[name]
        row.ended_s = self.clock()
        if row.unit != "episodes":  # of episodes, some may have failed
            row.done = row.total
        self._line(name, always=True)

    def note(self, text: str) -> None:
        """Print one line above the progress rows."""
        self.console.print(Text(text))

    def report(self, report: Mapping[str, Any]) -> None:
        """Print a run's report as a table."""
        titles = ("agent", "environment", "episodes", "errors", "success", "95 %", "steps", "tokens")
        table = Table(*(Column(title, no_wrap=True) for title in titles), box=SIMPLE)
        for agent, environments in report["agents"].items():
            for environment, figures in environments.items():
                counts = f"{figures['n']:,}", f"{figures['errors']:,}"
                table.add_row(agent, environment, *counts, *_metric_cells(figures))
        if table.row_count:
            self.console.print(table)

    def render(self) -> RenderableType:
        """Render all rows as a grid of title, bar, count and figures."""
        grid = Table.grid(padding=(0, 1))
        for row in self.rows.values():
            bar = ProgressBar(
                total=row.total or None, completed=row.done, width=24, pulse=not row.total and not row.ended_s
            )
            grid.add_row(Text(row.title, style="bold"), bar, row_progress(row), Text(row.figures()))
        return Group(grid)

    def _line(self, name: str, *, always: bool = False) -> None:
        """Print a row as a plain line if the output is not a terminal, at most every few seconds unless ``always``."""
        row, now_s = self.rows[name], self.clock()
        if self.console.is_terminal or not (always or now_s - row.printed_s >= PLAIN_INTERVAL_S):
            return
        row.printed_s = now_s
        parts = [row_progress(row), row.figures()]
        parts += [f"{row.ended_s - row.started_s:.1f} s" if row.ended_s is not None else ""]
        figures = " · ".join(part for part in parts if part)
        self.console.print(Text(f"{row.title}: {figures}" if figures else row.title))


def _metric_cells(figures: Mapping[str, Any]) -> tuple[str, ...]:
    """Success with its interval, steps and tokens of a row of the report."""
    if not figures["n"]:
        return (ABSENT,) * 4
    low, high = figures["success_ci95"]
    success = f"{figures['success']:.1%}{'' if figures['complete'] else INCOMPLETE}"
    return success, f"{low:.0%} – {high:.0%}", f"{figures['steps']:.1f}", f"{figures['output_tokens']:,.0f}"


def row_progress(row: Row) -> str:
    """Progress of a row as text: ``12 of 100 episodes``."""
    if row.unit == "%":
        return f"{row.done} %"
    return f"{row.done:,} of {row.total:,} {row.unit}" if row.unit else ""


def format_value(value: Any) -> str:
    """Format a figure: four decimals for small floats, thousands separators for the rest."""
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < TOKENS_DECIMALS_BELOW else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
