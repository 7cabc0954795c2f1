"""Prints a dry run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cluster.dry_run.dry_run import DryRun
from cluster.dry_run.findings import Finding, MemoryUse
from cluster.dry_run.tasks import DataSource
from cluster.runtime.resources import GIB, describe, quantities


def print_dry_run(plan: DryRun, console: Console) -> None:
    """Print data, steps, workers, memory and findings, and last whether the recipe can run."""
    console.print(Text(f"{plan.recipe.name}: a dry run, nothing is started or downloaded", style="bold"))
    console.print(
        Text(f"Memory is estimated, for GPUs of {plan.gpu_gib:g} GiB (--gpu-memory-gib); tokens are upper bounds.")
    )
    for title, table in (
        ("Data", _data(plan)),
        ("Steps", _steps(plan)),
        ("Workers", _workers(plan)),
        ("Memory of each device, GiB", _memory(plan.memory)),
    ):
        if table.row_count:
            console.print(Text(f"\n{title}", style="bold"))
            console.print(table)
    for use in plan.memory:
        console.print(Text(f"{use.name}: {use.note}"))
    for missing in dict.fromkeys(entry.missing for entry in plan.data if entry.missing):
        console.print(Text("\nmissing: ", style="bold") + Text(missing))
    print_findings(plan.findings, console)
    console.print(Text(f"\n{verdict(plan)}", style="bold"))


def verdict(plan: DryRun) -> str:
    """The last line: whether the recipe can run, and on how many GPUs."""
    fatal = sum(finding.fatal for finding in plan.findings)
    if fatal:
        return f"This recipe would not run: {fatal} {'problem' if fatal == 1 else 'problems'} to fix, see above."
    missing = sum(entry.found is None for entry in plan.data)
    most = max((group.gpus for group in plan.groups), default=0.0)
    gpus = f"{most:g} {'GPU' if most == 1 else 'GPUs'} at the same time" if most else "no GPU"
    later = ", once its data is available" if missing else ""
    if not plan.all_estimated:
        return f"No problem was found, on {gpus}{later}; not all memory could be estimated."
    return f"This recipe fits, on {gpus}{later}."


def _table(*columns: str | Column) -> Table:
    return Table(*columns, box=SIMPLE, pad_edge=False)


def _data(plan: DryRun) -> Table:
    table = _table("for", "source", Column("tasks", justify="right"), "")
    for entry in plan.data:
        table.add_row(entry.section, entry.source, f"{entry.wanted:,}" if entry.wanted else "", _availability(entry))
    return table


def _availability(entry: DataSource) -> str:
    if entry.found is None:
        return "missing"
    return "found" if entry.found >= entry.wanted else f"{entry.found:,} found"


def _steps(plan: DryRun) -> Table:
    table = _table(
        Column("", justify="right"),
        Column("step", no_wrap=True),
        Column("episodes ≤", justify="right"),
        Column("tokens ≤", justify="right"),
        "",
    )
    for number, row in enumerate(plan.rows, start=1):
        episodes = f"{row.episodes:,}" if row.episodes else ""
        tokens = _format_count(row.tokens) if row.tokens else ""
        table.add_row(str(number), row.title, episodes, tokens, row.note)
    return table


def _workers(plan: DryRun) -> Table:
    table = _table(
        Column("step", no_wrap=True),
        "worker",
        Column("workers", justify="right"),
        "each",
        Column("GPUs", justify="right"),
    )
    for group in plan.groups:
        for number, request in enumerate(group.requests):
            each = describe(quantities(request.resources))
            gpus = f"{request.workers * request.resources.gpus:g}"
            table.add_row("" if number else group.title, request.section, str(request.workers), each, gpus)
        if len(group.requests) > 1:
            table.add_row("", "total", "", "", f"{group.gpus:g}")
    return table


def _memory(uses: Sequence[MemoryUse]) -> Table:
    table = _table(
        "worker", "model", Column("parameters", justify="right"), "", Column("total", justify="right"),
        Column("of", justify="right"), "",
    )  # fmt: skip
    for use in uses:
        parts = ", ".join(f"{name} {_gib(size)}" for name, size in use.parts)
        available = "" if use.available is None else f"{_gib(use.available)}"
        where = use.device if use.fits else Text("too much", style="bold red")
        table.add_row(use.name, use.shape.name, f"{use.shape.parameters:,}", parts, _gib(use.total), available, where)
    return table


def _format_count(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,}"


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f}" if size >= 0.05 * GIB else f"{size / GIB:,.3f}"


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print notes and problems, problems last."""
    for finding in sorted(findings, key=lambda finding: finding.fatal):
        console.print(_finding(finding))


def _finding(finding: Finding) -> Text:
    head = Text("\nproblem: ", style="bold red") if finding.fatal else Text("\nnote: ", style="bold")
    return head + Text(finding.sentence)
