"""The transformers engine against a plain forward pass of the same model."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from rollout.engine import Sampling
from rollout.engines.transformers_engine import TransformersConfig, TransformersEngine, start
from rollout.errors import UserError
from tests.rollout.engines.conftest import OPINIONS

if TYPE_CHECKING:
    from torch import Tensor

PROMPTS = [list(range(10, 10 + length)) for length in (3, 17, 40, 8)]


def logprobs_TV(folder: str, token_ids: Sequence[int]) -> Tensor:
    """Log-probabilities from a forward pass without batch, padding or cache; row i predicts token i + 1."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    with torch.inference_mode():
        return model(torch.tensor([list(token_ids)])).logits[0].log_softmax(-1)


@pytest_asyncio.fixture
async def engine(first_model: str) -> AsyncIterator[TransformersEngine]:
    started = await start(TransformersConfig(model=first_model, device="cpu", batch_window_ms=20.0))
    yield started
    await started.close()


async def test_greedy_completions_of_a_batch_are_the_models_own(engine: TransformersEngine, first_model: str) -> None:
    result = await asyncio.gather(*(engine.generate(p, Sampling(max_tokens=9), f"s{len(p)}") for p in PROMPTS))
    for prompt, completion in zip(PROMPTS, result, strict=True):
        expected = logprobs_TV(first_model, [*prompt, *completion.token_ids])[len(prompt) - 1 : -1]
        assert list(completion.token_ids) == expected.argmax(-1).tolist()
        assert completion.logprobs == pytest.approx(expected.max(-1).values.tolist(), abs=1e-4)
        assert completion.weight_version == 0


async def test_a_seeded_sample_does_not_depend_on_what_shares_its_batch(engine: TransformersEngine) -> None:
    def settings(seed: int) -> Sampling:
        return Sampling(max_tokens=12, temperature=1.0, seed=seed)

    alone = await engine.generate(PROMPTS[0], settings(5), "a")
    shared = await asyncio.gather(*(engine.generate(PROMPTS[0], settings(s), f"{s}") for s in (1, 5, 2)))
    assert shared[1].token_ids == alone.token_ids
    assert shared[0].token_ids != alone.token_ids


async def test_sampling_parameters_of_the_model_folder_have_no_effect(
    engine: TransformersEngine, first_model: str, tmp_path: Path
) -> None:
    assert json.loads((Path(first_model) / "generation_config.json").read_text()).items() >= OPINIONS.items()
    shutil.copytree(first_model, tmp_path / "model")
    (tmp_path / "model/generation_config.json").write_text('{"eos_token_id": 3, "pad_token_id": 4}')
    plain = await start(TransformersConfig(model=str(tmp_path / "model"), device="cpu"))
    samplings = [Sampling(max_tokens=30), *(Sampling(max_tokens=30, temperature=1.5, seed=n) for n in range(4))]
    for sampling in samplings:
        expected = await plain.generate(PROMPTS[1], sampling, "s")
        assert (await engine.generate(PROMPTS[1], sampling, "s")).token_ids == expected.token_ids
    await plain.close()


async def test_top_k_and_top_p_keep_to_the_most_likely_tokens(engine: TransformersEngine) -> None:
    greedy = await engine.generate(PROMPTS[1], Sampling(max_tokens=12), "g")
    for narrow in (
        Sampling(max_tokens=12, temperature=2.0, top_k=1),
        Sampling(max_tokens=12, temperature=2.0, top_p=1e-6),
    ):
        assert (await engine.generate(PROMPTS[1], narrow, "n")).token_ids == greedy.token_ids
    three = Sampling(max_tokens=40, temperature=3.0, top_k=3, seed=1, top_logprobs=3)
    result = await engine.generate(PROMPTS[1], three, "t")
    assert result.top is not None
    assert all(token in row for token, row in zip(result.token_ids, result.top.token_ids, strict=True))
    assert any(token != row[0] for token, row in zip(result.token_ids, result.top.token_ids, strict=True))


async def test_recorded_log_probabilities_are_at_temperature_one(engine: TransformersEngine, first_model: str) -> None:
    result = await engine.generate(PROMPTS[2], Sampling(max_tokens=8, temperature=0.5, seed=0), "s")
    expected = logprobs_TV(first_model, [*PROMPTS[2], *result.token_ids])[len(PROMPTS[2]) - 1 : -1]
    assert result.logprobs == pytest.approx([expected[i, t].item() for i, t in enumerate(result.token_ids)], abs=1e-4)


async def test_a_score_is_the_distribution_that_predicts_each_token(
    engine: TransformersEngine, first_model: str
) -> None:
    scores = await engine.score(PROMPTS[1], 4)
    assert len(scores) == len(PROMPTS[1])
    assert (scores.token_ids[0], scores.tail_mass[0]) == ((), 1.0)
    values, ids = logprobs_TV(first_model, PROMPTS[1])[:-1].topk(4)
    for row in range(1, len(scores)):
        assert list(scores.token_ids[row]) == ids[row - 1].tolist()
        assert scores.logprobs[row] == pytest.approx(values[row - 1].tolist(), abs=1e-4)
        assert scores.tail_mass[row] == pytest.approx(1 - values[row - 1].exp().sum().item(), abs=1e-5)


