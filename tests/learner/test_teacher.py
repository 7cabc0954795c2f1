"""A frozen teacher in the learner's process: what it reads, what it refuses, and what a fit with it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from learner.config import LearnerConfig
from learner.fit import fit
from learner.head import check_head
from learner.losses.chunked import ChunkedLoss
from learner.losses.objective import term_coefficients
from learner.teacher import FrozenTeacher, load_teacher
from learner.terms import ForwardKLTerm
from rollout.errors import UserError
from tests.learner.losses.test_objective import batch_of
from tests.learner.test_fit import SMALL
from tests.learner.toys import toy_model, toy_tokenizer, toy_trajectory

EXACT = ({"stream": "generated", "divergence": "jsd", "signal": "exact"},)


def saved(folder: Path, model: Any) -> str:
    model.save_pretrained(folder)
    return toy_tokenizer(folder)


def config(tmp_path: Path, teacher: str | None, **changes: Any) -> LearnerConfig:
    scratch = {"tokenizer": toy_tokenizer(tmp_path / "tokenizer"), **SMALL}
    base = {"scratch": scratch, "terms": EXACT, "epochs": 10, "batch_episodes": 4, "learning_rate": 1e-2}
    return LearnerConfig.model_validate({**base, "teacher": {"model": teacher, "precision": "float32"}, **changes})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_student_that_is_the_teacher_has_no_loss_and_no_gradient(precision: str) -> None:
    terms = (ForwardKLTerm(stream="generated", signal="exact"),)
    student, batch = toy_model(), batch_of((ForwardKLTerm(stream="generated"),), range(2))
    teacher = FrozenTeacher(toy_model().to(getattr(torch, precision)))
    coefficients = term_coefficients(terms, batch.weights.sum(axis=1))
    loss_of = ChunkedLoss(student, terms, teacher)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        loss, _ = loss_of({"input_ids": torch.from_numpy(batch.input_ids)}, batch, coefficients)
    loss.backward()
    assert abs(float(loss.detach())) < (1e-6 if precision == "float32" else 1e-3)
    largest = max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None)
    assert largest < (1e-6 if precision == "float32" else 2e-2)
    assert len(list(loss_of.parameters())) == len(list(student.parameters()))  # the teacher is not trained


def test_a_fit_approaches_its_teacher_without_recorded_scores(tmp_path: Path) -> None:
    teacher = saved(tmp_path / "teacher", toy_model(seed=1))
    episodes = [toy_trajectory(seed) for seed in range(8)]
    result = fit(config(tmp_path, teacher), episodes, str(tmp_path / "out"))
    assert 0.0 < result.loss_last < 0.7 * result.loss_first


def test_a_teacher_that_cannot_be_compared_is_refused_in_one_sentence(tmp_path: Path) -> None:
    other, student = saved(tmp_path / "other", toy_model()), toy_tokenizer(tmp_path / "tokenizer")
    file = tmp_path / "other" / "tokenizer.json"
    file.write_text(file.read_text().replace('"w7"', '"w99"'))
    with pytest.raises(UserError, match="tokenizers of .*learner.teacher.model.* differ"):
        load_teacher(config(tmp_path, other), student)
    with pytest.raises(UserError, match=r"set learner\.teacher\.model"):
        load_teacher(config(tmp_path, None), student)
    none = LearnerConfig(epochs=1, batch_episodes=1)
    assert load_teacher(none, student) is None


def test_the_head_of_a_teacher_is_checked_too() -> None:
    check_head(toy_model().to(torch.bfloat16))
