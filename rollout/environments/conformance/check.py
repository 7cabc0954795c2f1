"""Does an environment keep the promises of the interface? Looks at what it declares, asks for tasks, and plays."""

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from rollout.environment import Environment, Task, TaskSource
from rollout.environments.conformance.contract import Breaches, Requirement, Violation, shown
from rollout.environments.conformance.play import Player
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
    """Every promise that the environment breaks, each with the first place where it was seen; empty if it keeps all.

    Args:
        plugin: what an entry point names.
        config: its settings.
        episodes: how many are played at random, over all splits in turn; each is played twice.
        seed: of the tasks and the play.
        counts: if given, what was looked at is counted there: ``splits``, ``tasks``, ``episodes``, ``steps``.

    Raises:
        UserError: what the settings ask for is not there (official data, an engine); that is no breach.
    """
    found, counts = Breaches(), Counter() if counts is None else counts
    _parts(plugin, found)
    if found.all():
        return found.all()
    _settings(plugin, found)
    examples = _words(plugin, found)
    source, again = _made(found, plugin, "tasks", config), _made(found, plugin, "tasks", config)
    if source is not None and again is not None:
        tasks = _Tasks(found, plugin.name, episodes, seed).of(source, again, counts)
        one, other = _made(found, plugin, "environment", config), _made(found, plugin, "environment", config)
        if one is not None and other is not None:
            _play(found, examples, (one, other), tasks, seed, counts)
    return found.all()


def check_settings(plugin: EnvironmentPlugin) -> list[Violation]:
    """What is wrong with the parts of an environment and with the class of its settings."""
    found = Breaches()
    _parts(plugin, found)
    if not found.all():
        _settings(plugin, found)
    return found.all()


def check_other_process(name: str, config: BaseModel, seed: int = 0) -> list[Violation]:
    """Whether another process, with other hash values of texts, is given the same tasks.

    Args:
        name: under which the environment is registered.
        config: its settings.
        seed: of the tasks.

    Raises:
        UserError: as `check_environment`.
    """
    found = Breaches()
    with found.expect(Requirement.TASKS_SAME, "asking for tasks in another process"):
        here = first_tasks(name, config, seed)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            there = pool.submit(first_tasks, name, config, seed).result()
        split = next((split for split in here if here[split] != there.get(split)), None)
        found.check(split is None, Requirement.TASKS_SAME, f"those of {split!r} differ in another process")
    return found.all()


def first_tasks(name: str, config: BaseModel, seed: int) -> dict[str, list[str]]:
    """A few tasks of each split of an environment by name, in words."""
    source = find_plugin(name).make_tasks(config)
    return {split: [_in_words(task) for task in source.tasks(split, _FEW, seed)] for split in source.splits()}


def _in_words(task: Task) -> str:
    return repr((task.id, task.environment, task.split, task.task_type, sorted(task.payload.items())))


def _parts(plugin: EnvironmentPlugin, found: Breaches) -> None:
    for part in IMPORTED_PARTS:
        try:
            plugin.load(part)
        except UserError as error:
            found.add(Requirement.PARTS, shown(str(error.__cause__ or error)) + f" ({part})")


def _settings(plugin: EnvironmentPlugin, found: Breaches) -> None:
    model, name = plugin.load("config"), plugin.name
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        found.add(Requirement.CONFIG_FROZEN, f"config is {shown(repr(model))}")
        return
    found.check(bool(model.model_config.get("frozen")), Requirement.CONFIG_FROZEN, f"{model.__name__} can be changed")
    refuses = model.model_config.get("extra") == "forbid"
    found.check(refuses, Requirement.CONFIG_KEYS, f"{model.__name__} takes a setting that it does not know")
    field = model.model_fields.get("type")
    names = get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
    found.check(
        names == (name,) and field is not None and field.default == name,
        Requirement.CONFIG_TYPE,
        f"{model.__name__}.type should be the literal {name!r} and is {shown(repr(names or None))}",
    )


def _words(plugin: EnvironmentPlugin, found: Breaches) -> Sequence[Any]:
    """Look at instructions and examples; gives the examples."""
    instructions, make_examples = plugin.load("instructions"), plugin.load("examples")
    for variant in ("short", "full"):
        text = instructions.get(variant) if isinstance(instructions, Mapping) else None
        good = isinstance(text, str) and bool(text.strip())
        found.check(good, Requirement.INSTRUCTIONS, f"instructions have no text {variant!r}")
    examples: Any = ()
    with found.expect(Requirement.EXAMPLES, "examples()"):
        examples = make_examples() if make_examples is not None else ()
    if isinstance(examples, str) or not isinstance(examples, Sequence):
        found.add(Requirement.EXAMPLES, f"examples() gives {shown(repr(examples))}, not a sequence")
        return ()
    for number, example in enumerate(examples, 1):
        fault = _fault_of_example(example)
        found.check(not fault, Requirement.EXAMPLES, f"example {number} {fault}")
    return examples


