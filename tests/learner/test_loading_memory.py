"""Measured: how much memory each of two processes needs to load and save a model of 222 MB (110 M weights)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.learner.toys import toy_tokenizer

ROOT = Path(__file__).resolve().parents[2]
LAYER = 4 * 1024**2 + 3 * 1024 * 2816
"""Weights of the matrices of a layer."""
EMBEDDINGS = 8000 * 1024
WEIGHTS = 8 * LAYER + EMBEDDINGS
MIB = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loading")
    config = Qwen2Config(
        vocab_size=8000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen2ForCausalLM._from_config(config, dtype=torch.bfloat16).save_pretrained(folder / "model")
    toy_tokenizer(folder / "model")
    return folder


def measured(folder: Path, strategy: str) -> list[dict[str, int]]:
    """What both ranks needed above their start, in bytes."""
    command = [sys.executable, str(Path(__file__).parent / "loading_rank.py"), str(folder)]
    # With a fixed threshold, the C library returns freed tensors at once; otherwise they are counted further on.
    fixed = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(MIB)}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **fixed}
    ranks = [subprocess.Popen([*command, rank, strategy], env=environment) for rank in ("0", "1")]
    try:
        assert [rank.wait(timeout=280) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads((folder / f"{strategy}.{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp2", "zero3"])
def test_a_rank_holds_its_shard_and_a_few_layers_and_one_file_while_it_saves(folder: Path, strategy: str) -> None:
    """The first rank also holds one file of bfloat16 weights while it saves, which is the whole of this small model."""
    pytest.importorskip("deepspeed")
    shard, layer, file = 4 * WEIGHTS // 2, 4 * max(LAYER, EMBEDDINGS), 2 * WEIGHTS
    first, second = measured(folder, strategy)
    print(strategy, [{key: round(value / MIB) for key, value in rank.items()} for rank in (first, second)])
    for rank in (first, second):
        assert rank["loaded"] < shard + 3 * layer + 40 * MIB < 4 * WEIGHTS
    assert second["saved"] < shard + 3 * layer + 40 * MIB
    assert first["saved"] < shard + 4 * layer + file + 40 * MIB
    before, after = (load_file(folder / name / "model.safetensors") for name in ("model", strategy))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_without_sharding_a_rank_holds_all_weights(folder: Path) -> None:
    """It shows that the measurement of the other test can fail."""
    for rank in measured(folder, "ddp"):
        assert rank["loaded"] > 4 * WEIGHTS
