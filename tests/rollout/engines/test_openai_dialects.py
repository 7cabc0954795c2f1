"""Sampling parameters and answers in the dialects of OpenAI-compatible servers, against servers on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rollout.engine import Sampling
from rollout.engines.openai_engine import EndpointError, OpenAIConfig, OpenAIEngine, probe_endpoint, start
from rollout.errors import SetupError, UserError
from rollout.grammar import Choice, Grammar
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import load_tokenizer
from tests.rollout.engines.servers import DIALECTS, Dialect, Server, owned_by, serving

COMMON = {"temperature": 0.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
EXTRA = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
ALL = {**COMMON, **EXTRA, "repeat_penalty": 1.0, "max_tokens": 5, "seed": 3, "stop": ["x"]}
"""What a server gets that takes everything."""
IDS = {"return_token_ids", "return_tokens_as_token_ids", "skip_special_tokens", "include_stop_str_in_output"}
SAMPLING = Sampling(max_tokens=5, seed=3, stop=("x",))


def without(*names: str, **more: Any) -> dict[str, Any]:
    return {**{name: value for name, value in ALL.items() if name not in names}, **more}


OFFICIAL = without(*EXTRA, "repeat_penalty", "max_tokens", max_completion_tokens=5)
SENT = {
    "vllm": without("repeat_penalty"),
    "sglang": without("repeat_penalty"),
    "tgi": without(*EXTRA, "repeat_penalty", "top_p", "presence_penalty"),
    "llama.cpp": without("repetition_penalty"),
    "ollama": without(*EXTRA, "repeat_penalty"),
    "lmstudio": without("repetition_penalty"),
    "openai": OFFICIAL,
    "azure": OFFICIAL,
    "groq": without(*EXTRA, "repeat_penalty"),
    "mistral": without(*EXTRA, "repeat_penalty", "seed", random_seed=3),
    "nim": without(*EXTRA, "repeat_penalty"),
    "google": without(*EXTRA, "repeat_penalty"),
    "xai": without("presence_penalty"),
    "no-names": without(*EXTRA, "repeat_penalty"),
    "mlx": without(top_k=0),
    "together": ALL,
}


RECOGNIZED_BY_MODELS = ("vllm", "sglang", "lmstudio")


def config(server: Server, tokenizer: str, **settings: Any) -> OpenAIConfig:
    return OpenAIConfig(
        **{"base_url": server.url, "model": "big", "tokenizer": tokenizer, "api_key_env": None, "api": "chat"}
        | settings
    )


@asynccontextmanager
async def engine(server: Server, tokenizer: str, **settings: Any) -> AsyncIterator[OpenAIEngine]:
    started = await start(config(server, tokenizer, **settings))
    yield started
    await started.close()


def prompt(tokenizer: str) -> tuple[int, ...]:
    loaded = load_tokenizer(tokenizer)
    return loaded.encode_markers(ChatTemplate.from_tokenizer(loaded).render("Be brief.", [], "Hello?"))


def parameters(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in {"model", "messages", "prompt", "stream", *IDS}}


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("probed", [True, False])
async def test_every_sampling_parameter_is_sent_in_the_dialect_of_the_server(
    name: str, probed: bool, tokenizer_only: str
) -> None:
    with serving(DIALECTS[name]) as server:
        async with engine(server, tokenizer_only) as client:
            if probed:
                await client.probe(SAMPLING)
            for _ in range(2):
                result = await client.generate(prompt(tokenizer_only), SAMPLING, "s")
            requests = len(server.bodies)
            await client.generate(prompt(tokenizer_only), SAMPLING, "s")
            recorded = client.sent(SAMPLING)
    assert len(server.bodies) == requests + 1, "what was refused is not sent again"
    expected = SENT[name] if probed or name not in RECOGNIZED_BY_MODELS else ALL
    assert parameters(server.bodies[-1]) == expected
    assert result.text == "Go"
    seed = {name: expected[name] for name in ("seed", "random_seed") if name in expected}
    assert {**recorded, **seed} == {**expected, "dialect": recorded["dialect"]}


@pytest.mark.parametrize(
    ("name", "dialect"),
    [(name, name) for name in ("vllm", "sglang", "tgi", "llama.cpp", "ollama", "lmstudio")] + [("groq", "auto")],
)
async def test_a_probe_recognizes_the_server(name: str, dialect: str, tokenizer_only: str) -> None:
    with serving(DIALECTS[name]) as server:
        found = await probe_endpoint(config(server, tokenizer_only))
    assert found.dialect == dialect
    assert found.url == server.url


async def test_a_declared_dialect_needs_no_refusals(tokenizer_only: str) -> None:
    with serving(DIALECTS["nim"]) as server:
        async with engine(server, tokenizer_only, dialect="openai") as client:
            await client.generate(prompt(tokenizer_only), SAMPLING, "s")
    assert len(server.bodies) == 1


async def test_a_reasoning_model_gets_what_it_takes_and_the_text_is_cut_at_stop_texts_here(tokenizer_only: str) -> None:
    dialect = DIALECTS["openai-reasoner"]
    with serving(
        Dialect({"message": {"content": "Go north. x marks"}, "finish_reason": "stop"}, check=dialect.check)
    ) as server:
        async with engine(server, tokenizer_only) as client:
            sampling = SAMPLING.model_copy(update={"temperature": 1.0})
            result = await client.generate(prompt(tokenizer_only), sampling, "s")
            accepted = parameters(server.bodies[-1])
            with pytest.raises(SetupError, match=r"refuses temperature 0\.0.*Change the setting temperature"):
                await client.generate(prompt(tokenizer_only), SAMPLING, "s")
    assert (result.text, result.finish_reason) == ("Go north. x", "stop")
    assert accepted == {"max_completion_tokens": 5, "seed": 3, "temperature": 1.0, "top_p": 1.0}


async def test_more_stop_texts_than_a_server_takes_are_cut_off_here(tokenizer_only: str) -> None:
    stop = ("a", "b", "c", "d", "north")
    dialect = Dialect({"message": {"content": "Go north now"}, "finish_reason": "stop"}, check=DIALECTS["openai"].check)
    with serving(dialect) as server:
        async with engine(server, tokenizer_only) as client:
            result = await client.generate(prompt(tokenizer_only), Sampling(stop=stop), "s")
    assert server.bodies[-1]["stop"] == ["a", "b", "c", "d"]
    assert (result.text, result.finish_reason) == ("Go north", "stop")


@pytest.mark.parametrize("name", ["openai", "groq", "mistral", "nim", "google", "no-names"])
async def test_a_setting_that_the_server_does_not_have_is_refused_and_not_dropped(
    name: str, tokenizer_only: str
) -> None:
    with serving(DIALECTS[name]) as server:
        async with engine(server, tokenizer_only) as client:
            for _ in range(2):
                with pytest.raises(SetupError, match="refuses top_k 20.*Change the setting top_k"):
                    await client.generate(prompt(tokenizer_only), Sampling(top_k=20), "s")
        with pytest.raises(UserError, match="top_k"):
            await probe_endpoint(config(server, tokenizer_only), Sampling(top_k=20))


async def test_a_setting_that_the_server_would_ignore_is_refused(tokenizer_only: str) -> None:
    grammar = Grammar((Choice(("a", "b")),))
    with serving(DIALECTS["ollama"]) as server:
        async with engine(server, tokenizer_only) as client:
            notes = (await client.probe(Sampling())).notes()
            with pytest.raises(NotImplementedError, match=r"top_k is not part of .*dialect ollama.*set top_k to 0"):
                await client.generate(prompt(tokenizer_only), Sampling(top_k=20), "s")
            with pytest.raises(NotImplementedError, match="constrained acting needs a vLLM server"):
                await client.generate(prompt(tokenizer_only), Sampling(grammar=grammar), "s")
    assert "ignores top_k, min_p, repetition_penalty, so the parameters of its Modelfile apply" in notes[0]


async def test_a_top_k_that_the_server_takes_is_sent_also_after_its_neutral_value_was_refused(
    tokenizer_only: str,
) -> None:
    with serving(DIALECTS["mlx"]) as server:
        async with engine(server, tokenizer_only) as client:
            await client.generate(prompt(tokenizer_only), Sampling(), "s")
            await client.generate(prompt(tokenizer_only), Sampling(top_k=20), "s")
    assert server.bodies[-1]["top_k"] == 20


@pytest.mark.parametrize(
    ("reason", "finish"),
    [(reason, "stop") for reason in ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "STOP", "tool_calls")]
    + [(reason, "length") for reason in ("length", "max_tokens", "model_length", "MAX_TOKENS")],
)
@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_finish_reasons_of_other_servers_are_accepted(
    reason: str, finish: str, api: str, tokenizer_only: str
) -> None:
    choice = {"text": "Go", "message": {"content": "Go"}, "finish_reason": reason}
    with serving(Dialect(choice)) as server:
        async with engine(server, tokenizer_only, api=api) as client:
            result = await client.generate(prompt(tokenizer_only), Sampling(), "s")
    assert (result.finish_reason, result.text) == (finish, "Go")


@pytest.mark.parametrize(("max_tokens", "finish"), [(9, "stop"), (2, "length")])
async def test_a_missing_finish_reason_follows_from_the_number_of_tokens(
    max_tokens: int, finish: str, tokenizer_only: str
) -> None:
    with serving(Dialect({"message": {"content": "Go"}})) as server:
        async with engine(server, tokenizer_only) as client:
            result = await client.generate(prompt(tokenizer_only), Sampling(max_tokens=max_tokens), "s")
    assert result.finish_reason == finish


@pytest.mark.parametrize("reason", ["content_filter", "error", "abort", "insufficient_system_resource"])
async def test_an_irregular_end_is_a_failure(reason: str, tokenizer_only: str) -> None:
    with serving(Dialect({"message": {"content": "Go"}, "finish_reason": reason})) as server:
        async with engine(server, tokenizer_only) as client:
            with pytest.raises(EndpointError, match=f"finish reason '{reason}'"):
                await client.generate(prompt(tokenizer_only), Sampling(), "s")


THOUGHT = "<think>\nFirst.\n</think>\n\nGo"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "Go", "reasoning_content": "First."}, THOUGHT),
        ({"content": "\n\nGo", "reasoning_content": "\nFirst.\n"}, THOUGHT),
        ({"content": "Go", "reasoning": "First."}, THOUGHT),
        ({"content": "Go", "reasoning": "First.", "reasoning_content": "First."}, THOUGHT),
        ({"content": "Go", "reasoning_content": "", "reasoning": None}, "Go"),
        ({"content": None, "reasoning_content": "Fir"}, "<think>\nFir"),
        ({"content": [{"type": "text", "text": "G"}, {"type": "text", "text": "o"}]}, "Go"),
        ({"content": ["G", "o"]}, "Go"),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "First."}]}, {"text": "Go"}]},
            THOUGHT,
        ),
        ({"content": [{"type": "thinking", "thinking": "First."}, {"type": "text", "text": "Go"}]}, THOUGHT),
        ({"content": [{"type": "reasoning", "text": None, "reasoning": "First."}, {"text": "Go"}]}, THOUGHT),
        ({"content": None}, ""),
        ({"content": []}, ""),
        ({}, ""),
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": "<think>\nFirst.\n</think>\n\nGo"}, THOUGHT),
    ],
)
async def test_the_text_of_a_message_has_its_reasoning_as_a_block(
    message: dict[str, Any], text: str, tokenizer_only: str
) -> None:
    with serving(Dialect({"message": message, "finish_reason": "stop"})) as server:
        async with engine(server, tokenizer_only) as client:
            result = await client.generate(prompt(tokenizer_only), Sampling(), "s")
    assert result.text == text
    assert result.token_ids == load_tokenizer(tokenizer_only).encode(text)


async def test_a_block_that_the_generation_prompt_opens_is_not_opened_again(make_model: Any) -> None:
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<think>\n{{ m.content }}<|end|>{% else %}"
        "{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
    )
    folder = make_model(template)
    with serving(Dialect({"message": {"content": "Go", "reasoning": "First."}, "finish_reason": "stop"})) as server:
        async with engine(server, folder) as client:
            result = await client.generate(prompt(folder), Sampling(), "s")
    assert result.text == "First.\n</think>\n\nGo"


async def test_token_ids_of_a_chat_are_kept_unless_its_reasoning_has_another_form(tokenizer_only: str) -> None:
    tokenizer = load_tokenizer(tokenizer_only)
    raw, harmony = tokenizer.encode(THOUGHT), tokenizer.encode("analysis: First. final: Go")
    for ids, expected in ((raw, raw), (harmony, raw)):
        message = {"content": "Go", "reasoning": "First."}
        with serving(Dialect({"message": message, "token_ids": list(ids), "finish_reason": "stop"})) as server:
            async with engine(server, tokenizer_only) as client:
                result = await client.generate(prompt(tokenizer_only), Sampling(), "s")
        assert result.token_ids == expected


async def test_a_text_that_the_server_took_for_a_tool_call_is_a_wrong_setting(tokenizer_only: str) -> None:
    message = {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "go"}}]}
    with serving(Dialect({"message": message, "finish_reason": "tool_calls"})) as server:
        async with engine(server, tokenizer_only) as client:
            with pytest.raises(SetupError, match="switch off its parser of tool calls"):
                await client.generate(prompt(tokenizer_only), Sampling(), "s")


async def test_a_completion_without_room_for_its_text_is_cut_at_the_token_limit(tokenizer_only: str) -> None:
    message = "Could not finish the message because max_tokens or model output limit was reached."
    with serving() as server:
        server.replies = [(400, {}, {"error": {"message": message, "code": "invalid_request_error"}})]
        async with engine(server, tokenizer_only) as client:
            result = await client.generate(prompt(tokenizer_only), Sampling(), "s")
    assert (result.text, result.finish_reason) == ("", "length")


LLAMA_CPP_LOGPROBS = {
    "content": [
        {
            "id": id_,
            "token": "?",
            "bytes": [63],
            "logprob": -0.5,
            "top_logprobs": [{"id": id_, "token": "?", "logprob": -0.5}, {"id": 9, "token": "!", "logprob": -1.5}],
        }
        for id_ in (7, 8)
    ]
}


async def test_log_probabilities_in_the_form_of_llama_cpp_have_token_ids(tokenizer_only: str) -> None:
    with serving(Dialect({"text": "?", "finish_reason": "stop", "logprobs": LLAMA_CPP_LOGPROBS})) as server:
        async with engine(server, tokenizer_only, api="completions") as client:
            result = await client.generate([5], Sampling(top_logprobs=2), "s")
    assert (result.token_ids, result.logprobs) == ((7, 8), (-0.5, -0.5))
    assert result.top is not None
    assert result.top.token_ids == ((7, 9), (8, 9))


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, {"content": None}, {"tokens": ["token_id:9"], "token_logprobs": [-1.0], "top_logprobs": None}],
)
async def test_missing_log_probabilities_are_a_clear_message(
    logprobs: dict[str, Any] | None, tokenizer_only: str
) -> None:
    with serving(Dialect({"text": "Go", "finish_reason": "stop", "logprobs": logprobs})) as server:
        async with engine(server, tokenizer_only, api="completions") as client:
            with pytest.raises(UserError, match=r"returned no log-probabilities.*use a server that returns them"):
                await client.generate([5], Sampling(top_logprobs=2), "s")
        with pytest.raises(UserError, match="returned no log-probabilities"):
            await probe_endpoint(config(server, tokenizer_only, api="completions"), Sampling(top_logprobs=2))


async def test_more_log_probabilities_than_the_server_gives_are_a_wrong_setting(tokenizer_only: str) -> None:
    message = "Requested sample logprobs of 64, which is greater than max allowed: 20"
    with serving(Dialect(check=lambda body: (400, {"error": {"message": message}}))) as server:
        async with engine(server, tokenizer_only, api="completions") as client:
            with pytest.raises(UserError, match="refuses logprobs 64: .*greater than max allowed: 20"):
                await client.generate([5], Sampling(top_logprobs=64), "s")
            with pytest.raises(UserError, match="refuses logprobs 64"):
                await client.score([5, 6], 64)


async def test_a_probe_says_what_the_endpoint_can_do(tokenizer_only: str) -> None:
    names = ["token_id:7", "token_id:8"]
    rows = {"tokens": names, "token_logprobs": [-0.5, -0.25], "top_logprobs": [{name: -0.5} for name in names]}
    choice = {"text": "ye", "token_ids": [7, 8], "logprobs": rows, "finish_reason": "stop"}
    with serving(Dialect(choice, models=owned_by("vllm", max_model_len=4096))) as server:
        found = await probe_endpoint(config(server, tokenizer_only, api="completions"), Sampling(top_logprobs=1))
    assert (found.token_ids, found.logprobs, found.top_logprobs, found.honors_stop) == (True, True, True, True)
    assert (found.models, found.max_model_len, found.left_out, found.notes()) == (("big",), 4096, (), ())
    assert found.sent["top_k"] == -1
    assert len(server.bodies) == 1
    json.dumps(found.sent)


@pytest.mark.parametrize("key", ["max_model_len", "loaded_context_length", "context_length", "context_window"])
async def test_a_probe_limits_the_context_to_the_one_that_the_endpoint_lists(key: str, tokenizer_only: str) -> None:
    with serving(Dialect(DIALECTS["together"].choice, models=owned_by("me", **{key: 99}))) as server:
        async with engine(server, tokenizer_only) as client:
            found = await client.probe(Sampling())
            assert (found.max_model_len, client.max_model_len) == (99, 99)


async def test_a_model_that_the_endpoint_does_not_list_is_noted(tokenizer_only: str) -> None:
    models = [{"id": "small"}, {"id": "tiny"}]
    with serving(Dialect(DIALECTS["together"].choice, models=models)) as server:
        found = await probe_endpoint(config(server, tokenizer_only))
    assert "does not list big, and may answer with one of: small, tiny." in found.notes()[0]


@pytest.mark.parametrize(("text", "honored"), [("The end", False), ("Th", None), ("The", True)])
async def test_a_probe_finds_out_whether_stop_texts_are_honored(
    text: str, honored: bool | None, tokenizer_only: str
) -> None:
    with serving(Dialect({"message": {"content": text}, "finish_reason": "length"})) as server:
        found = await probe_endpoint(config(server, tokenizer_only))
    assert found.honors_stop is honored
    assert ("ignores stop texts" in " ".join(found.notes())) is (honored is False)


async def test_an_endpoint_that_takes_no_token_ids_is_named(tokenizer_only: str) -> None:
    message = "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string"
    refusing = Dialect(check=lambda body: (400, {"error": {"message": message}}))
    with serving(refusing) as server, pytest.raises(UserError, match="set prompt: text"):
        await probe_endpoint(config(server, tokenizer_only, api="completions"))
