"""What a study is: arms (recipes) by seeds, what they share, what they are held against. Read from YAML.

`load_study` reads one by name (``cluster/study/studies/`` holds the shipped ones) or by path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, StringConstraints, model_validator

from cluster.config.errors import validated
from cluster.config.load import named_file
from cluster.config.recipe import Agent
from cluster.config.settings import parse_override, read_settings
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel
from rollout.messages import choose_one_of

STUDIES = Path(__file__).parent / "studies"
STUDY_FILE = "study.yaml"
"""In the folder of a study: the study itself, as it was asked for."""
EVERYWHERE = "all."
"""Before a setting on the command line: for the recipes of all arms."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Names become folders."""
Overrides = tuple[str, ...]
"""``key=value`` of a recipe, as on the command line."""


class Paper(FrozenModel):
    """What a study is held against."""

    title: str
    arxiv: str = Field(pattern=r"^\d{4}\.\d{4,5}$")
    """Such as 2505.13820."""


class PaperFigure(FrozenModel):
    """A row that the paper reports for what one of our arms does."""

    arm: str
    setting: str = Field(min_length=1)
    """Environment and models, in a few words; rows of one setting are a column beside our figures."""
    success_percent: float | None = Field(None, ge=0.0, le=100.0)
    steps: float | None = Field(None, ge=0.0)
    tokens: float | None = Field(None, ge=0.0)
    """An episode, as the paper counts them."""
    note: str = ""
    """What it says in words."""
    source: str = Field(min_length=1)
    """Where it stands: table or section, and how certain it is."""


class SharedRun(FrozenModel):
    """A run that only collects, once a seed. Arms train on its episodes or take its hints."""

    recipe: str | None = None
    """Shipped name or path; None is the study's."""
    overrides: Overrides = ()
    hints_from: str | None = None
    """A shared run before this one, whose hints it takes."""
    per_variant: bool = False
    """Collect for each variant anew, with the variant's overrides."""


class Arm(FrozenModel):
    """A recipe that is run whole, once a seed and variant, and what of it counts."""

    recipe: str | None = None
    """Shipped name or path; None is the study's."""
    overrides: Overrides = ()
    trains_on: tuple[str, ...] = ()
    """Shared runs whose episodes it trains on, in place of episodes of a teacher of its own."""
    hints_from: str | None = None
    """The shared run whose hints it takes."""
    agent: Agent = "student"
    """Whose evaluation is the arm's: of arms that train nothing, ``student_before`` or ``teacher``."""
    variants: tuple[str, ...] = ()
    """Run it in these alone; none means all."""


class Comparison(FrozenModel):
    """Two arms that are compared task by task: ``a`` minus ``b``."""

    a: str
    b: str
    aim_points: float | None = None
    """The difference in success that is aimed at, in points of a hundred."""


class Study(FrozenModel):
    """A whole study."""

    name: Name
    description: str = ""
    paper: Paper
    seed: int = Field(0, ge=0)
    """Of the first run; each further one has the next."""
    seeds: int = Field(ge=1)
    """Runs of each arm."""
    episodes: int = Field(ge=1)
    """Of each evaluation."""
    recipe: str
    """What arms and shared runs change; a shipped name or a path."""
    overrides: Overrides = ()
    """For all arms and shared runs, before their own."""
    all: Overrides = ()
    """For all arms and shared runs, after their own. A setting in a section that a run does not have is left out."""
    shared: dict[Name, SharedRun] = Field(default_factory=dict)
    variants: dict[Name, Overrides] = Field(default_factory=dict)
    """Each arm is run in each variant (a size, an environment), with these overrides before its own."""
    arms: dict[Name, Arm] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = ()
    order: tuple[str, ...] = ()
    """Arms from the worst to the best, as the paper has them."""
    paper_figures: tuple[PaperFigure, ...] = ()
    only_arms: tuple[str, ...] = ()
    """Run these arms alone; none means all."""
    only_variants: tuple[str, ...] = ()
    """Run these variants alone; none means all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for mistake in inconsistencies(self):
            raise ValueError(mistake)
        return self

    @property
    def all_seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    @property
    def asked_variants(self) -> list[str]:
        """Those that are run; one without a name in a study that has none."""
        return list(self.only_variants or self.variants) or [""]

    def asked_arms(self, variant: str) -> list[str]:
        """Those that are run in a variant, in the study's order."""
        return [arm for arm in self.arms if self.is_in(arm, variant) and (not self.only_arms or arm in self.only_arms)]

    def is_in(self, arm: str, variant: str) -> bool:
        """Whether an arm belongs to a variant."""
        return not self.arms[arm].variants or variant in self.arms[arm].variants


