"""Tests of the training loop.

1. A toy model overfits toy episodes, and its checkpoint computes the same function.
2. The same arguments give the same weights, also if the fit was killed and resumed.
3. Budgets of epochs, tokens and seconds end a fit; so does ``should_stop``.
4. Two processes under DDP, FSDP2 or DeepSpeed compute what one does, and resume where they were killed.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from learner.config import LearnerConfig
from learner.fit import StepReport, fit
from rollout.errors import UserError
from tests.learner.toys import small_model, toy_model, toy_tokenizer, toy_trajectory

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


def run_two_ranks(tmp_path: Path, configs: dict[str, LearnerConfig], kill_after: int = 0) -> list[list[dict[str, Any]]]:
    """Train each config in two processes on ``EPISODES``; return rank 0's step reports of each."""
    for name, config in configs.items():
        (tmp_path / f"{name}.json").write_text(config.model_dump_json())
    command = [sys.executable, str(Path(__file__).parent / "two_ranks.py"), str(tmp_path)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TORCH_EXTENSIONS_DIR": str(EXTENSIONS),
    }
    for lock in EXTENSIONS.rglob("lock"):
        lock.unlink()  # of a run that was killed while it compiled: PyTorch would wait for it without a limit
    processes = [
        subprocess.Popen([*command, rank, str(kill_after), *configs], env={**environment, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    try:
        codes = [process.wait(timeout=850) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == ([0, 0] if not kill_after else [3, 3])
    return [[json.loads(line) for line in (tmp_path / f"{name}.steps").read_text().splitlines()] for name in configs]


ZERO = {stage: {"strategy": "deepspeed", "zero_stage": stage} for stage in (1, 2, 3)}
FSDP2 = {"strategy": "fsdp2"}
RECOMPUTE, OFFLOAD, HALF = {"recompute_activations": True}, {"cpu_offload": True}, {"precision": "bfloat16"}
REFERENCES: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"lora": {"rank": 4}},
    "gpt2": {"model": "gpt2"},
    "bfloat16": HALF,
    "exact": {
        "terms": [{"stream": "generated", "divergence": "reverse_kl", "signal": "exact"}],
        "teacher": {"model": "gpt2", "precision": "float32"},
    },
}
"""Settings of one process, by name."""
QUICK: dict[str, tuple[str, dict[str, Any]]] = {
    "ddp": ("plain", {}),
    "fsdp2": ("plain", FSDP2),
    "fsdp2-lora": ("lora", FSDP2),
}
"""Settings of two processes by name, with the name of the reference that they follow."""
SLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "ddp-lora": ("lora", {}),
    "fsdp2-recompute": ("plain", FSDP2 | RECOMPUTE),
    "fsdp2-offload": ("plain", FSDP2 | OFFLOAD),
    "fsdp2-lora-recompute": ("lora", FSDP2 | RECOMPUTE),
    "fsdp2-gpt2": ("gpt2", FSDP2),
    **{f"zero{stage}": ("plain", zero) for stage, zero in ZERO.items()},
    **{f"zero{stage}-lora": ("lora", zero) for stage, zero in ZERO.items()},
    **{f"zero{stage}-offload": ("plain", zero | OFFLOAD) for stage, zero in ZERO.items()},
    "zero3-recompute": ("plain", ZERO[3] | RECOMPUTE),
    "zero3-lora-recompute": ("lora", ZERO[3] | RECOMPUTE),
    "zero3-gpt2": ("gpt2", ZERO[3]),
    "fsdp2-exact": ("exact", FSDP2),
    "zero3-exact": ("exact", ZERO[3]),
    "fsdp2-bfloat16": ("bfloat16", FSDP2),
    "zero2-bfloat16": ("bfloat16", ZERO[2]),
    "zero3-bfloat16": ("bfloat16", ZERO[3]),
}


def two_rank_config(folder: Path, reference: str, changes: dict[str, Any]) -> LearnerConfig:
    """Twenty-one steps from a folder with bfloat16 weights.

    Three episodes a step and small passes: ranks have unequal work, and gradients are accumulated.
    """
    terms = [
        *KL,
        {"stream": "format", "divergence": "cross_entropy"},
        {"stream": "generated", "divergence": "jsd", "reduction": "span_mean"},
        {"stream": "random", "divergence": "cross_entropy"},
    ]
    base = {"model": "qwen2", "terms": terms, "epochs": 3, "batch_episodes": 3, "micro_batch_tokens": 64,
            "learning_rate": 1e-3, "warmup_fraction": 0.0, "weight_decay": 0.3}  # fmt: skip
    merged = {**base, **REFERENCES[reference], **changes}
    if "teacher" in merged:
        merged["teacher"] = {**merged["teacher"], "model": str(folder / merged["teacher"]["model"])}
    return LearnerConfig.model_validate({**merged, "model": str(folder / merged["model"])})


def follows(folder: Path, name: str, reference: str, steps: list[dict[str, Any]]) -> None:
    """Train the reference in this process, unless that was done, and compare steps and weights."""
    alone, log = folder / f"{reference}-alone", folder / f"{reference}.log"
    if not alone.exists():
        reports: list[StepReport] = []
        fit(two_rank_config(folder, reference, {}), EPISODES, str(alone), on_step=reports.append)
        log.write_text(json.dumps([[report.loss, report.grad_norm] for report in reports]))
    rounding = 1e-6 if reference != "bfloat16" else 1e-2
    # The gradient of GPT-2's key biases is zero but for rounding, which AdamW scales up.
    of_weights = 1e-5 if reference == "gpt2" else rounding
    expected = json.loads(log.read_text())
    assert len(expected) == 21
    assert [r["loss"] for r in steps] == pytest.approx([loss for loss, _ in expected], rel=rounding)
    assert [r["grad_norm"] for r in steps] == pytest.approx([norm for _, norm in expected], rel=rounding)
    (file,) = alone.glob("*.safetensors")
    left, right = load_file(file), load_file(folder / name / file.name)
    assert left.keys() == right.keys()
    for key in left:
        torch.testing.assert_close(right[key].float(), left[key].float(), rtol=0.0, atol=of_weights)


def train_all(folder: Path, cases: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Train all cases by one pair of processes, because starting a pair takes longer; return their step reports."""
    for name, model in (("qwen2", toy_model()), ("gpt2", small_model("gpt2"))):
        model.to(torch.bfloat16).save_pretrained(folder / name)
        toy_tokenizer(folder / name)
    configs = {name: two_rank_config(folder, *case) for name, case in cases.items()}
    return dict(zip(configs, run_two_ranks(folder, configs), strict=True))


@pytest.mark.timeout(900)
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    for name, steps in train_all(tmp_path, QUICK).items():
        follows(tmp_path, name, QUICK[name][0], steps)


@pytest.fixture(scope="module")
def all_strategies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    pytest.importorskip("deepspeed")
    folder = tmp_path_factory.mktemp("two-ranks")
    return folder, train_all(folder, SLOW)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SLOW)
def test_two_processes_compute_what_one_does_with_every_strategy(
    all_strategies: tuple[Path, dict[str, list[dict[str, Any]]]], name: str
) -> None:
    """In bfloat16, FSDP2 rounds norms and sums between layers, which autocast does not."""
    folder, steps = all_strategies
    follows(folder, name, SLOW[name][0], steps[name])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_killed_processes_resume_at_their_last_checkpoint(tmp_path: Path) -> None:
    config = settings(tmp_path, epochs=1, batch_episodes=3, strategy="fsdp2", checkpoint_every_s=1e-9)
    (whole,) = run_two_ranks(tmp_path, {"whole": config})
    (first,) = run_two_ranks(tmp_path, {"resumed": config}, kill_after=4)
    (rest,) = run_two_ranks(tmp_path, {"resumed": config})
    start = rest[0]["step"]  # they are killed while a checkpoint is written
    assert [report["step"] for report in first + rest] == [1, 2, 3, 4, *range(start, 8)]
    assert [r["loss"] for r in rest] == [r["loss"] for r in whole[start - 1 :]]
    assert_equal_weights(tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_strategy_restores_weights_and_moments(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    sharding = {"ddp": {}, "fsdp2": FSDP2, **{f"zero{stage}": zero for stage, zero in ZERO.items()}}
    configs = {
        f"{name}{suffix}": settings(tmp_path, epochs=1, batch_episodes=3, checkpoint_every_s=1e-9, **changes)
        for name, changes in sharding.items()
        for suffix in ("", "-interrupted")
    }
    steps = dict(zip(configs, run_two_ranks(tmp_path, configs), strict=True))
    for name in sharding:
        whole, parts = steps[name], steps[f"{name}-interrupted"]
        start = parts[4]["step"]
        assert 1 < start <= 4, name
        assert [report["step"] for report in parts] == [1, 2, 3, 4, *range(start, 8)], name
        assert [r["loss"] for r in parts[4:]] == [r["loss"] for r in whole[start - 1 :]], name
        assert_equal_weights(tmp_path / name, tmp_path / f"{name}-interrupted")
