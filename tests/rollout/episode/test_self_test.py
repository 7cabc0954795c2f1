"""The self-test of a teacher: right engines pass it, and each kind of wrong engine is refused."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from rollout.engine import Completion, Engine, Sampling
from rollout.engines.transformers_engine import TransformersConfig, TransformersEngine, start
from rollout.episode.scoring import check_distributions
from rollout.episode.self_test import BOUND
from rollout.errors import EngineUnavailable, UserError
from rollout.models import model_folder
from rollout.prompts.tokenizer import load_tokenizer
from rollout.trajectory import TopK

MODEL = "builtin:household-teacher"
SCORED, WRITTEN = {"written": 0, "scored": 8}, {"written": 8, "scored": 0}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def right() -> AsyncIterator[TransformersEngine]:
    started = await start(TransformersConfig(model=MODEL, dtype="float32", device="cpu", batch_window_ms=1.0))
    yield started
    await started.close()


@pytest.fixture(scope="module")
def prompt() -> tuple[int, ...]:
    return load_tokenizer(model_folder(MODEL)).encode("You are in the middle of a room.")


def rows_of(top: TopK) -> list[tuple[tuple[int, ...], tuple[float, ...], float]]:
    return list(zip(top.token_ids, top.logprobs, top.tail_mass, strict=True))


def top_of(rows: Sequence[tuple[Sequence[int], Sequence[float], float]]) -> TopK:
    return TopK(
        tuple(tuple(row[0]) for row in rows), tuple(tuple(row[1]) for row in rows), tuple(row[2] for row in rows)
    )


class Wrong:
    """An engine that changes the distributions of another one."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.name, self.weight_version, self.max_model_len = inner.name, 0, inner.max_model_len

    def change(self, top: TopK, *, is_score: bool) -> TopK:
        return top

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        made = await self.inner.generate(token_ids, sampling, session_id)
        return made if made.top is None else replace(made, top=self.change(made.top, is_score=False))

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        return self.change(await self.inner.score(token_ids, top_k), is_score=True)

    async def load_weights(self, folder: str, version: int) -> None: ...

    async def close(self) -> None: ...


class Later(Wrong):
    """Row i belongs to token i + 1."""

    def change(self, top: TopK, *, is_score: bool) -> TopK:
        rows = rows_of(top)
        moved = [*rows[2:], rows[-1]] if is_score else [*rows[1:], rows[-1]]
        return top_of([rows[0], *moved] if is_score else moved)


class Earlier(Wrong):
    """Row i belongs to token i - 1."""

    def change(self, top: TopK, *, is_score: bool) -> TopK:
        rows = rows_of(top)
        return top_of([rows[0], rows[1], *rows[1:-1]] if is_score and len(rows) > 1 else [rows[0], *rows[:-1]])


class OneRowIsWrong(Wrong):
    """One row in the middle belongs elsewhere, as at the boundary of a chunk."""

    def change(self, top: TopK, *, is_score: bool) -> TopK:
        rows = rows_of(top)
        if len(rows) > 9:
            rows[-2] = rows[2]
        return top_of(rows)


class Noisy(Wrong):
    """The distributions differ from call to call."""

    noise = 0.6

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.random = random.Random(0)

    def change(self, top: TopK, *, is_score: bool) -> TopK:
        rows = []
        for ids, logprobs, _ in rows_of(top):
            weights = [math.exp(value + self.random.uniform(-self.noise, self.noise)) for value in logprobs]
            scale = min(1.0, 0.999 / sum(weights)) if weights else 1.0
            pairs = sorted(((w * scale, token) for w, token in zip(weights, ids, strict=True)), reverse=True)
            rows.append(([t for _, t in pairs], [math.log(w) for w, _ in pairs], 1 - sum(w for w, _ in pairs)))
        return top_of(rows)


class Rescaled(Wrong):
    """The distributions are those at another temperature, in completions only if the sampling has one."""

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        made = await self.inner.generate(token_ids, sampling, session_id)
        if made.top is None or not sampling.temperature:
            return made
        return replace(made, top=scaled(made.top, 1 / sampling.temperature))

    def change(self, top: TopK, *, is_score: bool) -> TopK:
        return scaled(top, 2.0)


def scaled(top: TopK, factor: float) -> TopK:
    rows = []
    for ids, logprobs, tail in rows_of(top):
        weights = [math.exp(factor * value) for value in logprobs]
        total = sum(weights) + tail**factor
        rows.append((ids, [math.log(w / total) for w in weights], tail**factor / total if ids else 1.0))
    return top_of(rows)


