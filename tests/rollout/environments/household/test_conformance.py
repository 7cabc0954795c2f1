"""The household simulator against recordings of the original engine (data outside this repository)."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.environments.household.game import Game
from rollout.environments.household.pddl import parse_game
from rollout.environments.household.simulator import Simulator

REPOSITORY = Path(__file__).parents[4]
DATA = REPOSITORY / os.environ.get("STILLHOUSE_TEST_DATA", "../shared/data") / "alfworld"
GAMES = DATA / "games_train_seen.tar.xz"
TRANSCRIPTS = DATA / "transcripts.jsonl.gz"

pytestmark = pytest.mark.skipif(
    not (GAMES.is_file() and TRANSCRIPTS.is_file()), reason="no ALFWorld recordings: set STILLHOUSE_TEST_DATA"
)


def stored_games() -> Iterator[tuple[str, Game, list[str]]]:
    """All official games with their walkthroughs, by name relative to the release folder."""
    with tarfile.open(GAMES, "r|xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                text = file.read().decode()
                yield member.name.partition("/")[2], parse_game(text), json.loads(text)["walkthrough"]


def episodes() -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The recorded episodes: what was seen first, and the steps."""
    with gzip.open(TRANSCRIPTS, "rt") as lines:
        records = [json.loads(line) for line in lines]
    starts = [i for i, record in enumerate(records) if record["type"] == "episode"]
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        yield records[start], records[start + 1 : end]


def replay(game: Game, first: dict[str, Any], steps: list[dict[str, Any]]) -> list[str]:
    """Differences between a recorded episode and ours, help text included."""
    simulator = Simulator(game, strict=True)
    intro = f"-= Welcome to TextWorld, ALFRED! =-\n\n{simulator.intro()}\n\nYour task is to: {game.instruction}."
    same_start = intro == first["initial_observation"] and simulator.admissible() == first["admissible_commands"]
    differences = [] if same_start else [f"{first['game']}: first observation"]
    for step in steps:
        was_admissible = step["action"].strip() in simulator.admissible()
        reply = simulator.step(step["action"])
        ours = (reply.observation, simulator.admissible(), simulator.won, reply.admissible)
        if ours != (step["observation"], step["admissible_commands"], step["won"], was_admissible):
            differences.append(f"{first['game']} step {step['i']}: {step['action']!r}")
    return differences


def test_all_official_games_and_recordings_agree_with_the_simulator() -> None:
    """One pass over the archive: each stored walkthrough wins at exactly its last step, each recording replays."""
    recorded: dict[str, list[tuple[dict[str, Any], list[dict[str, Any]]]]] = {}
    for first, steps in episodes():
        recorded.setdefault(first["game"], []).append((first, steps))
    problems, count, num_steps = [], 0, 0
    for name, game, walkthrough in stored_games():
        count += 1
        simulator = Simulator(game, strict=True)
        won = [(simulator.step(command).admissible, simulator.won) for command in walkthrough]
        if won != [(True, False)] * (len(won) - 1) + [(True, True)]:
            problems.append(f"{name}: walkthrough")
        if game.goal.task_type != name.split("/")[1].split("-")[0]:
            problems.append(f"{name}: task type")
        for first, steps in recorded.pop(name, []):
            problems += replay(game, first, steps)
            num_steps += len(steps)
    assert problems == []
    assert (count, num_steps, recorded) == (3693, 4729, {})
