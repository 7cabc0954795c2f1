"""The reader of ALFWorld's official game files (``game.tw-pddl``): JSON around a PDDL problem.

Names follow the original engine: all ids are sorted ignoring case, the type is the text before the first ``_bar_``
(with ``basin`` appended if the id contains it), and within a type the first id gets the highest number.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from rollout.environments.household.game import Game, Goal, Receptacle, TaskType, Thing

Expression = str | list["Expression"]
Facts = dict[str, list[list[str]]]

_TOKEN = re.compile(r"[()]|[^\s()]+")
_INSTRUCTION = re.compile(r"Your task is to: (?P<task>[^\"\n]*?)\.?\s*\"")
_STATE_TASKS = {"isClean": TaskType.CLEAN, "isHot": TaskType.HEAT, "isCool": TaskType.COOL}
_FLAGS = {
    "pickupable": "pickupable",
    "cleanable": "cleanable",
    "heatable": "heatable",
    "coolable": "coolable",
    "toggleable": "toggleable",
    "sliceable": "sliceable",
    "isReceptacleObject": "container",
    "isClean": "clean",
    "isHot": "hot",
    "isCool": "cool",
    "isSliced": "sliced",
}


def read_game(path: str | Path) -> Game:
    """Read an official game file.

    Raises:
        ValueError: the file is missing, truncated, or not a household game; the sentence names the file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the game file {path}: {error}") from error
    try:
        return parse_game(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a usable household game: {error}") from error


def parse_game(text: str) -> Game:
    """Parse the text of a ``game.tw-pddl`` file. Raises `ValueError` with one sentence if it is damaged."""
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the JSON is damaged or cut short ({error})") from error
    fields = record if isinstance(record, dict) else {}
    problem = _sections(_parse(_field(fields, "pddl_problem")))
    facts = _facts(problem[":init"])
    names = _names(facts)
    return Game(
        receptacles=tuple(_receptacles(facts, names)),
        things=tuple(_things(facts, names)),
        goal=_goal(problem[":goal"]),
        instruction=_instruction(_field(fields, "grammar")),
        start_location=_start(facts),
        can_contain=_can_contain(facts),
    )


def _field(fields: dict[str, object], name: str) -> str:
    text = fields.get(name)
    if isinstance(text, str):
        return text
    raise ValueError(f"it has no {name}")


def _parse(text: str) -> list[Expression]:
    """Parse ``text``, which must be a single s-expression."""
    stack: list[list[Expression]] = [[]]
    for token in _TOKEN.findall(text):
        if token == "(":
            stack.append([])
        elif token != ")":
            stack[-1].append(token)
        elif len(stack) > 1:
            stack[-2].append(stack.pop())
        else:
            raise ValueError("the PDDL problem has an unmatched closing bracket")
    if len(stack) > 1:
        raise ValueError("the PDDL problem is cut short")
    if len(stack[0]) != 1 or not isinstance(stack[0][0], list):
        raise ValueError("the PDDL problem is not one expression")
    return stack[0][0]


def _sections(problem: list[Expression]) -> dict[str, list[Expression]]:
    parts = [part for part in problem if isinstance(part, list) and part and isinstance(part[0], str)]
    sections = {str(part[0]): part[1:] for part in parts}
    for name in (":init", ":goal"):
        if name not in sections:
            raise ValueError(f"the PDDL problem has no {name}")
    return sections


def _facts(init: list[Expression]) -> Facts:
    facts: Facts = defaultdict(list)
    for fact in init:
        if isinstance(fact, list) and fact and all(isinstance(word, str) for word in fact):
            facts[str(fact[0])].append([str(word) for word in fact[1:]])
    return facts


def _pairs(facts: Facts, predicate: str) -> Iterator[tuple[str, str]]:
    for arguments in facts.get(predicate, []):
        if len(arguments) != 2:
            raise ValueError(f"a fact {predicate} has {len(arguments)} arguments instead of 2")
        yield arguments[0], arguments[1]


def _singles(facts: Facts, predicate: str) -> set[str]:
    return {arguments[0] for arguments in facts.get(predicate, []) if len(arguments) == 1}


def _noun(type_id: str) -> str:
    return type_id.removesuffix("Type").lower()


def _names(facts: Facts) -> dict[str, str]:
    """Map the ids of all receptacles and objects to names."""
    ids = sorted({i for kind in ("receptacleType", "objectType") for i, _ in _pairs(facts, kind)}, key=str.lower)
    nouns = {i: i.split("_bar_")[0].lower() + ("basin" if "basin" in i.lower() else "") for i in ids}
    left = Counter(nouns.values())
    names = {}
    for i in ids:
        names[i] = f"{nouns[i]} {left[nouns[i]]}"
        left[nouns[i]] -= 1
    return names


def _receptacles(facts: Facts, names: dict[str, str]) -> Iterator[Receptacle]:
    types = dict(_pairs(facts, "receptacleType"))
    locations = dict(_pairs(facts, "receptacleAtLocation"))
    openable, opened = _singles(facts, "openable"), _singles(facts, "opened")
    for i in sorted(types, key=str.lower):
        if i not in locations:
            raise ValueError(f"the receptacle {i} has no location")
        yield Receptacle(names[i], _noun(types[i]), locations[i], i in openable, i in opened)


def _things(facts: Facts, names: dict[str, str]) -> Iterator[Thing]:
    types = dict(_pairs(facts, "objectType"))
    locations = dict(_pairs(facts, "objectAtLocation"))
    flags = {field: _singles(facts, predicate) for predicate, field in _FLAGS.items()}
    receptacles = dict(_pairs(facts, "receptacleType"))
    places: dict[str, list[str]] = defaultdict(list)
    for i, receptacle in _pairs(facts, "inReceptacle"):
        if receptacle not in receptacles:
            raise ValueError(f"the object {i} is in {receptacle}, which does not exist")
        places[i].append(names[receptacle])
    for i in sorted(types, key=str.lower):
        within = list(dict.fromkeys(places[i]))
        yield Thing(
            name=names[i],
            type=_noun(types[i]),
            receptacle=within[0] if within else None,
            location=locations.get(i),
            also_in=tuple(within[1:]),
            **{field: i in members for field, members in flags.items()},
        )


def _can_contain(facts: Facts) -> dict[str, frozenset[str]]:
    contents: dict[str, set[str]] = defaultdict(set)
    for receptacle, thing in _pairs(facts, "canContain"):
        contents[_noun(receptacle)].add(_noun(thing))
    return {receptacle: frozenset(things) for receptacle, things in contents.items()}


def _start(facts: Facts) -> str:
    locations = [location for _, location in _pairs(facts, "atLocation")]
    if len(locations) != 1:
        raise ValueError("the agent has no starting location")
    return locations[0]


def _instruction(grammar: str) -> str:
    match = _INSTRUCTION.search(grammar)
    if match is None:
        raise ValueError("its grammar states no task")
    return match["task"].strip()


def _goal(expression: list[Expression]) -> Goal:
    """Determine the task type from the conditions in the goal."""
    atoms = list(_atoms(expression))
    states = {atom[0]: atom[1] for atom in atoms if len(atom) == 2}
    object_types = {variable: kind for name, variable, kind in _triples(atoms) if name == "objectType"}
    receptacle_types = [kind for name, _, kind in _triples(atoms) if name == "receptacleType"]
    sliced = "isSliced" in states
    if "isToggled" in states:
        lamp = object_types.pop(states["isToggled"], "")
        if lamp and len(object_types) == 1:
            return Goal(TaskType.LOOK, _noun(*object_types.values()), None, _noun(lamp), sliced)
        raise ValueError("its goal is of an unknown kind")
    tasks = [task for state, task in _STATE_TASKS.items() if state in states]
    match tasks, len(object_types), list(set(object_types.values())), list(set(receptacle_types)):
        case [], 1 | 2 as count, [kind], [target]:
            return Goal(TaskType.TWO if count == 2 else TaskType.PLACE, _noun(kind), _noun(target), None, sliced)
        case [task], 1, [kind], [target]:
            return Goal(task, _noun(kind), _noun(target), None, sliced)
    raise ValueError("its goal is of an unknown kind")


def _atoms(expression: list[Expression]) -> Iterator[list[str]]:
    """Yield all innermost expressions, depth first."""
    if expression and all(isinstance(part, str) for part in expression):
        yield [str(part) for part in expression]
    for part in expression:
        if isinstance(part, list):
            yield from _atoms(part)


def _triples(atoms: list[list[str]]) -> Iterator[tuple[str, str, str]]:
    yield from ((atom[0], atom[1], atom[2]) for atom in atoms if len(atom) == 3)