def _fault_of_example(example: object) -> str:
    """What makes an example no worked episode; empty if it is one."""
    if isinstance(example, str):
        return "" if ReActStyle("").parse(example).action else "is a text without an action"
    if not isinstance(example, Demonstration):
        return f"is {type(example).__name__}"
    if not (example.turns and all(isinstance(turn, DemonstrationTurn) and turn.action for turn in example.turns)):
        return "has no turns, or one without an action"
    try:
        new_style("react", "-", [example], shown=1).example(example)
    except (UserError, TypeError, AttributeError, ValueError) as error:
        return f"cannot be worded: {shown(str(error))}"
    return ""


def _made(found: Breaches, plugin: EnvironmentPlugin, what: str, config: BaseModel) -> Any:
    with found.expect(Requirement.CALLS, f"{what}(config)"):
        return plugin.load(what)(config)
    return None


class _Tasks:
    """Asks for tasks and looks at them."""

    def __init__(self, found: Breaches, name: str, episodes: int, seed: int) -> None:
        self._found, self._name, self._episodes, self._seed = found, name, episodes, seed

    def of(self, source: TaskSource, again: TaskSource, counts: Counter[str]) -> list[Task]:
        """The tasks to play: of all splits in turn."""
        found = self._found
        splits: list[str] = []
        with found.expect(Requirement.SPLITS, "splits()"):
            splits = list(source.splits())
        named = bool(splits) and all(isinstance(split, str) and split for split in splits)
        found.check(
            named and len(set(splits)) == len(splits), Requirement.SPLITS, f"splits() gives {shown(repr(splits))}"
        )
        each = max(1, math.ceil(self._episodes / max(1, len(splits))))
        columns = [self._of_split(source, again, split, each) for split in splits]
        every = [task for column in columns for task in column]
        repeated = [task_id for task_id, times in Counter(task.id for task in every).items() if times > 1]
        found.check(not repeated, Requirement.IDS, f"{shown(repeated[0]) if repeated else ''} names more than one task")
        counts.update(splits=len(splits), tasks=len(every))
        rows = [[column[row] for column in columns if row < len(column)] for row in range(each)]
        return [task for row in rows for task in row][: self._episodes]

    def _of_split(self, source: TaskSource, again: TaskSource, split: str, count: int) -> list[Task]:
        found, asked = self._found, f"tasks({split!r}, {count}, {self._seed})"
        made: list[Any] = []
        with found.expect(Requirement.TASKS, asked):
            made = list(source.tasks(split, count, self._seed))
            found.check(len(made) <= count, Requirement.TASKS, f"{asked} gives {len(made)} tasks")
            found.check(bool(made), Requirement.SPLITS, f"{split!r} has no task")
            for other, of in ((source, "the same source"), (again, "a second source")):
                same = list(other.tasks(split, count, self._seed)) == made
                found.check(same, Requirement.TASKS_SAME, f"{asked} of {of} differ from the first time")
            first = list(source.tasks(split, 1, self._seed)) == made[:1]
            found.check(first, Requirement.TASKS_SAME, f"tasks({split!r}, 1, {self._seed}) is not the first of {asked}")
        tasks = [task for task in made if isinstance(task, Task)]
        found.check(len(tasks) == len(made), Requirement.TASKS, f"{asked} gives something else than Task")
        for task in tasks:
            self._look_at(task, split)
        return tasks

    def _look_at(self, task: Task, split: str) -> None:
        fields = (task.id, task.environment, task.split, task.task_type)
        named = all(isinstance(text, str) and text for text in fields)
        right = named and task.environment == self._name and task.split == split
        self._found.check(right, Requirement.TASK_FIELDS, f"a task of {split!r} has {shown(repr(fields))}")
        for key, value in task.payload.items():
            plain = type(key) is str and type(value) in _SCALARS and _is_finite(value)
            self._found.check(plain, Requirement.PAYLOADS, f"{task.id} has {shown(f'{key}={value!r}')}")


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _play(
    found: Breaches,
    examples: Sequence[Any],
    environments: tuple[Environment, Environment],
    tasks: Sequence[Task],
    seed: int,
    counts: Counter[str],
) -> None:
    player = Player(found, _actions(examples), seed, counts)
    try:
        for task in tasks[:1]:
            player.provoke(environments[0], task)
        for task in tasks:
            player.play(*environments, task)
    finally:
        for environment in environments:
            for _ in range(2):
                with found.expect(Requirement.CLOSE, "close()"):
                    environment.close()


def _actions(examples: Sequence[Any]) -> list[str]:
    """The actions of the worked episodes, each once."""
    actions: list[str] = []
    for example in examples:
        if isinstance(example, Demonstration):
            actions += [turn.action for turn in example.turns]
        elif isinstance(example, str):
            parsed = (ReActStyle("").parse(line).action for line in example.splitlines())
            actions += [action for action in parsed if action]
    return list(dict.fromkeys(actions))
