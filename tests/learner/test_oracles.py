"""Divergences equal TRL's on the same distributions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from learner.losses.divergences import forward_kl, jsd, reverse_kl
from rollout.prompts.alignment import aligned_groups
from tests.learner.toys import uld_of

pytest.importorskip("trl", reason="TRL is not installed: pip install trl")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return 3.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_jsd_over_the_whole_vocabulary_equals_trls(beta: float, temperature: float) -> None:
    """TRL does not multiply by temperature squared."""
    from trl.experimental.gkd import GKDTrainer

    student, teacher = normal(50, 30, seed=0), normal(50, 30, seed=1)
    ids = torch.arange(30).expand(50, 30)
    entries = ids, teacher.log_softmax(dim=1), torch.zeros(50)
    theirs = GKDTrainer.generalized_jsd_loss(student[None], teacher[None], None, beta, temperature, "none")[0].sum(1)
    ours = jsd(student, *entries, temperature=temperature, beta=beta) / temperature**2
    assert torch.allclose(ours, theirs, atol=1e-5, rtol=1e-5)
    if beta in (0.0, 1.0):
        end = reverse_kl if beta else forward_kl
        assert torch.allclose(end(student, *entries, temperature=temperature) / temperature**2, theirs, atol=1e-5)


def trl_uld() -> Any:
    from trl.experimental.gold.gold_trainer import ULDLoss

    names = "uld_crossentropy_weight uld_distillation_weight uld_student_temperature uld_teacher_temperature"
    settings = dict.fromkeys(names.split(), 1.0) | {"uld_skip_student_eos": False, "uld_skip_teacher_eos": False}
    return ULDLoss(SimpleNamespace(**settings, use_extended_uld=True, uld_token_merge_strategy="observed"))


@pytest.mark.slow
def test_aligned_groups_and_their_distances_equal_trls() -> None:
    """A text of 9 characters with 6 teacher tokens and 5 student tokens; boundaries coincide after 3, 4 and 9."""
    teacher_ends, student_ends = [1, 3, 4, 6, 8, 9], [2, 3, 4, 7, 9]
    loss = trl_uld()
    theirs = loss._align_by_byte_offsets([[0, end] for end in student_ends], [[0, end] for end in teacher_ends])
    ours = aligned_groups(teacher_ends, student_ends)
    assert ([list(student) for _, student in ours], [list(teacher) for teacher, _ in ours]) == theirs
    student, teacher = normal(5, 11, seed=2), normal(6, 17, seed=3)
    student_ids, teacher_ids = [3, 0, 10, 5, 5], [16, 2, 9, 1, 0, 4]
    merged = [
        loss._merge_probabilities_with_alignment_groups(logits.softmax(dim=1), groups, ids).sort(dim=1, descending=True)
        for logits, groups, ids in zip((student, teacher), theirs, (student_ids, teacher_ids), strict=True)
    ]
    padded = torch.nn.functional.pad(merged[0].values, (0, 6))
    expected = (padded - merged[1].values).abs().sum(dim=1)
    values = uld_of(student, student_ids, teacher, teacher_ids, ours)
    assert torch.allclose(values[[part.start for _, part in ours]], expected, atol=1e-5)
    assert values.count_nonzero() == len(ours)
