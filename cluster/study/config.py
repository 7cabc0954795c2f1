"""Configuration of a study: arms (recipes), seeds, shared runs and the paper's figures to compare with. Read from YAML.

`load_study` reads a study by name (the shipped ones are in ``cluster/study/studies/``) or by path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from cluster.config.errors import validated
from cluster.config.load import named_file
from cluster.config.recipe import Agent
from cluster.config.settings import dump_yaml, parse_override, read_settings
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel
from rollout.messages import choose_one_of

STUDIES = Path(__file__).parent / "studies"
STUDY_FILE = "study.yaml"
"""Name of the file in a study's folder that stores its configuration."""
ALL_ARMS_PREFIX = "all."
"""Prefix of a setting on the command line that applies to the recipes of all arms."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A name that can be used as a folder name."""
Overrides = tuple[str, ...]
"""Changes to a recipe as ``key=value``, as on the command line."""


class Paper(FrozenModel):
    """The paper whose figures a study is compared with."""

    title: str
    arxiv: str = Field(pattern=r"^\d{4}\.\d{4,5}$")
    """arXiv number, for example 2505.13820."""


class PaperFigure(FrozenModel):
    """Figures that the paper reports for the method of one of our arms."""

    arm: str
    setting: str = Field(min_length=1)
    """Environment and models in a few words. Figures of one setting form one column of the table."""
    success_percent: float | None = Field(None, ge=0.0, le=100.0)
    steps: float | None = Field(None, ge=0.0)
    tokens: float | None = Field(None, ge=0.0)
    """Tokens per episode, as the paper counts them."""
    note: str = ""
    """Result that the paper states in words."""
    source: str = Field(min_length=1)
    """Table or section of the paper, and how certain the figure is."""


class SharedRun(FrozenModel):
    """A run that only collects episodes, once per seed. Arms train on its episodes or use its hints."""

    recipe: str | None = None
    """Shipped name or path; None uses the study's recipe."""
    overrides: Overrides = ()
    hints_from: str | None = None
    """An earlier shared run whose hints this one uses."""
    per_variant: bool = False
    """Whether to collect separately for each variant, with the variant's overrides."""


class Arm(FrozenModel):
    """A recipe that is run completely, once per seed and variant, and the agent whose evaluation counts."""

    recipe: str | None = None
    """Shipped name or path; None uses the study's recipe."""
    overrides: Overrides = ()
    trains_on: tuple[str, ...] = ()
    """Shared runs whose episodes the arm trains on instead of collecting its own."""
    hints_from: str | None = None
    """The shared run whose hints the arm uses."""
    agent: Agent = "student"
    """The evaluated agent. Arms that train nothing use ``student_before`` or ``teacher``."""
    variants: tuple[str, ...] = ()
    """Variants in which the arm is run; empty means all."""


class Comparison(FrozenModel):
    """Paired comparison of two arms, task by task: ``a`` minus ``b``."""

    a: str
    b: str
    aim_points: float | None = None
    """Target difference in success, in percentage points."""


class Study(FrozenModel):
    """Configuration of a study."""

    name: Name
    description: str = ""
    paper: Paper
    seed: int = Field(0, ge=0)
    """First seed; further runs use the following ones."""
    seeds: int = Field(ge=1)
    """Number of seeds, that is, runs of each arm."""
    episodes: int = Field(ge=1)
    """Episodes of each evaluation."""
    recipe: str
    """Recipe that arms and shared runs start from: a shipped name or a path."""
    overrides: Overrides = ()
    """Overrides of all arms and shared runs, applied before their own."""
    all: Overrides = ()
    """Overrides of all arms and shared runs, applied after their own; ignored by runs that lack the section."""
    shared: dict[Name, SharedRun] = Field(default_factory=dict)
    variants: dict[Name, Overrides] = Field(default_factory=dict)
    """Variants (sizes or environments) by name. Each arm is run in each, with these overrides before its own."""
    arms: dict[Name, Arm] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = ()
    order: tuple[str, ...] = ()
    """Arms from worst to best according to the paper."""
    paper_figures: tuple[PaperFigure, ...] = ()
    only_arms: tuple[str, ...] = ()
    """Run only these arms; empty means all."""
    only_variants: tuple[str, ...] = ()
    """Run only these variants; empty means all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for error in inconsistencies(self):
            raise ValueError(error)
        return self

    @property
    def all_seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    @property
    def selected_variants(self) -> list[str]:
        """Variants that are run; ``[""]`` if the study has none."""
        return list(self.only_variants or self.variants) or [""]

    def selected_arms(self, variant: str) -> list[str]:
        """Arms that are run in a variant, in the study's order."""
        return [
            arm
            for arm in self.arms
            if self.arm_in_variant(arm, variant) and (not self.only_arms or arm in self.only_arms)
        ]

    def arm_in_variant(self, arm: str, variant: str) -> bool:
        """Whether an arm belongs to a variant."""
        return not self.arms[arm].variants or variant in self.arms[arm].variants


