"""Checks the requirements of the environment interface: plug-in, tasks and random episodes."""

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import zip_longest
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from rollout.environment import Environment, Task, TaskSource
from rollout.environments.conformance.contract import Requirement, Violation, Violations, format_value
from rollout.environments.conformance.probe import Prober
from rollout.environments.plugin import IMPORTED_PARTS, EnvironmentPlugin
from rollout.environments.plugins import find_plugin
from rollout.errors import UserError
from rollout.prompts.example import Demonstration, DemonstrationTurn
from rollout.prompts.react import ReActStyle
from rollout.prompts.styles import new_style

_SCALARS = (str, int, float, bool, type(None))
_FEW = 5


def check_environment(
    plugin: EnvironmentPlugin,
    config: BaseModel,
    episodes: int = 20,
    seed: int = 0,
    counts: Counter[str] | None = None,
) -> list[Violation]:
    """Return the requirements that the environment violates, each with its first violation; empty if there is none.

    Args:
        plugin: the plug-in that an entry point names.
        config: settings of the environment.
        episodes: number of random episodes, cycling through the splits; each is repeated with the same actions.
        seed: seed of the tasks and of the random actions.
        counts: if given, receives the numbers of checked ``splits``, ``tasks``, ``episodes`` and ``steps``.

    Raises:
        UserError: data or an engine that the settings require is missing; this is not a violation.
    """
    found, counts = Violations(), Counter() if counts is None else counts
    _parts(plugin, found)
    if found.all():
        return found.all()
    _settings(plugin, found)
    examples = _words(plugin, found)
    source, second = _create(found, plugin, "tasks", config), _create(found, plugin, "tasks", config)
    if source is not None and second is not None:
        tasks = _Tasks(found, plugin.name, episodes, seed).of(source, second, counts)
        one, other = _create(found, plugin, "environment", config), _create(found, plugin, "environment", config)
        if one is not None and other is not None:
            _run_episodes(found, examples, (one, other), tasks, seed, counts)
    return found.all()


def check_settings(plugin: EnvironmentPlugin) -> list[Violation]:
    """Return the violations in the parts of an environment and in its config class."""
    found = Violations()
    _parts(plugin, found)
    if not found.all():
        _settings(plugin, found)
    return found.all()


def check_other_process(name: str, config: BaseModel, seed: int = 0) -> list[Violation]:
    """Check that another process, which has other string hashes, creates the same tasks.

    Args:
        name: registered name of the environment.
        config: settings of the environment.
        seed: seed of the tasks.

    Raises:
        UserError: as `check_environment`.
    """
    found = Violations()
    with found.expect(Requirement.TASKS_SAME, "asking for tasks in another process"):
        here = first_tasks(name, config, seed)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            there = pool.submit(first_tasks, name, config, seed).result()
        split = next((split for split in here if here[split] != there.get(split)), None)
        found.check(split is None, Requirement.TASKS_SAME, f"those of {split!r} differ in another process")
    return found.all()


def first_tasks(name: str, config: BaseModel, seed: int) -> dict[str, list[str]]:
    """A text representation of the first few tasks of each split."""
    source = find_plugin(name).make_tasks(config)
    return {
        split: [
            repr((task.id, task.environment, task.split, task.task_type, sorted(task.payload.items())))
            for task in source.tasks(split, _FEW, seed)
        ]
        for split in source.splits()
    }


def _parts(plugin: EnvironmentPlugin, found: Violations) -> None:
    for part in IMPORTED_PARTS:
        try:
            plugin.load(part)
        except UserError as error:
            found.add(Requirement.PARTS, format_value(str(error.__cause__ or error)) + f" ({part})")


def _settings(plugin: EnvironmentPlugin, found: Violations) -> None:
    model, name = plugin.load("config"), plugin.name
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        found.add(Requirement.CONFIG_FROZEN, f"config is {format_value(repr(model))}")
        return
    found.check(bool(model.model_config.get("frozen")), Requirement.CONFIG_FROZEN, f"{model.__name__} can be changed")
    found.check(
        model.model_config.get("extra") == "forbid",
        Requirement.CONFIG_KEYS,
        f"{model.__name__} accepts unknown settings",
    )
    field = model.model_fields.get("type")
    names = get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
    found.check(
        names == (name,) and field is not None and field.default == name,
        Requirement.CONFIG_TYPE,
        f"{model.__name__}.type should be the literal {name!r} and is {format_value(repr(names or None))}",
    )


def _words(plugin: EnvironmentPlugin, found: Violations) -> Sequence[Any]:
    """Check instructions and examples, and return the examples."""
    instructions, make_examples = plugin.load("instructions"), plugin.load("examples")
    for variant in ("short", "full"):
        text = instructions.get(variant) if isinstance(instructions, Mapping) else None
        found.check(
            isinstance(text, str) and bool(text.strip()),
            Requirement.INSTRUCTIONS,
            f"instructions have no text {variant!r}",
        )
    examples: Any = ()
    with found.expect(Requirement.EXAMPLES, "examples()"):
        examples = make_examples() if make_examples is not None else ()
    if isinstance(examples, str) or not isinstance(examples, Sequence):
        found.add(Requirement.EXAMPLES, f"examples() returns {format_value(repr(examples))}, not a sequence")
        return ()
    for number, example in enumerate(examples, 1):
        fault = _fault_of_example(example)
        found.check(not fault, Requirement.EXAMPLES, f"example {number} {fault}")
    return examples


