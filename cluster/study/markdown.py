"""study.md: the results of a study beside the paper's figures, rendered from the contents of study.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.tables import ABSENT, Table, markdown_cell, table_markdown

StudyResults = Mapping[str, Any]
"""The contents of study.json."""

_METRICS = {
    "score": ("score", ".3f"),
    "steps": ("steps", ".1f"),
    "output_tokens": ("output tokens", ",.0f"),
    "prompt_tokens": ("prompt tokens", ",.0f"),
}
_TRAINING_METRICS = {"train_tokens": "training tokens", "optimizer_steps": "optimizer steps"}


def study_markdown(study: StudyResults) -> str:
    """Render the whole page: the verdict, then tables for each environment and variant, the sources and failures."""
    tables = [
        table
        for environment, variant in _environment_variants(study)
        for table in (_arms_table(study, environment, variant), _comparisons(study, environment, variant))
    ]
    tables += [_sources(study), _failures(study)]
    first, *steps = map(markdown_cell, verdict(study))
    paper, runs = study["paper"], study["runs"]
    seeds = f"{len(study['seeds'])} seed{'s' if len(study['seeds']) > 1 else ''}"
    parts = [
        f"# Study {markdown_cell(study['name'])}\n",
        f"**{first}**\n",
        "".join(f"- {step}\n" for step in steps),
        f"{study['description'].strip()}\n" if study["description"].strip() else "",
        f"Paper: {paper['title']}, arXiv {paper['arxiv']}. {runs['finished']} of {runs['planned']} runs are finished; "
        f"{seeds} requested.\n",
        *(table_markdown(table) for table in tables if table.rows),
        _provenance(study),
    ]
    return "\n".join(part for part in parts if part)


def verdict(study: StudyResults) -> list[str]:
    """State whether the study shows the paper's ordering: one sentence, then one for each step of the ordering."""
    order, steps = " < ".join(study["paper"]["order"]), study["order"]
    if not order:
        return ["The study does not define an ordering of arms to show."]
    if not steps:
        return [f"The paper's ordering ({order}, by success) is not shown: no arm is finished yet."]
    is_shown = all(step["verdict"] == "shown" for step in steps)
    return [
        f"The paper's ordering ({order}, by success) {'is shown' if is_shown else 'is not shown'} here.",
        *(f"{_environment_title(step['environment'], step['variant'])}: {step['sentence']}." for step in steps),
    ]


def _environment_variants(study: StudyResults) -> list[tuple[str, str]]:
    """All pairs (environment, variant) that have figures."""
    return [
        (environment, variant)
        for variant in study["asked"]
        for environment in sorted({name for arm in _arms_of(study, variant).values() for name in arm})
    ]


def _arms_of(study: StudyResults, variant: str) -> dict[str, Mapping[str, Any]]:
    """Figures by arm and environment; the mapping of an unfinished arm is empty."""
    return {arm: study["arms"].get(arm_label(arm, variant), {}) for arm in study["asked"][variant]}


def arm_label(arm: str, variant: str) -> str:
    """An arm's name in study.json: ``sad``, or ``sad@small`` in a study with variants."""
    return f"{arm}@{variant}" if variant else arm


def _environment_title(environment: str, variant: str) -> str:
    return f"{environment}, {variant}" if variant and variant != environment else environment


def _arms_table(study: StudyResults, environment: str, variant: str) -> Table:
    """Table of the arms in the study's order: our figures, then a column for each of the paper's settings."""
    settings = list(dict.fromkeys(figure["setting"] for figure in study["paper"]["figures"]))
    metrics = (title for title, _ in _METRICS.values())
    ours = ("seeds × tasks", "errors", "success", *metrics, "invalid actions", *_TRAINING_METRICS.values())
    rows = tuple(
        (
            arm,
            *_metric_cells(study, arm, environment, variant),
            *(_paper_cell(study, arm, setting) for setting in settings),
        )
        for arm in study["asked"][variant]
    )
    note = (
        "Our figures are means over seeds and tasks; success has its 95 % interval over both. Errors are episodes "
        "without a result; they are in no figure."
    ) + (" The paper's figures are as printed; numbers in brackets refer to the sources below." if settings else "")
    header = ("arm", *ours, *(f"paper: {setting}" for setting in settings))
    return Table(f"Arms: {_environment_title(environment, variant)}", header, rows, note)


