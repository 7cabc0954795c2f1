"""The report as one HTML page: no scripts, nothing loaded from elsewhere, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from evaluation.tables import Table, report_tables, report_title

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b7dd8; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } p { opacity: .75; margin: .25rem 0 .5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.bars td { border: 0; padding: .15rem .7rem; text-align: left; }
.track { position: relative; width: 22rem; height: 1rem; background: var(--line); }
.track i { position: absolute; inset: 0 auto 0 0; background: var(--bar); }
.track b { position: absolute; top: 45%; height: 10%; background: currentColor; }
"""


def render_html(report: Mapping[str, Any]) -> str:
    """A page that stands by itself: success bars first, then the tables of the report."""
    title = escape(report_title(report))
    body = _bars(report) + "".join(_table(table) for table in report_tables(report))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )


def _bars(report: Mapping[str, Any]) -> str:
    """One bar an agent and environment: its length is the success rate, the thin line the 95 % interval."""
    rows = "".join(
        f"<tr><td>{escape(agent)}</td><td>{escape(environment)}</td><td>{_bar(figures)}</td>"
        f"<td>{figures['success']:.1%} of {figures['n']:,}</td></tr>\n"
        for agent, environments in report["agents"].items()
        for environment, figures in environments.items()
    )
    if not rows:
        return "<p>No episodes have been evaluated.</p>\n"
    return f'<h2>Success</h2>\n<p>The thin line is the 95 % interval.</p>\n<table class="bars">\n{rows}</table>\n'


def _bar(figures: Mapping[str, Any]) -> str:
    low, high = figures["success_ci95"]
    whisker = f'<b style="left:{low:.2%};width:{high - low:.2%}"></b>'
    return f'<div class="track"><i style="width:{figures["success"]:.2%}"></i>{whisker}</div>'


def _table(table: Table) -> str:
    note = f"<p>{escape(table.note)}</p>\n" if table.note else ""
    head = _row("th", table.header)
    body = "".join(_row("td", row) for row in table.rows)
    return (
        f'<h2>{escape(table.title)}</h2>\n{note}<div class="wide"><table>\n<thead>{head}</thead>\n'
        f"<tbody>{body}</tbody>\n</table></div>\n"
    )


def _row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"
