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

from evaluation.evaluator import StepFigures

PLAIN_INTERVAL_S = 5.0
"""Seconds between two plain lines of one row."""
PLAIN_WIDTH = 120
"""Columns of the report's table where there is no terminal to fit into."""
TOKENS_DECIMALS_BELOW = 10.0


@dataclass
class Row:
    """One thing that makes progress: a step, or an engine that starts.

    Attributes:
        title: what it is, as shown.
        total: episodes in all, those of earlier starts included; 100 of a percentage; 0 if not known.
        done: how many of them are there.
        unit: ``episodes``, ``%``, or empty where nothing is counted.
        episodes: figures of its episodes, those of earlier starts included.
        facts: further figures by name, as shown (the learner's loss).
    """

    title: str
    total: int
    done: int = 0
    unit: str = "episodes"
    episodes: StepFigures | None = None
    facts: dict[str, str] = field(default_factory=dict)
    started_s: float = 0.0
    ended_s: float | None = None
    shown_s: float = 0.0

    def figures(self) -> str:
        """Rates and results in words."""
        parts = [f"{name} {value}" for name, value in self.facts.items()]
        found = self.episodes
        if found is None or found.success is None:
            return " · ".join(parts)
        parts.append(f"{found.episodes_per_second or 0.0:.1f} episodes/s")
        parts.append(f"{found.output_tokens_per_second or 0.0:,.0f} tokens/s")
        parts.append(f"success {found.success:.0%}")
        parts += [f"{found.errors} ended by an error"] if found.errors else []
        return " · ".join(parts)


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

    def begin(self, name: str, title: str, total: int, *, unit: str = "episodes") -> None:
        """Add a row."""
        self.rows[name] = Row(title, total, unit=unit, started_s=self.clock(), shown_s=self.clock())
        self._line(name, always=True)

    def episodes(self, name: str, figures: StepFigures) -> None:
        """Show the figures of a row of episodes."""
        row = self.rows[name]
        row.done, row.episodes = figures.n, figures
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
            grid.add_row(Text(row.title, style="bold"), bar, count(row), Text(row.figures()))
        return Group(grid)

    def _line(self, name: str, *, always: bool = False) -> None:
        """Off a terminal: one plain line, not more often than every few seconds."""
        row, now_s = self.rows[name], self.clock()
        if self.console.is_terminal or not (always or now_s - row.shown_s >= PLAIN_INTERVAL_S):
            return
        row.shown_s = now_s
        parts = [count(row), row.figures()]
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
