"""The check reports every violated requirement of an environment and nothing else."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from rollout.environment import Reset, Step, Task
from rollout.environments.conformance.check import check_environment, check_settings
from rollout.environments.conformance.contract import Requirement
from rollout.environments.plugin import EnvironmentPlugin
from rollout.environments.plugins import find_plugin
from rollout.errors import UserError
from rollout.prompts.example import Demonstration, DemonstrationTurn

SWITCHES = ("a", "b", "c")
COUNT = itertools.count()


class LampConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["lamp"] = "lamp"


class LampEnvironment:
    """One of three switches lights the lamp; the wrong one ends the episode as well."""

    def reset(self, task: Task) -> Reset:
        self.right, self.over = task.payload["right"], False
        return Reset("There are the switches a, b and c.", "light the lamp")

    def step(self, action: str) -> Step:
        if action == "look" and not self.over:
            return Step("It is dark.")
        if action not in self.admissible_actions():
            return Step("Nothing happens.", valid=False)
        self.over = True
        lit = action == f"press {self.right}"
        return Step("Light!" if lit else "Click.", reward=float(lit), done=True, success=lit)

    def admissible_actions(self) -> Sequence[str]:
        return [] if self.over else ["look", *(f"press {switch}" for switch in SWITCHES)]

    def close(self) -> None:
        pass


class LampTasks:
    def splits(self) -> Sequence[str]:
        return ("train", "test")

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        return [self.task(split, seed, index) for index in range(count)]

    def task(self, split: str, seed: int, index: int) -> Task:
        right = Random(f"{split}/{seed}/{index}").choice(SWITCHES)
        return Task(f"lamp/{split}/{seed}/{index}", "lamp", split, "lamp", {"right": right})


class LampPlugin:
    """The parts of a valid plug-in."""

    Config: Any = LampConfig
    instructions: ClassVar[Any] = {
        "short": "Light the lamp.",
        "full": "Light the lamp with press a, press b or press c.",
    }
    examples: Any = (Demonstration("light the lamp", "Dark.", (DemonstrationTurn("I press a.", "press a", "Light!"),)),)
    environment_class: Any = LampEnvironment
    source: Any = LampTasks

    @classmethod
    def worked(cls) -> Any:
        return cls.examples

    @classmethod
    def environment(cls, config: Any) -> Any:
        return cls.environment_class()

    @classmethod
    def tasks(cls, config: Any) -> Any:
        return cls.source()


class Parts:
    """Targets of the import strings."""


def plugin(lamp: type, **changes: Any) -> EnvironmentPlugin:
    """The plug-in whose parts are those of ``lamp``."""
    name = f"lamp_{next(COUNT)}"
    setattr(Parts, name, lamp)
    here = f"{__name__}:Parts.{name}"
    parts = {
        "config": f"{here}.Config",
        "environment": f"{here}.environment",
        "tasks": f"{here}.tasks",
        "instructions": f"{here}.instructions",
        "examples": f"{here}.worked",
    }
    return EnvironmentPlugin(
        **{"name": "lamp", "description": "A lamp.", **parts, **getattr(lamp, "plugin", {}), **changes}
    )


class ThawedConfig(LampConfig):
    model_config = ConfigDict(frozen=False, extra="forbid")


class LaxConfig(LampConfig):
    model_config = ConfigDict(frozen=True, extra="ignore")


class UntypedConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    type: str = "lamp"


def environment_class(**changes: Any) -> type:
    """A lamp plug-in with these methods in its environment."""
    return type("Broken", (LampPlugin,), {"environment_class": type("BrokenWorld", (LampEnvironment,), changes)})


def source(**changes: Any) -> type:
    """A lamp plug-in with these methods in its task source."""
    return type("Broken", (LampPlugin,), {"source": type("BrokenTasks", (LampTasks,), changes)})


def lamp_class(**changes: Any) -> type:
    return type("Broken", (LampPlugin,), changes)


def changed(**fields: Any) -> type:
    """A lamp plug-in with these fields in all tasks."""
    return source(task=lambda self, *place: replace(LampTasks.task(self, *place), **fields))


def stepping(**fields: Any) -> type:
    """A lamp plug-in that answers ``look`` with these fields."""

    def step(self: LampEnvironment, action: str) -> Step:
        answer = LampEnvironment.step(self, action)
        return replace(answer, **fields) if action == "look" and answer.valid else answer

    return environment_class(step=step)


def long_texts_fail(self: LampEnvironment, action: str) -> Step:
    if len(action) > 1000:
        raise MemoryError("too long")
    return LampEnvironment.step(self, action)


def lines_are_not_answered(self: LampEnvironment, action: str) -> Any:
    return None if "\n" in action else LampEnvironment.step(self, action)


def closes_once(self: Any) -> None:
    del self.right


def no_such_call(config: Any) -> Any:
    raise RuntimeError("not written yet")


def second_source_differs(self: Any) -> None:
    self.number = next(COUNT)


def by_source(self: Any, split: str, seed: int, index: int) -> Task:
    return replace(LampTasks.task(self, split, seed, index), task_type=f"lamp {self.number}")


BROKEN: list[tuple[Requirement, type]] = [
    (Requirement.PARTS, lamp_class(plugin={"expert_policy": "no_such_module:Expert"})),
    (Requirement.PARTS, lamp_class(plugin={"environment": f"{__name__}:NoSuchName"})),
    (Requirement.CALLS, lamp_class(environment=staticmethod(no_such_call))),
    (Requirement.CALLS, lamp_class(tasks=staticmethod(no_such_call))),
    (Requirement.CONFIG_FROZEN, lamp_class(Config=ThawedConfig)),
    (Requirement.CONFIG_FROZEN, lamp_class(Config=dict)),
    (Requirement.CONFIG_TYPE, lamp_class(Config=UntypedConfig)),
    (Requirement.CONFIG_KEYS, lamp_class(Config=LaxConfig)),
    (Requirement.INSTRUCTIONS, lamp_class(instructions={"short": "Light it."})),
    (Requirement.INSTRUCTIONS, lamp_class(instructions={"short": "Light it.", "full": ""})),
    (Requirement.EXAMPLES, lamp_class(examples="press a")),
    (Requirement.EXAMPLES, lamp_class(examples=("press a, then all is well",))),
    (Requirement.EXAMPLES, lamp_class(examples=(Demonstration("light the lamp", "Dark.", ()),))),
    (Requirement.EXAMPLES, lamp_class(examples=({"action": "press a"},))),
    (Requirement.SPLITS, source(splits=lambda self: ())),
    (Requirement.SPLITS, source(splits=lambda self: ("train", "train"))),
    (Requirement.SPLITS, source(tasks=lambda self, split, count, seed=0: [])),
    (Requirement.TASKS, source(tasks=lambda self, split, count, seed=0: [][count])),
    (Requirement.TASKS, source(tasks=lambda self, split, count, seed=0: [{"right": "a"}][:count])),
    (
        Requirement.TASKS,
        source(tasks=lambda self, split, count, seed=0: LampTasks.tasks(self, split, 1 if count == 1 else 9, seed)),
    ),
    (Requirement.TASKS_SAME, source(__init__=second_source_differs, task=by_source)),
    (
        Requirement.TASKS_SAME,
        source(task=lambda self, *place: replace(LampTasks.task(self, *place), task_type=str(next(COUNT)))),
    ),
    (
        Requirement.TASKS_SAME,
        source(tasks=lambda self, split, count, seed=0: LampTasks.tasks(self, split, count, seed)[::-1]),
    ),
    (Requirement.TASK_FIELDS, changed(environment="lantern")),
    (Requirement.TASK_FIELDS, changed(split="valid")),
    (Requirement.TASK_FIELDS, changed(task_type="")),
    (Requirement.IDS, changed(id="lamp")),
    (Requirement.PAYLOADS, changed(payload={"right": "a", "wrong": ["b", "c"]})),
    (Requirement.PAYLOADS, changed(payload={"right": "a", "weight": float("inf")})),
    (Requirement.RESET, environment_class(reset=lambda self, task: {}["missing"])),
    (Requirement.RESET, environment_class(reset=lambda self, task: "There are switches.")),
    (Requirement.RESET, environment_class(reset=lambda self, task: Reset("There are switches.", ""))),
    (
        Requirement.RESET_SAME,
        environment_class(reset=lambda self, task: replace(LampEnvironment.reset(self, task), observation=new_text())),
    ),
    (Requirement.STEP, environment_class(step=long_texts_fail)),
    (Requirement.STEP, environment_class(step=lines_are_not_answered)),
    (Requirement.STEP, stepping(observation=b"It is dark.")),
    (Requirement.STEP, stepping(valid=1)),
    (Requirement.REWARDS, stepping(reward=float("nan"))),
    (Requirement.REWARDS, stepping(reward="1")),
    (Requirement.SUCCESS, stepping(success=True)),
    (Requirement.ADMISSIBLE, environment_class(admissible_actions=lambda self: ["press b", "press a"])),
    (Requirement.ADMISSIBLE, environment_class(admissible_actions=lambda self: ["look", "look"])),
    (Requirement.ADMISSIBLE, environment_class(admissible_actions=lambda self: "look")),
    (Requirement.ADMISSIBLE, environment_class(admissible_actions=lambda self: [1, 2])),
    (Requirement.ADMISSIBLE_VALID, stepping(valid=False)),
    (
        Requirement.DETERMINISM,
        environment_class(step=lambda self, action: replace(LampEnvironment.step(self, action), dialect=new_text())),
    ),
    (Requirement.CLOSE, environment_class(close=closes_once)),
]


def new_text() -> str:
    """A different text in each call."""
    return f"This is number {next(COUNT)}."


def check(made: type, **limits: Any) -> list[Requirement]:
    broken: Any = made
    settings = broken.Config() if issubclass(broken.Config, BaseModel) else LampConfig()
    return [
        violation.requirement for violation in check_environment(plugin(broken), settings, **{"episodes": 6, **limits})
    ]


def test_an_environment_that_meets_all_requirements_has_no_violation() -> None:
    counts: Counter[str] = Counter()
    assert check(LampPlugin, counts=counts) == []
    assert counts["splits"] == 2
    assert counts["tasks"] == counts["episodes"] == 6
    assert counts["steps"] > 18


def test_every_requirement_has_an_environment_that_violates_it() -> None:
    assert {requirement for requirement, _ in BROKEN} == set(Requirement)


@pytest.mark.parametrize(("requirement", "made"), BROKEN, ids=[requirement.name for requirement, _ in BROKEN])
def test_a_violated_requirement_is_reported(requirement: Requirement, made: type) -> None:
    assert requirement in check(made)


@pytest.mark.parametrize(
    ("requirement", "made"),
    [(p, made) for p, made in BROKEN if p not in (Requirement.ADMISSIBLE, Requirement.TASKS, Requirement.TASKS_SAME)],
    ids=lambda value: value.name if isinstance(value, Requirement) else "",
)
def test_a_met_requirement_is_not_reported(requirement: Requirement, made: type) -> None:
    """One mistake is one violation, except that a repeated split also repeats task ids."""
    follows = {Requirement.SPLITS: {Requirement.IDS}}
    assert set(check(made)) - {requirement} <= follows.get(requirement, set())


def test_a_violation_states_where_it_was_found_and_how_to_fix_it() -> None:
    broken: Any = stepping(success=True)
    [violation] = check_environment(plugin(broken), LampConfig(), episodes=6)
    assert violation.what == "step('look') returns success without done"
    assert str(violation) == f"success comes only with done: {violation.what}; set done=True wherever success=True"


def test_a_violation_is_one_line_for_any_answer_of_the_environment() -> None:
    def angry(self: Any, action: str) -> Step:
        raise ValueError("no\nnot\n" + "at all " * 1000)

    broken: Any = environment_class(step=angry)
    [violation] = check_environment(plugin(broken), LampConfig(), episodes=1)
    assert len(str(violation).splitlines()) == 1
    assert len(str(violation)) < 500


def test_the_settings_must_have_the_name_of_the_entry_point() -> None:
    assert check_settings(plugin(LampPlugin)) == []
    assert [violation.requirement for violation in check_settings(plugin(LampPlugin, name="lantern"))] == [
        Requirement.CONFIG_TYPE
    ]


def test_missing_data_is_not_a_violation() -> None:
    def missing(self: Any, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        raise UserError("the lamps are not at /lamps; get them")

    broken: Any = source(tasks=missing)
    with pytest.raises(UserError, match="lamps are not at"):
        check_environment(plugin(broken), LampConfig())


def test_an_environment_is_closed_even_if_a_reset_raises() -> None:
    closed: list[str] = []

    def no_data(self: Any, task: Task) -> Reset:
        raise UserError("there is no lamp; buy one")

    broken: Any = environment_class(reset=no_data, close=lambda self: closed.append("closed"))
    with pytest.raises(UserError, match="buy one"):
        check_environment(plugin(broken), LampConfig())
    assert len(closed) == 4


@pytest.mark.parametrize("name", ["household", "hotpotqa", "math", "webshop"])
def test_the_built_in_environments_meet_all_requirements(name: str) -> None:
    made, counts = find_plugin(name), Counter[str]()
    assert check_environment(made, made.config_model()(), episodes=3, seed=1, counts=counts) == []
    assert counts["episodes"] == 3
    assert counts["steps"] > 20
