"""Tests of the training loop.

1. A toy model overfits toy episodes, and its checkpoint computes the same function.
2. The same arguments give the same weights, also if the fit was killed and resumed.
3. Budgets of epochs, tokens and seconds end a fit; so does ``should_stop``.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from learner.config import LearnerConfig
from learner.fit import fit
from learner.reports import StepReport
from rollout.errors import UserError
from tests.learner.toys import toy_tokenizer, toy_trajectory

ROOT = Path(__file__).resolve().parents[2]
EXTENSIONS = ROOT / ".pytest_cache" / "torch_extensions"
"""Where DeepSpeed compiles what it needs on a CPU, once for this checkout."""
EPISODES = [toy_trajectory(seed, k=4) for seed in range(20)]
SMALL = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 2, "intermediate_size": 64}
CE = ({"stream": "generated", "divergence": "cross_entropy"},)
KL = ({"stream": "reason", "divergence": "forward_kl"}, {"stream": "act", "divergence": "forward_kl", "weight": 2.0})


def settings(tmp_path: Path, **changes: Any) -> LearnerConfig:
    tokenizer = toy_tokenizer(tmp_path / "tokenizer")
    base = {"scratch": {"tokenizer": tokenizer, **SMALL}, "terms": CE, "batch_episodes": 4, "learning_rate": 1e-2}
    return LearnerConfig.model_validate({**base, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_equal_weights(one: Path, other: Path) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_toy_model_overfits_and_its_checkpoint_predicts_the_episodes(tmp_path: Path) -> None:
    result = fit(settings(tmp_path, epochs=40), EPISODES, str(tmp_path / "out"))
    assert result.steps == 200
    assert result.loss_first > 3.0
    assert result.loss_last < 0.3
    model = AutoModelForCausalLM.from_pretrained(result.checkpoint, dtype=torch.float32).eval()
    ids = torch.tensor([EPISODES[0].token_ids])
    loss = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
    generated = torch.tensor([s.author == "model" for s in EPISODES[0].segments for _ in s.token_ids])[1:]
    assert loss[generated].mean() < 0.3
    assert loss[~generated].mean() > 3.0  # tokens without weight are not learned


def test_weights_are_saved_in_the_configured_precision(tmp_path: Path) -> None:
    whole, half = (
        fit(settings(tmp_path, epochs=1, saved_precision=precision), EPISODES, str(tmp_path / str(precision)))
        for precision in (None, "bfloat16")
    )
    saved, rounded = weights(Path(whole.checkpoint)), weights(Path(half.checkpoint))
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert all(torch.equal(rounded[name], tensor.to(torch.bfloat16)) for name, tensor in saved.items())


def test_distillation_from_scores_approaches_the_teacher(tmp_path: Path) -> None:
    result = fit(settings(tmp_path, epochs=30, terms=KL), EPISODES, str(tmp_path / "out"))
    assert result.loss_last < result.loss_first / 4


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_same_arguments_give_the_same_weights(tmp_path: Path, optimizer: str) -> None:
    config = settings(tmp_path, epochs=2, optimizer=optimizer)
    for name in ("one", "two"):
        fit(config, EPISODES, str(tmp_path / name))
    assert_equal_weights(tmp_path / "one", tmp_path / "two")


class KilledError(Exception):
    """Simulates SIGKILL between two steps."""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_fit_resumes_and_ends_with_the_same_weights(tmp_path: Path, optimizer: str) -> None:
    """It is killed within an epoch, a step or more after its last intermediate checkpoint."""
    config = settings(tmp_path, epochs=3, optimizer=optimizer, checkpoint_every_s=1e-9)
    fit(config, EPISODES, str(tmp_path / "whole"))
    steps: list[int] = []

    def killed(report: StepReport) -> None:
        steps.append(report.step)
        if len(steps) == 8:
            raise KilledError

    with pytest.raises(KilledError):
        fit(config, EPISODES, str(tmp_path / "resumed"), on_step=killed)
    assert not (tmp_path / "resumed").exists()
    result = fit(config, EPISODES, str(tmp_path / "resumed"), on_step=killed)
    assert steps[:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert steps[8:] == list(range(steps[8], 16))
    assert 1 < steps[8] <= 8
    assert result.steps == 15
    assert result.tokens == 3 * sum(len(t.token_ids) for t in EPISODES)
    assert_equal_weights(tmp_path / "whole", tmp_path / "resumed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed", "tokenizer", "whole"]


@pytest.mark.parametrize("limit", [{"max_tokens": 1000}, {"epochs": 100, "max_seconds": 0.2}])
def test_a_budget_of_tokens_or_seconds_ends_a_fit(tmp_path: Path, limit: dict[str, Any]) -> None:
    reports: list[StepReport] = []
    result = fit(settings(tmp_path, **limit), EPISODES, str(tmp_path / "out"), on_step=reports.append)
    assert reports[-1].fraction == 1.0
    assert result.stopped_by == reports[-1].stopped_by == ("tokens" if "max_tokens" in limit else "seconds")
    assert all(report.fraction < 1.0 for report in reports[:-1])
    assert result.steps == len(reports) < 500


def test_a_sum_over_tokens_has_gradients_of_the_size_of_a_mean_and_other_updates(tmp_path: Path) -> None:
    """Spans of reasoning have more tokens than actions, so only the mean gives both streams the same weight."""
    norms = []
    for reduction in ("token_mean", "sum"):
        terms = [{"stream": s, "divergence": "cross_entropy", "reduction": reduction} for s in ("reason", "act")]
        reports: list[StepReport] = []
        config = settings(tmp_path, epochs=1, terms=terms)
        fit(config, EPISODES, str(tmp_path / reduction), on_step=reports.append)
        norms.append(reports[0].grad_norm)
    assert 0.3 < norms[1] / norms[0] < 1.1
    one, other = weights(tmp_path / "token_mean"), weights(tmp_path / "sum")
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_should_stop_ends_training_and_saves_the_model(tmp_path: Path) -> None:
    result = fit(settings(tmp_path, epochs=9), EPISODES, str(tmp_path / "out"), should_stop=lambda: True)
    assert (result.steps, result.stopped_by) == (1, "should_stop")
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_the_result_counts_processed_trained_and_skipped_data(tmp_path: Path) -> None:
    episodes = [*EPISODES[:6], toy_trajectory(99, success=False)]
    reports: list[StepReport] = []
    config = settings(tmp_path, epochs=1, terms=[{"stream": "act", "divergence": "cross_entropy"}])
    result = fit(config, iter(episodes), str(tmp_path / "out"), on_step=reports.append)
    assert (result.sequences, result.num_skipped) == (6, 1)
    assert result.tokens == sum(len(t.token_ids) for t in episodes[:6])
    assert result.trained_tokens == sum(t.num_tokens("act") for t in episodes[:6])  # type: ignore[arg-type]
    assert 0.0 < result.padding_share < 0.1
    assert (result.packed, result.dummy_passes, result.truncated_episodes) == (True, 0, 0)
    assert reports[0].term_values["act/cross_entropy"] == pytest.approx(reports[0].loss)


def test_a_pace_of_0_presents_easy_episodes_first(tmp_path: Path) -> None:
    episodes = [toy_trajectory(seed, turns=6 - seed) for seed in range(5)]
    tokens = [0]
    order = {"by": "complexity", "pace_fraction": 0.0}
    config = settings(tmp_path, epochs=1, batch_episodes=1, order=order)
    fit(config, episodes, str(tmp_path / "out"), on_step=lambda report: tokens.append(report.trained_tokens))
    sizes = [after - before for before, after in itertools.pairwise(tokens)]
    assert sizes == sorted(sizes)


def test_a_curriculum_uses_its_whole_budget_and_ends_with_whole_epochs(tmp_path: Path) -> None:
    """The first of three epochs is the curriculum, which presents as many tokens as the others."""
    reports: list[StepReport] = []
    config = settings(tmp_path, epochs=3, order={"by": "complexity"})
    result = fit(config, EPISODES, str(tmp_path / "out"), on_step=reports.append)
    total = sum(len(t.token_ids) for t in EPISODES)
    assert result.tokens == pytest.approx(3 * total, abs=200)
    assert reports[-1].tokens - max(r.tokens for r in reports if r.epoch == 0) == 2 * total
    assert [r.fraction for r in reports] == sorted(r.fraction for r in reports)


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_packed_and_padded_rows_train_the_same_steps(tmp_path: Path, kind: str) -> None:
    """Small passes, so that gradients are accumulated; a model without AttentionInterface is padded with a note."""
    reports: dict[str, list[StepReport]] = {"auto": [], kind: []}
    for packing, found in reports.items():
        config = settings(tmp_path, epochs=1, terms=KL, packing=packing, micro_batch_tokens=150)
        result = fit(config, EPISODES, str(tmp_path / f"{packing}-out"), on_step=found.append)
        assert (result.packed, result.notes) == (packing != "padded", ())
        assert not result.packed or result.padding_share < 0.05
    assert [r.loss for r in reports[kind]] == pytest.approx([r.loss for r in reports["auto"]], rel=1e-4)


def test_truncation_and_the_reason_for_padding_are_in_the_result(tmp_path: Path) -> None:
    toy_tokenizer(tmp_path / "falcon")
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("falcon", alibi=True, **sizes))
    model.save_pretrained(tmp_path / "falcon")
    config = settings(tmp_path, scratch=None, epochs=1, max_sequence_tokens=40)
    result = fit(config, EPISODES, str(tmp_path / "out"), base_model=str(tmp_path / "falcon"))
    assert not result.packed
    assert "models of type 'falcon' do not take another attention function" in result.notes[0]
    beyond = [len(t.token_ids) - 40 for t in EPISODES if len(t.token_ids) > 40]
    assert (result.truncated_episodes, result.truncated_tokens) == (len(beyond), sum(beyond))
    assert 0 < result.truncated_trained_tokens < result.truncated_tokens


def test_a_checkpoint_does_not_name_the_attention_function_of_training(tmp_path: Path) -> None:
    fit(settings(tmp_path, epochs=1), EPISODES, str(tmp_path / "out"))
    assert "packed" not in (tmp_path / "out" / "config.json").read_text()


def test_only_adapters_are_trained_and_saved(tmp_path: Path) -> None:
    import peft

    fit(settings(tmp_path, epochs=15), EPISODES, str(tmp_path / "base"))
    tuned = settings(tmp_path, scratch=None, lora={"rank": 8}, epochs=8)
    result = fit(tuned, EPISODES, str(tmp_path / "adapter"), base_model=str(tmp_path / "base"))
    assert result.loss_last < result.loss_first - 0.2
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    ids = torch.tensor([EPISODES[0].token_ids])
    before = base(ids).logits.detach()
    after = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"))(ids).logits
    assert not torch.allclose(before, after, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "episodes", "sentence"),
    [
        ({}, [], "none of 0 trajectories"),
        ({}, [toy_trajectory(0, success=False)], "keep=success"),
        ({"terms": KL}, [toy_trajectory(0)], "forward_kl on stream 'reason' needs teacher scores"),
        ({"learning_rate": 1e30, "warmup_fraction": 0.0, "epochs": 20}, EPISODES, "lower learner.learning_rate"),
    ],
)
def test_bad_input_is_rejected_in_one_sentence(
    tmp_path: Path, changes: dict[str, Any], episodes: list[Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        fit(settings(tmp_path, **{"epochs": 1, **changes}), episodes, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_existing_output_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists"):
        fit(settings(tmp_path, epochs=1), EPISODES, str(tmp_path))


@pytest.mark.slow
def test_compiled_layers_compute_the_same(tmp_path: Path) -> None:
    losses: list[list[float]] = [[], []]
    for compiled in (False, True):
        config = settings(tmp_path, epochs=1, compile=compiled)
        out = str(tmp_path / f"compiled-{compiled}")
        fit(config, EPISODES, out, on_step=lambda report, to=losses[compiled]: to.append(report.loss))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
