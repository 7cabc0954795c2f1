"""The vLLM engine on the CPU against transformers. All tests share one engine; the last ones change its weights."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from rollout.engine import Sampling
from rollout.engines.vllm_engine import VllmConfig, VllmEngine, start
from rollout.errors import UserError
from rollout.grammar import Choice, FreeText, Grammar
from tests.rollout.engines.conftest import OPINIONS

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

PROMPTS = [[5 + (7 * i + length) % 250 for i in range(length)] for length in (3, 17, 40, 130)]


def logprobs_TV(folder: str, token_ids: Sequence[int]) -> Tensor:
    """Log-probabilities from a plain forward pass; row i predicts token i + 1."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    with torch.inference_mode():
        return model(torch.tensor([list(token_ids)])).logits[0].log_softmax(-1)


@pytest.fixture(scope="module")
def environment_before() -> dict[str, str]:
    """The environment variables as they were before the engine started."""
    return dict(os.environ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(first_model: str, environment_before: dict[str, str]) -> AsyncIterator[VllmEngine]:
    started = await start(VllmConfig(model=first_model, dtype="float32", kv_cache_gib=0.25, max_lora_rank=8))
    yield started
    await started.close()


async def check_greedy(engine: VllmEngine, folder: str) -> None:
    result = await asyncio.gather(*(engine.generate(p, Sampling(max_tokens=9), "s") for p in PROMPTS))
    for prompt, completion in zip(PROMPTS, result, strict=True):
        expected = logprobs_TV(folder, [*prompt, *completion.token_ids])[len(prompt) - 1 : -1]
        assert list(completion.token_ids) == expected.argmax(-1).tolist()
        assert completion.logprobs == pytest.approx(expected.max(-1).values.tolist(), abs=1e-2)


async def test_starting_leaves_the_environment_as_it_was(
    engine: VllmEngine, environment_before: dict[str, str]
) -> None:
    ours = {"VLLM_LOGGING_LEVEL", "VLLM_CPU_OMP_THREADS_BIND", "OMP_WAIT_POLICY"}
    assert {name: os.environ.get(name) for name in ours} == {name: environment_before.get(name) for name in ours}


async def test_greedy_completions_are_the_models_own(engine: VllmEngine, first_model: str) -> None:
    assert (engine.max_model_len, engine.weight_version) == (512, 0)
    await check_greedy(engine, first_model)


async def test_sampling_parameters_of_the_model_folder_have_no_effect(engine: VllmEngine, first_model: str) -> None:
    assert json.loads((Path(first_model) / "generation_config.json").read_text()).items() >= OPINIONS.items()
    sampling = Sampling(max_tokens=40, temperature=2.0, top_logprobs=20)
    results = await asyncio.gather(
        *(engine.generate(PROMPTS[1], sampling.model_copy(update={"seed": n}), "s") for n in range(4))
    )
    drawn = [(t, row) for r in results if r.top for t, row in zip(r.token_ids, r.top.token_ids, strict=True)]
    assert sum(token not in row for token, row in drawn) > 10, "top_k is not 20"
    # A repetition penalty would change the greedy completion after its first repeated token.
    greedy = await engine.generate(PROMPTS[1], Sampling(max_tokens=40), "s")
    expected = logprobs_TV(first_model, [*PROMPTS[1], *greedy.token_ids])[len(PROMPTS[1]) - 1 : -1]
    assert list(greedy.token_ids) == expected.argmax(-1).tolist()
    assert {*greedy.token_ids} & {*PROMPTS[1]} or len({*greedy.token_ids}) < 40


async def test_many_seeded_samples_at_once_are_repeatable(engine: VllmEngine) -> None:
    """All prompts together exceed the tokens of one step, so that some would be split into chunks."""
    prompts = [[5 + (i * n) % 250 for i in range(400)] for n in range(1, 13)]
    for prompt_list in (prompts, prompts[::-1]):
        result = await asyncio.gather(
            *(engine.generate(p, Sampling(max_tokens=6, temperature=1.0, seed=p[1]), "s") for p in prompt_list)
        )
        ids = [completion.token_ids for completion in result]
        if prompt_list is prompts:
            forwards = ids
    assert ids[::-1] == forwards


async def test_log_probabilities_of_a_sample_are_at_temperature_one(engine: VllmEngine, first_model: str) -> None:
    result = await engine.generate(PROMPTS[2], Sampling(max_tokens=8, temperature=0.5, seed=0, top_p=0.9), "s")
    expected = logprobs_TV(first_model, [*PROMPTS[2], *result.token_ids])[len(PROMPTS[2]) - 1 : -1]
    assert result.logprobs == pytest.approx([expected[i, t].item() for i, t in enumerate(result.token_ids)], abs=1e-2)


async def test_a_score_is_the_distribution_that_predicts_each_token(engine: VllmEngine, first_model: str) -> None:
    scores = await engine.score(PROMPTS[3], 4)
    assert len(scores) == len(PROMPTS[3])
    assert (scores.token_ids[0], scores.tail_mass[0]) == ((), 1.0)
    values, ids = logprobs_TV(first_model, PROMPTS[3])[:-1].topk(4)
    for row in range(1, len(scores)):
        assert list(scores.token_ids[row]) == ids[row - 1].tolist()
        assert scores.logprobs[row] == pytest.approx(values[row - 1].tolist(), abs=1e-2)
        assert scores.tail_mass[row] == pytest.approx(1 - values[row - 1].exp().sum().item(), abs=1e-3)
    assert len(await engine.score([7], 4)) == 1


async def test_recorded_likely_tokens_are_those_of_a_score(engine: VllmEngine) -> None:
    result = await engine.generate(PROMPTS[0], Sampling(max_tokens=6, temperature=2.0, seed=3, top_logprobs=25), "s")
    scores = await engine.score([*PROMPTS[0], *result.token_ids], 25)
    assert result.top is not None
    assert result.top.token_ids == scores.token_ids[len(PROMPTS[0]) :]
    assert all(len(row) == 25 for row in result.top.token_ids)


async def test_a_stop_string_ends_a_completion_and_is_kept(engine: VllmEngine) -> None:
    free = await engine.generate(PROMPTS[1], Sampling(max_tokens=40, temperature=1.5, seed=4), "s")
    letter = next(c for c in free.text if c.isascii() and c.isalnum())
    result = await engine.generate(PROMPTS[1], Sampling(max_tokens=40, temperature=1.5, seed=4, stop=(letter,)), "s")
    assert result.finish_reason == "stop"
    assert result.text == free.text[: free.text.index(letter) + 1]


async def test_a_constrained_completion_matches_its_grammar_and_has_the_models_own_log_probabilities(
    engine: VllmEngine, first_model: str
) -> None:
    grammar = Grammar(("Thought: ", FreeText(), "\nAction: ", Choice(("look", "go to 1", "go to 12"), ("say [{}]",))))
    free = Sampling(max_tokens=60, temperature=1.5)
    settings = [
        free.model_copy(update={"seed": seed, "grammar": grammar, "top_logprobs": 3 * (seed == 0)}) for seed in range(6)
    ]
    result = await asyncio.gather(*(engine.generate(PROMPTS[2], one, "s") for one in [*settings, free]))
    for completion in result[:-1]:
        assert completion.finish_reason == "stop"
        assert re.fullmatch(rf"(?s){grammar.regex()}<\|end\|>", completion.text)
    assert not result[-1].text.startswith("Thought")
    assert [completion.logprobs is None for completion in result] == [False, True, True, True, True, True, False]
    first = result[0]
    expected = logprobs_TV(first_model, [*PROMPTS[2], *first.token_ids])[len(PROMPTS[2]) - 1 : -1]
    assert first.logprobs == pytest.approx([expected[i, t].item() for i, t in enumerate(first.token_ids)], abs=1e-2)
    assert first.top is not None
    assert first.top.token_ids[0] == tuple(expected[0].topk(3).indices.tolist())


async def test_a_completion_ends_at_the_end_of_the_context(engine: VllmEngine) -> None:
    result = await engine.generate([9] * 510, Sampling(max_tokens=9), "s")
    assert (len(result.token_ids), result.finish_reason) == (2, "length")
    assert len(await engine.score([9] * 512, 1)) == 512
    with pytest.raises(ValueError, match="leaves no room in a context of 512"):
        await engine.generate([9] * 512, Sampling(), "s")


async def test_weights_of_another_shape_are_refused_and_nothing_changes(
    engine: VllmEngine, first_model: str, wider_model: str
) -> None:
    with pytest.raises(UserError, match="hidden_size 96, the running model has 64"):
        await engine.load_weights(wider_model, 1)
    with pytest.raises(UserError, match="does not exist"):
        await engine.load_weights("/nowhere/checkpoint", 1)
    assert engine.weight_version == 0
    await check_greedy(engine, first_model)


async def test_an_adapter_is_loaded_and_removed_again(
    engine: VllmEngine, first_model: str, adapter: tuple[str, str]
) -> None:
    folder, merged = adapter
    await engine.load_weights(folder, 3)
    await check_greedy(engine, merged)
    await engine.load_weights(first_model, 4)
    await check_greedy(engine, first_model)


async def test_new_weights_are_loaded_while_completions_run(
    engine: VllmEngine, first_model: str, second_model: str
) -> None:
    running = [asyncio.create_task(engine.generate(p, Sampling(max_tokens=60), "s")) for p in PROMPTS]
    await asyncio.sleep(0.05)
    before = engine.weight_version
    await engine.load_weights(second_model, 7)
    for prompt, completion in zip(PROMPTS, await asyncio.gather(*running), strict=True):
        folder = second_model if completion.weight_version == 7 else first_model
        assert completion.weight_version in (before, 7)
        expected = logprobs_TV(folder, [*prompt, *completion.token_ids])[len(prompt) - 1 : -1]
        assert completion.logprobs == pytest.approx(expected.max(-1).values.tolist(), abs=1e-2)
    await check_greedy(engine, second_model)
    assert (await engine.generate(PROMPTS[0], Sampling(max_tokens=1), "s")).weight_version == 7
    assert engine.weight_version == 7


async def test_an_unknown_token_id_does_not_affect_other_calls(engine: VllmEngine) -> None:
    with pytest.raises(Exception, match="out of vocabulary"):
        await engine.generate([99999], Sampling(), "s")
    assert (await engine.generate(PROMPTS[0], Sampling(max_tokens=1), "s")).token_ids


async def test_a_dead_engine_raises_instead_of_waiting(engine: VllmEngine) -> None:
    """Last, because it ends the engine."""
    running = asyncio.create_task(engine.generate(PROMPTS[0], Sampling(max_tokens=400), "s"))
    await asyncio.sleep(0.05)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(Exception, match="EngineCore"):
        await running
    with pytest.raises(Exception, match="EngineCore"):
        await engine.generate(PROMPTS[0], Sampling(), "s")
    await engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        await engine.generate(PROMPTS[0], Sampling(), "s")