async def test_a_cap_on_the_logits_of_attention_is_part_of_a_score(first_model: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    widths = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    vocabulary = AutoConfig.from_pretrained(first_model).vocab_size
    sizes = {"intermediate_size": 48, "head_dim": 16, "vocab_size": vocabulary, "initializer_range": 0.5}
    config = AutoConfig.for_model("gemma2", **widths, **sizes, attn_logit_softcapping=1e-3)
    torch.manual_seed(0)
    shutil.copytree(first_model, tmp_path, dirs_exist_ok=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    capped = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager")
    with torch.inference_mode():
        expected = capped(torch.tensor([PROMPTS[1]])).logits[0].log_softmax(-1)[:-1].max(-1).values
    engine = await start(TransformersConfig(model=str(tmp_path), device="cpu"))
    scores = await engine.score(PROMPTS[1], 1)
    await engine.close()
    assert [row[0] for row in scores.logprobs[1:]] == pytest.approx(expected.tolist(), abs=1e-4)


async def test_recorded_likely_tokens_are_those_of_a_score(engine: TransformersEngine) -> None:
    result = await engine.generate(PROMPTS[0], Sampling(max_tokens=6, top_logprobs=5), "s")
    scores = await engine.score([*PROMPTS[0], *result.token_ids], 5)
    assert result.top is not None
    assert result.top.token_ids == scores.token_ids[len(PROMPTS[0]) :]
    assert [row[0] for row in result.top.token_ids] == list(result.token_ids)


async def test_a_stop_text_ends_a_completion_and_stays_in_it(engine: TransformersEngine) -> None:
    free = await engine.generate(PROMPTS[3], Sampling(max_tokens=30, temperature=1.5, seed=4), "s")
    assert free.finish_reason == "length"
    letter = next(c for c in free.text if c.isascii() and c.isalnum())
    result = await engine.generate(PROMPTS[3], Sampling(max_tokens=30, temperature=1.5, seed=4, stop=(letter,)), "s")
    assert result.finish_reason == "stop"
    assert result.text == free.text[: free.text.index(letter) + 1]


async def test_an_end_of_turn_token_of_the_generation_settings_ends_a_completion(
    first_model: str, engine: TransformersEngine, tmp_path: Path
) -> None:
    free = await engine.generate(PROMPTS[0], Sampling(max_tokens=8, temperature=1.0, seed=1), "s")
    last = next(i for i, token in enumerate(free.token_ids) if i >= 2 and token not in free.token_ids[:i])
    shutil.copytree(first_model, tmp_path / "model")
    settings = json.loads((tmp_path / "model/generation_config.json").read_text())
    settings["eos_token_id"] = [3, free.token_ids[last]]
    (tmp_path / "model/generation_config.json").write_text(json.dumps(settings))
    other = await start(TransformersConfig(model=str(tmp_path / "model"), device="cpu"))
    result = await other.generate(PROMPTS[0], Sampling(max_tokens=8, temperature=1.0, seed=1), "s")
    await other.close()
    assert (result.token_ids, result.finish_reason) == (free.token_ids[: last + 1], "stop")


async def test_new_weights_give_the_completions_of_their_checkpoint(
    engine: TransformersEngine, first_model: str, second_model: str
) -> None:
    before = await engine.generate(PROMPTS[2], Sampling(max_tokens=5), "s")
    await engine.load_weights(second_model, 7)
    after = await engine.generate(PROMPTS[2], Sampling(max_tokens=5), "s")
    expected = logprobs_TV(second_model, [*PROMPTS[2], *after.token_ids])[len(PROMPTS[2]) - 1 : -1]
    assert after.logprobs == pytest.approx(expected.max(-1).values.tolist(), abs=1e-4)
    assert (before.weight_version, after.weight_version, engine.weight_version) == (0, 7, 7)
    assert before.logprobs != after.logprobs


async def test_a_failed_load_keeps_the_old_weights(engine: TransformersEngine, tmp_path: Path) -> None:
    before = await engine.generate(PROMPTS[0], Sampling(max_tokens=5), "s")
    with pytest.raises(UserError, match="does not exist"):
        await engine.load_weights(str(tmp_path / "missing"), 1)
    with pytest.raises(UserError, match="no model can be loaded"):
        await engine.load_weights(str(tmp_path), 1)
    assert await engine.generate(PROMPTS[0], Sampling(max_tokens=5), "s") == before


async def test_an_error_in_a_batch_is_raised_to_its_callers_only(engine: TransformersEngine) -> None:
    wrong = await asyncio.gather(engine.generate([9999], Sampling(), "w"), return_exceptions=True)
    assert isinstance(wrong[0], IndexError)
    assert len((await engine.generate(PROMPTS[0], Sampling(max_tokens=4), "s")).token_ids) == 4


async def test_a_completion_ends_at_the_end_of_the_context(first_model: str) -> None:
    engine = await start(TransformersConfig(model=first_model, device="cpu", max_model_len=20))
    result = await engine.generate(PROMPTS[1], Sampling(max_tokens=9), "s")
    assert (len(result.token_ids), result.finish_reason) == (3, "length")
    with pytest.raises(ValueError, match="leaves no room in a context of 20"):
        await engine.generate(PROMPTS[2], Sampling(), "s")
    with pytest.raises(ValueError, match="cannot score 40 tokens"):
        await engine.score(PROMPTS[2], 1)
    await engine.close()


async def test_a_cancelled_call_does_not_block_others(engine: TransformersEngine) -> None:
    given_up = asyncio.create_task(engine.generate(PROMPTS[0], Sampling(max_tokens=4), "a"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert len((await engine.generate(PROMPTS[1], Sampling(max_tokens=4), "b")).token_ids) == 4


async def test_an_engine_can_be_closed_while_calls_wait(engine: TransformersEngine) -> None:
    waiting = asyncio.create_task(engine.generate(PROMPTS[0], Sampling(max_tokens=4), "a"))
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
