"""study.md: what a study shows, our figures beside the paper's. Made from what study.json holds and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.tables import ABSENT, Table, markdown_cell, table_markdown

Found = Mapping[str, Any]
"""The contents of study.json."""

_OURS = {
    "score": ("score", ".3f"),
    "steps": ("steps", ".1f"),
    "output_tokens": ("output tokens", ",.0f"),
    "prompt_tokens": ("prompt tokens", ",.0f"),
}
_TRAINED = {"train_tokens": "training tokens", "optimizer_steps": "optimizer steps"}


def study_markdown(found: Found) -> str:
    """The whole page: the verdict first, then a table for each variant and environment, comparisons, failures."""
    tables = [table for place in _places(found) for table in (_arms_table(found, *place), _comparisons(found, *place))]
    tables += [_sources(found), _failures(found)]
    first, *steps = [markdown_cell(line) for line in verdict(found)]
    paper, runs = found["paper"], found["runs"]
    seeds = f"{len(found['seeds'])} seed{'s' if len(found['seeds']) > 1 else ''}"
    parts = [
        f"# Study {markdown_cell(found['name'])}\n",
        f"**{first}**\n",
        "".join(f"- {step}\n" for step in steps),
        f"{found['description'].strip()}\n" if found["description"].strip() else "",
        f"Paper: {paper['title']}, arXiv {paper['arxiv']}. {runs['finished']} of {runs['planned']} runs are finished; "
        f"{seeds} asked for.\n",
        *(table_markdown(table) for table in tables if table.rows),
        _made_by(found),
    ]
    return "\n".join(part for part in parts if part)


def verdict(found: Found) -> list[str]:
    """What the study says of the paper's ordering: one sentence, then one for each step of it."""
    order, steps = " < ".join(found["paper"]["order"]), found["order"]
    if not order:
        return ["The study holds no ordering of the paper's to be shown."]
    if not steps:
        return [f"The paper's ordering ({order}, by success) is not shown: no arm is finished yet."]
    is_shown = all(step["verdict"] == "shown" for step in steps)
    first = f"The paper's ordering ({order}, by success) {'is shown' if is_shown else 'is not shown'} here."
    return [first, *(f"{_place_title(step['environment'], step['variant'])}: {step['sentence']}." for step in steps)]


def _places(found: Found) -> list[tuple[str, str]]:
    """(environment, variant) of which there are figures."""
    return [
        (environment, variant)
        for variant in found["asked"]
        for environment in sorted({name for arm in _arms_of(found, variant).values() for name in arm})
    ]


def _arms_of(found: Found, variant: str) -> dict[str, Mapping[str, Any]]:
    """By arm: figures by environment; an arm without any has none."""
    at = f"@{variant}" if variant else ""
    return {arm: found["arms"].get(f"{arm}{at}", {}) for arm in found["asked"][variant]}


def _place_title(environment: str, variant: str) -> str:
    return f"{environment}, {variant}" if variant and variant != environment else environment


def _arms_table(found: Found, environment: str, variant: str) -> Table:
    """Arms in the study's order: our figures, then a column for each setting of the paper's."""
    settings = list(dict.fromkeys(figure["setting"] for figure in found["paper"]["figures"]))
    ours = ("seeds × tasks", "success", *(title for title, _ in _OURS.values()), "invalid actions", *_TRAINED.values())
    rows = tuple(
        (
            arm,
            *_our_cells(found, arm, environment, variant),
            *(_paper_cell(found, arm, setting) for setting in settings),
        )
        for arm in found["asked"][variant]
    )
    note = "Ours: means over seeds and tasks, success with its 95 % interval over both." + (
        " The paper's: as it prints them; numbers in brackets name the source below." if settings else ""
    )
    header = ("arm", *ours, *(f"paper: {setting}" for setting in settings))
    return Table(f"Arms: {_place_title(environment, variant)}", header, rows, note)


def _our_cells(found: Found, arm: str, environment: str, variant: str) -> tuple[str, ...]:
    figures = _arms_of(found, variant)[arm].get(environment)
    if figures is None:
        return (ABSENT,) * (len(_OURS) + len(_TRAINED) + 3)
    trained = found["training"][f"{arm}@{variant}" if variant else arm]
    return (
        f"{figures['seeds']} × {figures['n'] / figures['seeds']:g}",
        _percent(figures["success"], figures["success_ci95"]),
        *(format(figures[name], spec) for name, (_, spec) in _OURS.items()),
        f"{figures['invalid_action_rate']:.1%}",
        *(f"{trained[name]:,.0f}" if trained[name] else ABSENT for name in _TRAINED),
    )


def _paper_cell(found: Found, arm: str, setting: str) -> str:
    """What the paper has for an arm in one of its settings."""
    numbers = {source: number for number, source in enumerate(_source_names(found), start=1)}
    cells = []
    for figure in found["paper"]["figures"]:
        if (figure["arm"], figure["setting"]) == (arm, setting):
            parts = [f"{figure['success_percent']:g} %"] if figure["success_percent"] is not None else []
            parts += [f"{figure['steps']:g} steps"] if figure["steps"] is not None else []
            parts += [f"{figure['tokens']:,.0f} tokens"] if figure["tokens"] is not None else []
            parts += [figure["note"]] if figure["note"] else []
            cells.append(f"{', '.join(parts)} [{numbers[figure['source']]}]")
    return "; ".join(cells) or ABSENT


def _source_names(found: Found) -> list[str]:
    return list(dict.fromkeys(figure["source"] for figure in found["paper"]["figures"]))


def _sources(found: Found) -> Table:
    rows = tuple((f"[{number}]", source) for number, source in enumerate(_source_names(found), start=1))
    return Table("Sources of the paper's figures", ("number", "source"), rows)


def _comparisons(found: Found, environment: str, variant: str) -> Table:
    """Differences in success, steps and output tokens of the pairs that the study names."""
    labels = {f"{arm}@{variant}" if variant else arm for arm in found["asked"][variant]}
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in found["comparisons"]:
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
        )
        for (a, b), of in rows.items()
    )
    header = ("arms", "success, points", "aim, points", "steps", "output tokens", "pairs")
    note = "Differences paired by seed and task, with 95 % intervals over both."
    return Table(f"Comparisons: {_place_title(environment, variant)}", header, cells, note)


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


def _failures(found: Found) -> Table:
    rows = tuple((row["arm"], row["variant"] or ABSENT, str(row["seed"]), row["why"]) for row in found["failed"])
    return Table("Runs that failed", ("run", "variant", "seed", "why"), rows)


def _made_by(found: Found) -> str:
    """What made the figures."""
    hardware = found["hardware"]
    machine = f"{hardware['cpu_cores']} × {hardware['cpu']}, {hardware['memory_gib']} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"## Made by\n\n`{found['command']}` on {'; '.join([machine, *hardware['gpus']])}; {versions}; "
        f"revision {', '.join(found['git_revisions'])}; seeds {', '.join(map(str, found['seeds']))}.\n"
    )
