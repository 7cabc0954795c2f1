"""Where two tokenizations of one text agree, and the teacher's scores on the stretches between.

A stretch is a minimal piece of text that is made of whole tokens on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rollout.trajectory import TopK

LEAST_LOGPROB = math.log(1e-8)
"""Of a token within a stretch; the same as TRL's."""
Stretch = tuple[range, range]
"""The teacher's tokens, and the student's."""


def stretches(teacher_ends: Sequence[int], student_ends: Sequence[int]) -> list[Stretch]:
    """Cut two tokenizations of one text where they have a common boundary, as often as possible.

    Args:
        teacher_ends, student_ends: the place in the text at which each token ends, never falling; a token that ends
            inside a character has the end of that character. Both reach the end of the text.
    """
    common = sorted({*teacher_ends} & {*student_ends} - {0})
    teacher, student = (np.searchsorted(ends, common, side="right") for ends in (teacher_ends, student_ends))
    return [
        (range(*teacher_part), range(*student_part))
        for teacher_part, student_part in zip(
            pairwise([0, *teacher.tolist()]), pairwise([0, *student.tolist()]), strict=True
        )
    ]


def align_scores(scores: TopK, taken: Sequence[int], parts: Sequence[Stretch], num_student_tokens: int) -> TopK:
    """The teacher's scores by stretch: one row at the student's first token of each, no entries elsewhere.

    A row is the teacher's distribution at the first token of the stretch, times its probabilities of the further tokens
    that were taken; one outside the recorded top-k counts with the whole tail's mass, which is the most it can be. The
    entries' ids stay the teacher's. A stretch with a token that was never scored has no entries.
    """
    rows: list[tuple[tuple[int, ...], tuple[float, ...], float]] = [((), (), 0.0)] * num_student_tokens
    for teacher, student in parts:
        if all(scores.token_ids[i] for i in teacher):
            rest = sum(_taken_logprob(scores, i, taken[i]) for i in teacher[1:])
            head = teacher.start
            logprobs = tuple(logprob + rest for logprob in scores.logprobs[head])
            rows[student.start] = (scores.token_ids[head], logprobs, scores.tail_mass[head] * math.exp(rest))
    return TopK(tuple(row[0] for row in rows), tuple(row[1] for row in rows), tuple(row[2] for row in rows))


def _taken_logprob(scores: TopK, place: int, token: int) -> float:
    ids = scores.token_ids[place]
    if token in ids:
        return max(scores.logprobs[place][ids.index(token)], LEAST_LOGPROB)
    return math.log(max(scores.tail_mass[place], 1e-8))
