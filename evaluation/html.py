"""The report as one self-contained HTML page without scripts. All text is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from evaluation.tables import figures_by_agent, report_tables, report_title

_TEMPLATES = Environment(
    loader=PackageLoader("evaluation"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
"""Templates of this package, in its folder ``templates``."""


def render_html(report: Mapping[str, Any]) -> str:
    """Render a self-contained page: success bars first, then the tables of the report."""
    template = _TEMPLATES.get_template("report.html.jinja")
    return template.render(
        title=report_title(report), agents=list(figures_by_agent(report)), tables=report_tables(report)
    )
