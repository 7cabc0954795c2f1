"""ULD compares probabilities by rank per aligned group, and a truncated teacher gives a lower bound."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learner.losses.uld import uld
from rollout.prompts.alignment import align_scores, aligned_groups
from rollout.trajectory import TopK
from tests.learner.toys import uld_of


def test_a_group_of_one_token_equals_a_value_computed_by_hand() -> None:
    """Teacher 0.6, 0.3 and a tail of 0.1; student 0.2, 0.5, 0.3, so 0.5, 0.3 by rank and 0.2 in the tail."""
    student = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))
    one = torch.tensor([1])
    entries = torch.log(torch.tensor([[0.3, 0.6]])), torch.tensor([0.1])
    value = uld(student, torch.tensor([0]), one - 1, one, *entries)
    assert value.tolist() == pytest.approx([0.1 + 0.0 + 0.1], abs=1e-6)


def test_the_students_distribution_is_scaled_by_the_groups_other_recorded_tokens() -> None:
    """The student needs two tokens: its first distribution (0.75, 0.25), times 0.4, the second token's probability.

    The third token is outside the group and has no effect.
    """
    student = torch.log(torch.tensor([[0.75, 0.25], [0.6, 0.4], [0.5, 0.5]])).requires_grad_()
    scored = torch.zeros(1, dtype=torch.long), torch.tensor([2])
    entries = torch.log(torch.tensor([[0.9, 0.1]])), torch.tensor([0.0])
    value = uld(student, torch.tensor([0, 1, 0]), *scored, *entries)
    assert value.tolist() == pytest.approx([(0.9 - 0.3) + 0.0, 0.0, 0.0], abs=1e-6)
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad[1, 1] < 0.0  # the distance falls if the second token becomes likelier


def test_the_teachers_distribution_is_scaled_by_the_groups_other_recorded_tokens() -> None:
    """Three teacher tokens align with two student tokens; the third is not among the entries, so it gets the tail."""
    scores = TopK(
        ((7, 8), (5,), (4,)), ((math.log(0.5), math.log(0.25)), (math.log(0.8),), (math.log(0.9),)), (0.25, 0.2, 0.1)
    )
    aligned = align_scores(scores, (8, 5, 6), [(range(0, 3), range(0, 2))], 2)
    assert aligned.token_ids == ((7, 8), ())
    assert [math.exp(lp) for lp in aligned.logprobs[0]] == pytest.approx([0.5 * 0.08, 0.25 * 0.08], rel=1e-5)
    assert aligned.tail_mass == pytest.approx((0.25 * 0.08, 0.0), rel=1e-5)


def test_a_group_with_an_unscored_token_has_no_entries() -> None:
    scores = TopK(((7,), ()), ((-0.1,), ()), (0.1, 0.0))
    assert align_scores(scores, (7, 5), [(range(0, 2), range(0, 1))], 1).token_ids == ((),)


ENDS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@given(ENDS, ENDS)
def test_groups_cover_both_tokenizations_and_contain_no_common_boundary(a: list[int], b: list[int]) -> None:
    total = sum(a) + sum(b) + 1
    teacher, student = ([*(sum(ends[: i + 1]) for i in range(len(ends))), total] for ends in (a, b))
    parts = aligned_groups(teacher, student)
    assert [i for part, _ in parts for i in part] == list(range(len(teacher)))
    assert [i for _, part in parts for i in part] == list(range(len(student)))
    for left, right in parts:
        assert teacher[left[-1]] == student[right[-1]]
        inside = {teacher[i] for i in left} & {student[i] for i in right} - {0}
        assert inside == {teacher[left[-1]]}


def by_rank(probabilities: torch.Tensor, length: int) -> torch.Tensor:
    ranked = probabilities.sort(descending=True).values
    return torch.nn.functional.pad(ranked, (0, length - len(ranked)))


def test_entries_that_are_the_teachers_whole_vocabulary_give_the_distance_over_all_ranks() -> None:
    """Vocabularies of 7 and 10; the student has two tokens in the first group, the teacher in the second."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2.0 * torch.randn(3, size, generator=generator) for size in (7, 10))
    q, p = student.softmax(dim=1), teacher.softmax(dim=1)
    expected = [
        (by_rank(q[0] * q[1, 2], 10) - by_rank(p[0], 10)).abs().sum(),
        (by_rank(q[2], 10) - by_rank(p[1] * p[2, 3], 10)).abs().sum(),
    ]
    parts = [(range(0, 1), range(0, 2)), (range(1, 3), range(2, 3))]
    values = uld_of(student, [1, 2, 0], teacher, [0, 0, 3], parts)
    assert values.tolist() == pytest.approx([float(expected[0]), 0.0, float(expected[1])], abs=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_a_truncated_teacher_gives_at_most_the_distance_over_all_ranks(seed: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (2.0 * torch.randn(3, size, generator=generator) for size in (7, 10))
    given = student, [1, 2, 0], teacher, [0, 0, 3], [(range(i, i + 1), range(i, i + 1)) for i in range(3)]
    assert torch.all(uld_of(*given, k) <= uld_of(*given) + 1e-5)
