"""An engine proves that it has the weights of a checkpoint: their version, files and log-probabilities."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from learner.checkpoints.handover import write_handover
from learner.model import load_tokenizer
from rollout.engines.prove_weights import load_and_prove, mean_difference
from rollout.engines.transformers_engine import TransformersConfig, TransformersEngine, start
from rollout.errors import EngineDied, UserError
from rollout.models.handover import FILE_NAME, read_handover


@pytest.fixture(scope="module")
def checkpoint(second_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second model as the learner saves it."""
    folder = tmp_path_factory.mktemp("checkpoint") / "round=000"
    shutil.copytree(second_model, folder)
    write_handover(folder, load_tokenizer(second_model), "")
    return folder


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "round=000"))


@pytest.fixture
async def engine(first_model: str) -> AsyncIterator[TransformersEngine]:
    engine = await start(TransformersConfig(model=first_model, device="cpu"))
    yield engine
    await engine.close()


async def test_an_engine_with_the_weights_of_the_checkpoint_passes(
    engine: TransformersEngine, checkpoint: Path
) -> None:
    await load_and_prove(engine, str(checkpoint), 3)
    assert engine.weight_version == 3
    handover = read_handover(checkpoint)
    assert handover is not None
    assert await mean_difference(engine, handover) < 1e-4


async def test_an_engine_in_bfloat16_passes(first_model: str, checkpoint: Path) -> None:
    half = await start(TransformersConfig(model=first_model, device="cpu", dtype="bfloat16"))
    await load_and_prove(half, str(checkpoint), 1)
    assert half.precision == "bfloat16"
    await half.close()


class Stubborn:
    """An engine that keeps its weights, whatever it is told to load."""

    def __init__(self, engine: TransformersEngine, *, admits: bool) -> None:
        self._engine = engine
        self._admits = admits
        self.name, self.max_model_len, self.weight_version = engine.name, engine.max_model_len, 0
        self.generate, self.score, self.close = engine.generate, engine.score, engine.close

    async def load_weights(self, folder: str, version: int) -> None:
        self.weight_version = self.weight_version if self._admits else version


async def test_an_engine_that_kept_its_old_weights_is_found(engine: TransformersEngine, checkpoint: Path) -> None:
    with pytest.raises(EngineDied, match=r"does not predict what the learner did.*other weights"):
        await load_and_prove(Stubborn(engine, admits=False), str(checkpoint), 1)


async def test_an_engine_with_another_version_is_found(engine: TransformersEngine, checkpoint: Path) -> None:
    with pytest.raises(EngineDied, match="version 0 after it has loaded 1"):
        await load_and_prove(Stubborn(engine, admits=True), str(checkpoint), 1)


async def test_files_that_the_learner_did_not_write_are_not_loaded(engine: TransformersEngine, copy: Path) -> None:
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors is not as the learner wrote it"):
        await load_and_prove(engine, str(copy), 1)
    assert engine.weight_version == 0


async def test_a_model_from_elsewhere_is_only_loaded(engine: TransformersEngine, second_model: str) -> None:
    await load_and_prove(engine, second_model, 2)
    assert engine.weight_version == 2


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../etc/passwd": "00"}},
        {"top_ids": [1]},
        {"top_logprobs": "many"},
        {"state": "../elsewhere"},
        {"more": 1},
    ],
)
def test_a_damaged_record_is_one_sentence(copy: Path, change: dict[str, Any]) -> None:
    record = json.loads((copy / FILE_NAME).read_text())
    (copy / FILE_NAME).write_text(json.dumps({**record, **change}))
    with pytest.raises(UserError, match=r"handover\.json is damaged"):
        read_handover(copy)