def _metric_cells(study: StudyResults, arm: str, environment: str, variant: str) -> tuple[str, ...]:
    figures = _arms_of(study, variant)[arm].get(environment)
    if figures is None:
        return (ABSENT,) * (len(_METRICS) + len(_TRAINING_METRICS) + 4)
    trained = study["training"][arm_label(arm, variant)]
    return (
        f"{figures['seeds']} × {figures['n'] / figures['seeds']:g}",
        f"{figures['errors']:,}",
        _percent(figures["success"], figures["success_ci95"]),
        *(format(figures[name], spec) for name, (_, spec) in _METRICS.items()),
        f"{figures['invalid_action_rate']:.1%}",
        *(f"{trained[name]:,.0f}" if trained[name] else ABSENT for name in _TRAINING_METRICS),
    )


def _paper_cell(study: StudyResults, arm: str, setting: str) -> str:
    """The paper's figures for an arm in one setting."""
    numbers = {source: number for number, source in enumerate(_source_names(study), start=1)}
    cells = []
    for figure in study["paper"]["figures"]:
        if (figure["arm"], figure["setting"]) == (arm, setting):
            parts = [f"{figure['success_percent']:g} %"] if figure["success_percent"] is not None else []
            parts += [f"{figure['steps']:g} steps"] if figure["steps"] is not None else []
            parts += [f"{figure['tokens']:,.0f} tokens"] if figure["tokens"] is not None else []
            parts += [figure["note"]] if figure["note"] else []
            cells.append(f"{', '.join(parts)} [{numbers[figure['source']]}]")
    return "; ".join(cells) or ABSENT


def _source_names(study: StudyResults) -> list[str]:
    return list(dict.fromkeys(figure["source"] for figure in study["paper"]["figures"]))


def _sources(study: StudyResults) -> Table:
    rows = ((f"[{number}]", source) for number, source in enumerate(_source_names(study), start=1))
    return Table("Sources of the paper's figures", ("number", "source"), tuple(rows))


def _comparisons(study: StudyResults, environment: str, variant: str) -> Table:
    """Table of the study's comparisons: differences in success, steps and output tokens."""
    labels = {arm_label(arm, variant) for arm in study["asked"][variant]}
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in study["comparisons"]:
        if row["environment"] == environment and row["a"] in labels:
            rows.setdefault((row["a"], row["b"]), {})[row["metric"]] = row
    cells = tuple(
        (
            f"{a.partition('@')[0]} − {b.partition('@')[0]}",
            _difference(of["success"], 100, "+.1f"),
            _aim(of["success"]),
            _difference(of["steps"], 1, "+.1f"),
            _difference(of["output_tokens"], 1, "+,.0f"),
            f"{of['success']['n_pairs']:,}",
            f"{of['success']['n_dropped']:,}",
        )
        for (a, b), of in rows.items()
    )
    header = ("arms", "success, points", "target, points", "steps", "output tokens", "pairs", "errors")
    note = (
        "Differences are paired by seed and task, with 95 % intervals over both. Errors are episodes that some arm did "
        "not complete; all arms are compared without them."
    )
    return Table(f"Comparisons: {_environment_title(environment, variant)}", header, cells, note)


def _difference(row: Mapping[str, Any], scale: float, spec: str) -> str:
    text = format(scale * row["difference"], spec)
    return text if row["ci95"] is None else f"{text} {_interval(row['ci95'], scale, spec)}"


def _aim(row: Mapping[str, Any]) -> str:
    if "aim_points" not in row:
        return ABSENT
    return f"{row['aim_points']:+g}: {'reached' if row['aim_reached'] else 'not reached'}"


def _percent(share: float, ci95: Sequence[float] | None) -> str:
    text = f"{100 * share:.1f} %"
    return text if ci95 is None else f"{text} {_interval(ci95, 100, '.1f')}"


def _interval(bounds: Sequence[float], scale: float, spec: str) -> str:
    return f"[{', '.join(format(scale * bound, spec) for bound in bounds)}]"


def _failures(study: StudyResults) -> Table:
    rows = tuple((row["arm"], row["variant"] or ABSENT, str(row["seed"]), row["why"]) for row in study["failed"])
    return Table("Runs that failed", ("run", "variant", "seed", "why"), rows)


def _provenance(study: StudyResults) -> str:
    """The command, hardware, package versions, revisions and seeds behind the figures."""
    hardware = study["hardware"]
    machine = f"{hardware['cpu_cores']} × {hardware['cpu']}, {hardware['memory_gib']} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in study["versions"].items())
    return (
        f"## Made by\n\n`{study['command']}` on {'; '.join([machine, *hardware['gpus']])}; {versions}; "
        f"revision {', '.join(study['git_revisions'])}; seeds {', '.join(map(str, study['seeds']))}.\n"
    )