COMMAND_LINE = ("seeds", "seed", "episodes", "only_arms", "only_variants")
"""Settings of a study itself that ``key=value`` can change."""
_USAGE = f"write {', '.join(f'{name}=VALUE' for name in COMMAND_LINE)}, or all.KEY=VALUE for the recipe of every arm"


def inconsistencies(study: Study) -> Iterator[str]:
    """What is wrong between settings that are fine each for itself, a sentence each."""
    for name in study.arms.keys() & study.shared.keys():
        yield f"{name} is both an arm and a shared run; rename one of them"
    references: dict[str, tuple[Collection[str], Collection[str], str]] = {
        "order": (study.order, study.arms, "arm"),
        "only_arms": (study.only_arms, study.arms, "arm"),
        "only_variants": (study.only_variants, study.variants, "variant"),
        "comparisons": ([name for pair in study.comparisons for name in (pair.a, pair.b)], study.arms, "arm"),
        "paper_figures": ([figure.arm for figure in study.paper_figures], study.arms, "arm"),
    }
    earlier: list[str] = []
    for name, run in study.shared.items():
        references[f"shared.{name}.hints_from"] = ([run.hints_from] if run.hints_from else [], earlier[:], "shared run")
        earlier.append(name)
    for name, arm in study.arms.items():
        references[f"arms.{name}.variants"] = (arm.variants, study.variants, "variant")
        references[f"arms.{name}.trains_on"] = (arm.trains_on, study.shared, "shared run")
        references[f"arms.{name}.hints_from"] = ([arm.hints_from] if arm.hints_from else [], study.shared, "shared run")
    for setting, (named, known, what) in references.items():
        for unknown in [name for name in named if name not in known]:
            yield f"{setting} names {unknown}, which is no {what}; {choose_one_of(unknown, known)}"
    for name, run in study.shared.items():
        if run.hints_from and not run.per_variant and study.shared[run.hints_from].per_variant:
            yield f"shared.{name} takes the hints of {run.hints_from}, which differ by variant; set per_variant: true"
    for pair in study.comparisons:
        if pair.a == pair.b:
            yield f"comparisons holds {pair.a} against itself; name two arms"
    twice = [arm for arm, count in Counter(study.order).items() if count > 1]
    if twice or len(study.order) == 1:
        yield f"order {'names ' + twice[0] + ' twice' if twice else 'has one arm'}; give each arm once, two at least"


def study_names() -> list[str]:
    """Names of the shipped studies."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def load_study(name_or_path: str, overrides: Sequence[str] = ()) -> Study:
    """Read a shipped study by name or any study by path (also of a folder that one was run in), and check it.

    Args:
        overrides: ``seeds=5``, ``episodes=200``, ``only_arms=[a, b]``, or ``all.KEY=VALUE`` for every arm's recipe.

    Raises:
        UserError: there is no such study, it is not YAML, or a setting is wrong (each one is named).
    """
    settings = read_settings(find_study(name_or_path))
    for override in overrides:
        _override(settings, override)
    return validated(Study, settings, f"study {name_or_path}")


def find_study(name_or_path: str) -> Path:
    """The file of a study: a shipped name first, then a path (the folder of a study means the study in it)."""
    return named_file("study", name_or_path, STUDIES, STUDY_FILE)


def study_yaml(study: Study) -> str:
    """A study with every setting written out; `load_study` reads it back."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _override(settings: dict[str, Any], override: str) -> None:
    """Change one setting in place. Raises `UserError` for what a study cannot be told."""
    key, value = parse_override(override, _USAGE)
    if key.startswith(EVERYWHERE):
        settings["all"] = [*settings.get("all", ()), override.strip().removeprefix(EVERYWHERE)]
    elif key in COMMAND_LINE:
        settings[key] = value
    else:
        raise UserError(f"{override!r} is no setting of a study; {_USAGE}.")
