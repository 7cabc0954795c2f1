"""What a user sees of a run: live progress bars on a terminal, a plain line every few seconds elsewhere."""

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

from rollout.trajectory import Trajectory

PLAIN_INTERVAL_S = 5.0
"""Seconds between two plain lines of one row."""
PLAIN_WIDTH = 120
"""Columns of the report's table where there is no terminal to fit into."""
TOKENS_DECIMALS_BELOW = 10.0


@dataclass
class Row:
    """One thing that makes progress: a role that plays, or the learner.

    Attributes:
        title: what it is, as shown.
        total: episodes in all, those of earlier starts included; 100 of a percentage; 0 if not known.
        done: how many of them are there.
    """

    title: str
    total: int
    done: int = 0
    resumed: int = 0
    """Of ``done``, how many an earlier start of the same run had made."""
    unit: str = "episodes"
    """``episodes``, ``%``, or empty where there is nothing to count."""
    successes: int = 0
    errors: int = 0
    output_tokens: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    """Further figures by name, as shown (the learner's loss)."""
    started_s: float = 0.0
    """Of a row of episodes: when the first one that ended had begun."""
    ended_s: float | None = None
    shown_s: float = 0.0

    def figures(self, now_s: float) -> str:
        """Rates and results in words."""
        seconds = max((self.ended_s or now_s) - self.started_s, 1e-9)
        fresh = self.done - self.resumed
        parts = []
        if self.unit == "episodes" and fresh:
            parts += [
                f"{fresh / seconds:.1f} episodes/s",
                f"{self.output_tokens / seconds:,.0f} tokens/s",
                f"success {self.successes / fresh:.0%}",
            ]
        if self.errors:
            parts.append(f"{self.errors} ended by an error")
        return " · ".join([*parts, *(f"{name} {value}" for name, value in self.facts.items())])


class Screen:
    """Collects progress and shows it. Methods are called from one thread; a terminal is redrawn by rich's own."""

    def __init__(self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = Console(file=file or sys.stdout, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH
        self.clock = clock
        self.rows: dict[str, Row] = {}
        self.live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[Screen]:
        """Show progress until the block ends."""
        if not self.console.is_terminal:
            yield self
            return
        with Live(get_renderable=self.render, console=self.console, refresh_per_second=4, transient=False) as live:
            self.live = live
            try:
                yield self
            finally:
                self.live = None

    def begin(self, name: str, title: str, total: int, *, resumed: int = 0, unit: str = "episodes") -> None:
        """A new row. ``resumed`` says how much of it an earlier start had done."""
        self.rows[name] = Row(title, total, resumed, resumed, unit, started_s=self.clock(), shown_s=self.clock())
        self._line(name, always=True)

    def episode(self, name: str, summary: Trajectory) -> None:
        """One more episode of a row."""
        row = self.rows[name]
        if row.done == row.resumed:  # what waits behind other work of its pool does not lose speed by waiting
            row.started_s = max(row.started_s, self.clock() - summary.times.total_s)
        row.done += 1
        row.successes += summary.outcome.success
        row.errors += summary.outcome.failure is not None
        row.output_tokens += summary.counts.output_tokens
        self._line(name)

    def progress(self, name: str, done: int, facts: Mapping[str, Any]) -> None:
        """Progress of a row that is not made of episodes; ``facts`` are shown as given."""
        row = self.rows[name]
        row.done = done
        row.facts = {key: format_value(value) for key, value in facts.items()}
        self._line(name)

    def end(self, name: str) -> None:
        """A row is finished and stays as it is."""
        row = self.rows[name]
        row.ended_s = self.clock()
        row.done = row.total
        self._line(name, always=True)

    def note(self, text: str) -> None:
        """One line that stays."""
        self.console.print(Text(text))

    def report(self, report: Mapping[str, Any]) -> None:
        """A run's report as a small table."""
        titles = ("agent", "environment", "episodes", "success", "95 %", "steps", "tokens")
        table = Table(*(Column(title, no_wrap=True) for title in titles), box=SIMPLE)
        for agent, environments in report["agents"].items():
            for environment, figures in environments.items():
                low, high = figures["success_ci95"]
                cells = (f"{figures['success']:.1%}", f"{low:.0%} – {high:.0%}", f"{figures['steps']:.1f}")
                table.add_row(agent, environment, f"{figures['n']:,}", *cells, f"{figures['output_tokens']:,.0f}")
        if table.row_count:
            self.console.print(table)

    def render(self) -> RenderableType:
        """All rows as a grid of title, bar, count and figures."""
        grid = Table.grid(padding=(0, 1))
        for row in self.rows.values():
            bar = ProgressBar(
                total=row.total or None, completed=row.done, width=24, pulse=not row.total and not row.ended_s
            )
            grid.add_row(Text(row.title, style="bold"), bar, count(row), Text(row.figures(self.clock())))
        return Group(grid)

    def _line(self, name: str, *, always: bool = False) -> None:
        """Off a terminal: one plain line, not more often than every few seconds."""
        row, now_s = self.rows[name], self.clock()
        if self.console.is_terminal or not (always or now_s - row.shown_s >= PLAIN_INTERVAL_S):
            return
        row.shown_s = now_s
        parts = [count(row), row.figures(now_s)]
        parts += [f"{row.ended_s - row.started_s:.1f} s" if row.ended_s is not None else ""]
        figures = " · ".join(part for part in parts if part)
        self.console.print(Text(f"{row.title}: {figures}" if figures else row.title))


def count(row: Row) -> str:
    """How far a row is: ``12 of 100 episodes``."""
    if row.unit == "%":
        return f"{row.done} %"
    return f"{row.done:,} of {row.total:,} {row.unit}" if row.unit else ""


def format_value(value: Any) -> str:
    """A figure with the digits that mean something."""
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < TOKENS_DECIMALS_BELOW else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
