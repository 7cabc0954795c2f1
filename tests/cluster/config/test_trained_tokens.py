"""What the shipped recipes train: the end of a turn after its action, and no text that a model wrote after it."""

from __future__ import annotations

import numpy as np
import pytest

from cluster.config.load import load_recipe, recipe_names
from learner.data.streams import to_sequence
from rollout.environment import Task
from rollout.trajectory import Author, Kind, Outcome, Policy, Segment, StopReason, Trajectory
from tests.rollout.rolling_out import identity_of

ACTION, TRAILING, END, TEMPLATE_END = 3, 4, 5, 6
SEGMENTS = (
    Segment(Kind.TASK, Author.PROMPT, 0, "", (1,)),
    Segment(Kind.REASON, Author.MODEL, 1, "", (2,)),
    Segment(Kind.ACT, Author.MODEL, 1, "", (ACTION,)),
    Segment(Kind.TRAILING, Author.MODEL, 1, "", (TRAILING,)),
    Segment(Kind.FORMAT, Author.MODEL, 1, "", (END,)),
    Segment(Kind.OBSERVATION, Author.ENVIRONMENT, 1, "", (7,)),
    Segment(Kind.ACT, Author.MODEL, 2, "", (ACTION,)),
    Segment(Kind.FORMAT, Author.TEMPLATE, 2, "", (TEMPLATE_END,)),
)


LEARNERS = {name: learner for name in recipe_names() if (learner := load_recipe(name).learner) is not None}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_recipe_trains_the_end_of_turn_after_the_action_and_no_trailing_text(name: str) -> None:
    terms = LEARNERS[name].terms
    identity = identity_of(Task("t", "toy", "train", "t"))
    outcome = Outcome(1.0, True, StopReason.SUCCESS)
    episode = Trajectory(identity, Policy("m", 0, "react", "{}", "{}"), outcome, SEGMENTS)
    sequence = to_sequence(episode, [term.weight_name for term in terms])
    trained = {int(t) for w in sequence.weights.values() for t in sequence.token_ids[np.flatnonzero(w)]}
    ids = sequence.token_ids.tolist()
    assert ids[ids.index(END) - 1] == ACTION
    assert {ACTION, END} <= trained
    assert TRAILING not in ids
    assert (TEMPLATE_END in trained) == any(term.stream == "all" for term in terms)