class FewerEntries(Wrong):
    def change(self, top: TopK, *, is_score: bool) -> TopK:
        return top_of(
            [(ids[:3], logprobs[:3], 1 - sum(map(math.exp, logprobs[:3]))) for ids, logprobs, _ in rows_of(top)]
        )


class NotTheMostLikely(Wrong):
    """Rows leave out the most likely token, in scores and completions alike."""

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        more = sampling.model_copy(update={"top_logprobs": sampling.top_logprobs + bool(sampling.top_logprobs)})
        return await super().generate(token_ids, more, session_id)

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        return await super().score(token_ids, top_k + 1)

    def change(self, top: TopK, *, is_score: bool) -> TopK:
        return top_of([(ids[1:], lps[1:], 1 - sum(map(math.exp, lps[1:]))) for ids, lps, _ in rows_of(top)])


class Unsorted(Wrong):
    def change(self, top: TopK, *, is_score: bool) -> TopK:
        return top_of([(ids[::-1], logprobs[::-1], tail) for ids, logprobs, tail in rows_of(top)])


class WrongTail(Wrong):
    def change(self, top: TopK, *, is_score: bool) -> TopK:
        return top_of([(ids, logprobs, tail / 2 + 0.3) for ids, logprobs, tail in rows_of(top)])


class RepeatsAToken(Wrong):
    def change(self, top: TopK, *, is_score: bool) -> TopK:
        return top_of([(ids[:1] * len(ids), logprobs, tail) for ids, logprobs, tail in rows_of(top)])


class OneRowShort(Wrong):
    def change(self, top: TopK, *, is_score: bool) -> TopK:
        return top.slice(0, len(top) - 1) if len(top) > 1 else top


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("needed", [SCORED, WRITTEN, {"written": 4, "scored": 8}, {"written": 0, "scored": 1}])
async def test_a_right_engine_passes_and_its_errors_are_measured(
    right: TransformersEngine, prompt: tuple[int, ...], needed: dict[str, int]
) -> None:
    for beginning in (prompt, prompt[:1]):
        result = await check_distributions(right, beginning, **needed)
        assert result is not None
        assert 0 <= result.spread < 1e-3
        assert 0 <= result.shift < 1e-3
        assert result.bound == BOUND
        assert "spread 0.000" in str(result)


@pytest.mark.asyncio(loop_scope="module")
async def test_small_noise_is_measured_and_accepted(right: TransformersEngine, prompt: tuple[int, ...]) -> None:
    engine = Noisy(right)
    engine.noise = 0.02
    result = await check_distributions(engine, prompt, **SCORED)
    assert result is not None
    assert 1e-4 < result.spread < BOUND


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("needed", [SCORED, WRITTEN], ids=["scored", "written"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Later, "they differ by .* from those that it computes token by token"),
        (Earlier, "they differ by .* from those that it computes token by token"),
        (OneRowIsWrong, "they differ by .* from those that it computes token by token"),
        (Rescaled, "they differ by .* from those that it computes token by token"),
        (NotTheMostLikely, "they differ by .* from those that it computes token by token"),
        (Noisy, "repetitions of the same request differ by"),
        (FewerEntries, "lists 3 different tokens, although 8 were asked for"),
        (RepeatsAToken, "lists 1 different tokens, although 8 were asked for"),
        (Unsorted, "is not sorted"),
        (WrongTail, "do not add up to 1"),
        (OneRowShort, "there are .* rows for .* tokens"),
    ],
)
async def test_a_wrong_engine_is_refused(
    right: TransformersEngine, prompt: tuple[int, ...], needed: dict[str, int], wrong: type[Wrong], said: str
) -> None:
    with pytest.raises(UserError, match=f"wrong distributions.*: .*{said}.*Use another"):
        await check_distributions(wrong(right), prompt, **needed)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_engine_that_cannot_be_asked_now_is_not_called_wrong(
    right: TransformersEngine, prompt: tuple[int, ...]
) -> None:
    class Unreachable(Wrong):
        async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
            raise EngineUnavailable("the endpoint answered 503")

    with pytest.raises(EngineUnavailable, match="503"):
        await check_distributions(Unreachable(right), prompt, **SCORED)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_test_fits_a_short_context(prompt: tuple[int, ...], right: TransformersEngine) -> None:
    class Short(Wrong):
        def __init__(self, inner: Engine) -> None:
            super().__init__(inner)
            self.max_model_len = 12

        async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
            assert len(token_ids) < self.max_model_len
            room = min(sampling.max_tokens, self.max_model_len - len(token_ids))
            return await super().generate(token_ids, sampling.model_copy(update={"max_tokens": room}), session_id)

    for needed in (SCORED, WRITTEN):
        result: Any = await check_distributions(Short(right), prompt[:4], **needed)
        assert result.shift < 1e-3