def _fault_of_example(example: object) -> str:
    """The reason why an example is not a worked episode; empty if it is one."""
    if isinstance(example, str):
        return "" if ReActStyle("").parse(example).action else "is a text without an action"
    if not isinstance(example, Demonstration):
        return f"is {type(example).__name__}"
    if not (example.turns and all(isinstance(turn, DemonstrationTurn) and turn.action for turn in example.turns)):
        return "has no turns, or one without an action"
    try:
        new_style("react", "-", [example], shown=1).example(example)
    except (UserError, TypeError, AttributeError, ValueError) as error:
        return f"cannot be rendered: {format_value(str(error))}"
    return ""


def _create(found: Violations, plugin: EnvironmentPlugin, what: str, config: BaseModel) -> Any:
    with found.expect(Requirement.CALLS, f"{what}(config)"):
        return plugin.load(what)(config)
    return None


class _Tasks:
    """Creates and checks tasks."""

    def __init__(self, found: Violations, name: str, episodes: int, seed: int) -> None:
        self._found, self._name, self._episodes, self._seed = found, name, episodes, seed

    def of(self, source: TaskSource, second: TaskSource, counts: Counter[str]) -> list[Task]:
        """Check the tasks and return those to run, cycling through the splits."""
        found = self._found
        splits: list[str] = []
        with found.expect(Requirement.SPLITS, "splits()"):
            splits = list(source.splits())
        named = bool(splits) and all(isinstance(split, str) and split for split in splits)
        found.check(
            named and len(set(splits)) == len(splits),
            Requirement.SPLITS,
            f"splits() returns {format_value(repr(splits))}",
        )
        each = max(1, math.ceil(self._episodes / max(1, len(splits))))
        columns = [self._of_split(source, second, split, each) for split in splits]
        every = [task for column in columns for task in column]
        repeated = [task_id for task_id, times in Counter(task.id for task in every).items() if times > 1]
        found.check(
            not repeated, Requirement.IDS, f"{format_value(repeated[0]) if repeated else ''} names more than one task"
        )
        counts.update(splits=len(splits), tasks=len(every))
        rows = zip_longest(*columns)
        return [task for row in rows for task in row if task is not None][: self._episodes]

    def _of_split(self, source: TaskSource, second: TaskSource, split: str, count: int) -> list[Task]:
        found, asked = self._found, f"tasks({split!r}, {count}, {self._seed})"
        made: list[Any] = []
        with found.expect(Requirement.TASKS, asked):
            made = list(source.tasks(split, count, self._seed))
            found.check(len(made) <= count, Requirement.TASKS, f"{asked} returns {len(made)} tasks")
            found.check(bool(made), Requirement.SPLITS, f"{split!r} has no task")
            for other, of in ((source, "the same source"), (second, "a second source")):
                same = list(other.tasks(split, count, self._seed)) == made
                found.check(same, Requirement.TASKS_SAME, f"{asked} of {of} differ from the first call")
            first = list(source.tasks(split, 1, self._seed)) == made[:1]
            found.check(first, Requirement.TASKS_SAME, f"tasks({split!r}, 1, {self._seed}) is not the first of {asked}")
        tasks = [task for task in made if isinstance(task, Task)]
        found.check(len(tasks) == len(made), Requirement.TASKS, f"{asked} returns objects that are not Task")
        for task in tasks:
            self._look_at(task, split)
        return tasks

    def _look_at(self, task: Task, split: str) -> None:
        fields = (task.id, task.environment, task.split, task.task_type)
        named = all(isinstance(text, str) and text for text in fields)
        right = named and task.environment == self._name and task.split == split
        self._found.check(right, Requirement.TASK_FIELDS, f"a task of {split!r} has {format_value(repr(fields))}")
        for key, value in task.payload.items():
            finite = not isinstance(value, float) or math.isfinite(value)
            plain = type(key) is str and type(value) in _SCALARS and finite
            self._found.check(plain, Requirement.PAYLOADS, f"{task.id} has {format_value(f'{key}={value!r}')}")


def _run_episodes(
    found: Violations,
    examples: Sequence[Any],
    environments: tuple[Environment, Environment],
    tasks: Sequence[Task],
    seed: int,
    counts: Counter[str],
) -> None:
    prober = Prober(found, _actions(examples), seed, counts)
    try:
        for task in tasks[:1]:
            prober.probe_any_text(environments[0], task)
        for task in tasks:
            prober.probe_episode(*environments, task)
    finally:
        for environment in environments:
            for _ in range(2):
                with found.expect(Requirement.CLOSE, "close()"):
                    environment.close()


def _actions(examples: Sequence[Any]) -> list[str]:
    """The actions of the worked episodes, without duplicates."""
    actions: list[str] = []
    for example in examples:
        if isinstance(example, Demonstration):
            actions += [turn.action for turn in example.turns]
        elif isinstance(example, str):
            actions += filter(None, (ReActStyle("").parse(line).action for line in example.splitlines()))
    return list(dict.fromkeys(actions))
