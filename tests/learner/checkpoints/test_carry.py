"""Rounds continue from float32 weights and moments, also where checkpoints are rounded to bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from learner.config import LearnerConfig
from learner.fit import fit
from tests.learner.toys import toy_tokenizer, toy_trajectory

SMALL = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2, "intermediate_size": 16}
EPISODES = [toy_trajectory(seed) for seed in range(8)]


def settings(tmp_path: Path, **changes: Any) -> LearnerConfig:
    scratch = {"tokenizer": toy_tokenizer(tmp_path / "tokenizer"), **SMALL}
    terms = ({"stream": "generated", "divergence": "cross_entropy"},)
    base = {"scratch": scratch, "terms": terms, "batch_episodes": 4, "epochs": 1, "learning_rate": 1e-6}
    return LearnerConfig.model_validate({**base, **changes})


def trained(tmp_path: Path, name: str, notes: list[str] | None = None, **arguments: Any) -> dict[str, torch.Tensor]:
    """Train from ``rounded``, saving float32; returns the weights."""
    carry = arguments.pop("carry_optimizer", True)
    config = settings(tmp_path, saved_precision="float32", carry_optimizer=carry)
    base = str(tmp_path / arguments.pop("base", "rounded"))
    note = (notes if notes is not None else []).append
    fit(config, EPISODES, str(tmp_path / name), base_model=base, on_note=note, **arguments)
    return load_file(tmp_path / name / "model.safetensors")


@pytest.fixture
def first_round(tmp_path: Path) -> str:
    """A first round whose checkpoint is ``rounded``, and the same with a checkpoint in float32, ``exact``."""
    state = tmp_path / ".state"
    rounded = settings(tmp_path, saved_precision="bfloat16")
    fit(rounded, EPISODES, str(tmp_path / "rounded"), state_folder=str(state))
    fit(settings(tmp_path), EPISODES, str(tmp_path / "exact"))
    return str(state)


def test_a_round_continues_from_weights_that_were_not_rounded(tmp_path: Path, first_round: str) -> None:
    expected = trained(tmp_path, "expected", base="exact")
    found = trained(tmp_path, "found", initial_state=first_round, carry_optimizer=False)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    from_rounded = trained(tmp_path, "from-rounded")
    assert not all(torch.equal(expected[name], from_rounded[name]) for name in expected)


def test_the_optimizer_goes_on_with_its_moments(tmp_path: Path, first_round: str) -> None:
    """The first update of a new AdamW is the sign of the gradient, which another history changes."""
    new = trained(tmp_path, "new", initial_state=first_round, carry_optimizer=False)
    carried = trained(tmp_path, "carried", initial_state=first_round)
    assert not all(torch.equal(new[name], carried[name]) for name in new)


def test_a_state_that_cannot_be_used_is_named(tmp_path: Path, first_round: str) -> None:
    (about,) = Path(first_round).glob("*/*.json")
    about.unlink()
    notes: list[str] = []
    found = trained(tmp_path, "found", notes, initial_state=first_round)
    assert len(notes) == 1
    assert "rounded weights" in notes[0]
    assert "incomplete" in notes[0]
    from_rounded = trained(tmp_path, "from-rounded")
    assert all(torch.equal(from_rounded[name], found[name]) for name in found)


def test_a_state_of_another_checkpoint_is_not_used(tmp_path: Path, first_round: str) -> None:
    notes: list[str] = []
    trained(tmp_path, "found", notes, base="exact", initial_state=first_round)
    assert len(notes) == 1
    assert "cannot be used" in notes[0]