OVERRIDABLE_SETTINGS = ("seeds", "seed", "episodes", "only_arms", "only_variants")
"""Settings of the study that ``key=value`` can change on the command line."""
_USAGE = (
    f"write {', '.join(f'{name}=VALUE' for name in OVERRIDABLE_SETTINGS)}, or all.KEY=VALUE for the recipe of every arm"
)


def inconsistencies(study: Study) -> Iterator[str]:
    """Yield one sentence for each pair of settings that contradict each other."""
    for name in study.arms.keys() & study.shared.keys():
        yield f"{name} is both an arm and a shared run; rename one of them"
    references: dict[str, tuple[Collection[str], Collection[str], str]] = {
        "order": (study.order, study.arms, "arm"),
        "only_arms": (study.only_arms, study.arms, "arm"),
        "only_variants": (study.only_variants, study.variants, "variant"),
        "comparisons": ([name for pair in study.comparisons for name in (pair.a, pair.b)], study.arms, "arm"),
        "paper_figures": ([figure.arm for figure in study.paper_figures], study.arms, "arm"),
    }
    for i, (name, run) in enumerate(study.shared.items()):
        earlier = list(study.shared)[:i]
        references[f"shared.{name}.hints_from"] = ([run.hints_from] if run.hints_from else [], earlier, "shared run")
    for name, arm in study.arms.items():
        references[f"arms.{name}.variants"] = (arm.variants, study.variants, "variant")
        references[f"arms.{name}.trains_on"] = (arm.trains_on, study.shared, "shared run")
        references[f"arms.{name}.hints_from"] = ([arm.hints_from] if arm.hints_from else [], study.shared, "shared run")
    for setting, (named, known, what) in references.items():
        for unknown in [name for name in named if name not in known]:
            yield f"{setting} names {unknown}, which is not a known {what}; {choose_one_of(unknown, known)}"
    for name, run in study.shared.items():
        if run.hints_from and not run.per_variant and study.shared[run.hints_from].per_variant:
            yield f"shared.{name} uses the hints of {run.hints_from}, which differ by variant; set per_variant: true"
    same = (pair.a for pair in study.comparisons if pair.a == pair.b)
    yield from (f"comparisons compares {arm} with itself; name two different arms" for arm in same)
    twice = [arm for arm, count in Counter(study.order).items() if count > 1]
    if twice or len(study.order) == 1:
        yield f"order {'names ' + twice[0] + ' twice' if twice else 'has one arm'}; name at least two arms, each once"


def study_names() -> list[str]:
    """Names of the shipped studies."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def load_study(name_or_path: str, overrides: Sequence[str] = ()) -> Study:
    """Read a shipped study by name, or any study by the path of its file or folder, and check it.

    Args:
        overrides: ``seeds=5``, ``episodes=200``, ``only_arms=[a, b]``, or ``all.KEY=VALUE`` for every arm's recipe.

    Raises:
        UserError: if the study does not exist, is not YAML, or has wrong settings (each is named).
    """
    settings = read_settings(find_study(name_or_path))
    for override in overrides:
        _apply_override(settings, override)
    return validated(Study, settings, f"study {name_or_path}")


def find_study(name_or_path: str) -> Path:
    """The file of a study, looked up as a shipped name first, then as the path of a file or a study's folder."""
    return named_file("study", name_or_path, STUDIES, STUDY_FILE)


def study_yaml(study: Study) -> str:
    """The study as YAML with every setting written out; `load_study` reads it back."""
    return dump_yaml(study.model_dump(mode="json"))


def _apply_override(settings: dict[str, Any], override: str) -> None:
    """Change one setting in place. Raises `UserError` for an unknown setting or a value that is not YAML."""
    key, value = parse_override(override, _USAGE)
    if key.startswith(ALL_ARMS_PREFIX):
        settings["all"] = [*settings.get("all", ()), override.strip().removeprefix(ALL_ARMS_PREFIX)]
    elif key in OVERRIDABLE_SETTINGS:
        settings[key] = value
    else:
        raise UserError(f"{override!r} is not a setting of a study; {_USAGE}.")
