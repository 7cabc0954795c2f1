"""Alignment of two tokenizations of one text, and the teacher's scores per aligned group.

An aligned group is a minimal piece of text that consists of whole tokens in both tokenizations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rollout.trajectory import TopK

MIN_LOGPROB = math.log(1e-8)
"""Lower bound on the log-probability of a recorded token in a group; the same as TRL's."""
AlignedGroup = tuple[range, range]
"""Indices of the teacher's tokens and of the student's tokens."""


def aligned_groups(teacher_ends: Sequence[int], student_ends: Sequence[int]) -> list[AlignedGroup]:
    """Split two tokenizations of one text at every common token boundary.

    Args:
        teacher_ends, student_ends: character offset at which each token ends, non-decreasing. A token that ends inside
            a character has the end of that character. Both reach the end of the text.
    """
    common = sorted({*teacher_ends} & {*student_ends} - {0})
    teacher, student = (np.searchsorted(ends, common, side="right") for ends in (teacher_ends, student_ends))
    return [
        (range(*teacher_part), range(*student_part))
        for teacher_part, student_part in zip(
            pairwise([0, *teacher.tolist()]), pairwise([0, *student.tolist()]), strict=True
        )
    ]


def align_scores(scores: TopK, taken: Sequence[int], parts: Sequence[AlignedGroup], num_student_tokens: int) -> TopK:
    """Return the teacher's scores per group: one row at the student's first token of each group, none elsewhere.

    A row is the teacher's distribution at the first token of the group, times its probabilities of the group's other
    recorded tokens. A token outside the recorded top-k gets the probability of the whole tail, its upper bound. Entries
    keep the teacher's ids. A group with an unscored token has no entries.
    """
    rows: list[tuple[tuple[int, ...], tuple[float, ...], float]] = [((), (), 0.0)] * num_student_tokens
    for teacher, student in parts:
        if all(scores.token_ids[i] for i in teacher):
            rest = sum(_taken_logprob(scores, i, taken[i]) for i in teacher[1:])
            head = teacher.start
            logprobs = tuple(logprob + rest for logprob in scores.logprobs[head])
            rows[student.start] = (scores.token_ids[head], logprobs, scores.tail_mass[head] * math.exp(rest))
    columns = (tuple(row[0] for row in rows), tuple(row[1] for row in rows), tuple(row[2] for row in rows))
    return TopK(*columns, scores.model)


def _taken_logprob(scores: TopK, place: int, token: int) -> float:
    ids = scores.token_ids[place]
    if token in ids:
        return max(scores.logprobs[place][ids.index(token)], MIN_LOGPROB)
    return math.log(max(scores.tail_mass[place], 1e-8))
