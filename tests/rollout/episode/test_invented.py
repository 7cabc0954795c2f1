"""Episodes of a teacher that invents observations and further turns after each action."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from learner.data.streams import to_sequence
from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Reset, Step, Task
from rollout.episode.config import AgentConfig
from rollout.episode.episode import run_episode
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.styles import StyleName, new_style
from rollout.prompts.tokenizer import load_tokenizer
from rollout.trajectory import Kind
from tests.rollout.rolling_out import identity_of

TASK = Task("t", "three", "train", "t")


class Three:
    """Ends after three actions, which it records."""

    def __init__(self) -> None:
        self.actions: list[str] = []

    def reset(self, task: Task) -> Reset:
        return Reset("You see three doors.", "open them")

    def step(self, action: str) -> Step:
        self.actions.append(action)
        done = len(self.actions) == 3
        return Step(f"Door {len(self.actions)} opens.", done=done, success=done)

    def admissible_actions(self) -> None:
        return None

    def close(self) -> None:
        pass


@pytest.mark.parametrize("name", get_args(StyleName))
async def test_only_the_first_action_of_a_turn_is_executed_and_nothing_after_it_is_trained(
    model: str, name: StyleName
) -> None:
    style = new_style(name, "Open doors.", answer="{}")
    turns = [DemonstrationTurn("next", f"open door {n}", "It opens.", (("goal", "all"),)) for n in (1, 2, 3)]
    texts = [style.turn(turn)[0] for turn in turns]
    invented = "\nObservation: It opens.\nThought: done\nAction: leave"
    tokenizer = load_tokenizer(model)
    builder, environment = PromptBuilder(tokenizer, style), Three()
    replies = tuple(text + invented for text in texts)
    engine = ScriptedEngine(ScriptedConfig(tokenizer="-", replies=replies), tokenizer)
    config = AgentConfig(max_steps=3, max_tokens=10_000, sampling=Sampling(max_tokens=500))
    episode = await run_episode(TASK, environment, engine, builder, config, identity_of(TASK))
    assert episode.outcome.success
    assert environment.actions == [style.parse(text).action for text in texts]
    acts = [segment.text.strip() for segment in episode.segments if segment.kind is Kind.ACT]
    assert acts == environment.actions
    assert "".join(s.text for s in episode.segments if s.kind is Kind.TRAILING) == invented * 3
    sequence = to_sequence(episode, ["generated"])
    trained = builder.tokenizer.decode(sequence.token_ids[np.flatnonzero(sequence.weights["generated"])].tolist())
    assert trained == "".join(f"{text}<|end|>" for text in texts)
    assert "leave" not in builder.tokenizer.decode(sequence.token_ids.tolist())
