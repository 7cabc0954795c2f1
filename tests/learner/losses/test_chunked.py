"""Tests of the chunked loss.

1. Loss, values and gradients equal those of dense logits, for all terms, heads, precisions and chunk sizes.
2. No array over the vocabulary has more rows than a chunk, except weights and their gradients.
3. Each trained token's logits are computed once; tokens without weight have none; ULD's groups are not split.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from learner.data.batching import Batch
from learner.losses.chunked import ChunkedLoss
from learner.losses.chunks import chunk_rows, chunks
from learner.losses.objective import objective, term_coefficients
from learner.teacher import FrozenTeacher
from learner.terms import CrossEntropyTerm, ForwardKLTerm, JSDTerm, ReverseKLTerm, Term, ULDTerm
from tests.learner.losses.test_objective import batch_of
from tests.learner.test_head import model_of
from tests.learner.toys import VOCABULARY, toy_model

HEADS = {"tied": "qwen2-tied", "untied": "llama", "bias": "phi", "soft-cap": "gemma2", "scale": "cohere"}
TERMS: dict[str, tuple[Term, ...]] = {
    "top-k": (
        ForwardKLTerm(stream="reason", temperature=2.0),
        ReverseKLTerm(stream="act", weight=0.5),
        JSDTerm(stream="generated", beta=0.9, reduction="span_mean"),
        CrossEntropyTerm(stream="format", reduction="sum"),
    ),
    "exact": (
        ForwardKLTerm(stream="reason", signal="exact"),
        ReverseKLTerm(stream="act", signal="exact"),
        JSDTerm(stream="generated", signal="exact", beta=0.3, temperature=0.5),
    ),
    "uld": (ULDTerm(stream="reason"), CrossEntropyTerm(stream="random")),
}


def student_of(head: str) -> Any:
    return toy_model() if head == "tied" else model_of(HEADS[head])


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def dense(
    model: Any, batch: Batch, terms: tuple[Term, ...], coefficients: list[float], teacher: Any, precision: str
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """All logits at once, from the model's own forward."""
    model.zero_grad()
    ids, at = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.positions)
    with torch.no_grad():
        teacher_logits = teacher(input_ids=ids, use_cache=False).logits.flatten(0, 1)[at]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)[at]
    loss, values = objective(logits, batch, terms, coefficients, lambda: teacher_logits)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), values, gradients(model)


def chunked(
    model: Any,
    batch: Batch,
    terms: tuple[Term, ...],
    coefficients: list[float],
    teacher: Any = None,
    precision: str = "float32",
    rows: int = 7,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss_of = ChunkedLoss(model, terms, teacher and FrozenTeacher(teacher), max_chunk_rows=rows)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        loss, values = loss_of({"input_ids": torch.from_numpy(batch.input_ids)}, batch, coefficients)
    loss.backward()
    return loss.detach(), values, gradients(model)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", TERMS)
def test_chunks_give_the_loss_and_the_gradients_of_dense_logits(name: str, head: str, precision: str) -> None:
    terms, model, teacher = TERMS[name], student_of(head), toy_model(seed=1)
    batch = batch_of(terms, range(2))
    coefficients = term_coefficients(terms, batch.weights.sum(axis=1), 20.0)
    given = (model, batch, terms, coefficients, teacher, precision)
    loss, values, expected = dense(*given)
    near = {"rtol": 1e-5, "atol": 1e-6} if precision == "float32" else {"rtol": 2e-2, "atol": 4e-3}
    for rows in (1, 7, 1000) if precision == "float32" else (7,):
        its_loss, its_values, its_gradients = chunked(*given, rows=rows)
        torch.testing.assert_close(its_loss, loss, rtol=near["rtol"], atol=near["atol"])
        torch.testing.assert_close(its_values, values, rtol=near["rtol"], atol=near["atol"])
        assert its_gradients.keys() == expected.keys()
        for parameter, gradient in expected.items():
            torch.testing.assert_close(its_gradients[parameter], gradient, rtol=near["rtol"], atol=near["atol"])


def test_the_weight_gradient_is_summed_in_float32_under_autocast() -> None:
    """With 600 equal tokens, a bfloat16 sum over chunks of one token would stop growing at 256 of them."""
    model, terms = model_of("llama"), (CrossEntropyTerm(stream="act"),)
    count, none = 600, np.zeros(0, np.int64)
    batch = Batch(
        input_ids=np.full((count, 1), 3, np.int64),
        positions=np.arange(count),
        labels=np.full(count, 5, np.int64),
        weights=np.ones((1, count), np.float32),
        teacher_rows=none,
        teacher_sizes=none,
        teacher_ids=none.reshape(0, 1),
        teacher_logprobs=np.zeros((0, 1), np.float32),
        teacher_tail=np.zeros(0, np.float32),
    )
    by_chunk = chunked(model, batch, terms, [1.0], precision="bfloat16", rows=1)[2]["lm_head.weight"]
    exact = chunked(model, batch, terms, [1.0])[2]["lm_head.weight"]
    assert (by_chunk - exact).norm() < 0.02 * exact.norm()


class Shapes(TorchDispatchMode):
    """Records the shapes of all arrays that are made; a view is none."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in () if func.is_view else result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.seen.add(tuple(tensor.shape))
        return result


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", TERMS)
def test_no_array_over_the_vocabulary_has_more_rows_than_a_chunk(name: str, head: str) -> None:
    terms, model = TERMS[name], student_of(head)
    batch = batch_of(terms, range(4))
    coefficients = term_coefficients(terms, batch.weights.sum(axis=1))
    with Shapes() as shapes:
        chunked(model, batch, terms, coefficients, toy_model(seed=1), rows=5)
    hidden = model.config.hidden_size
    over_vocabulary = {s for s in shapes.seen if VOCABULARY in s and s[-1] != hidden and hidden not in s[:1]}
    assert max(np.prod(s) // VOCABULARY for s in over_vocabulary) == 5


def test_logits_of_a_token_are_computed_once_and_only_if_it_has_weight() -> None:
    terms = TERMS["top-k"]
    model, batch = toy_model(), batch_of(terms)
    coefficients = term_coefficients(terms, batch.weights.sum(axis=1))
    coefficients[1:] = [0.0, 0.0, 0.0]
    parts = chunks(batch, terms, coefficients, 4)
    at = np.concatenate([part.positions for part in parts])
    assert sorted(at) == sorted(batch.positions[batch.weights[0] > 0])
    with Shapes() as shapes:
        chunked(model, batch, terms, coefficients, rows=10_000)
    assert (len(at), VOCABULARY) in shapes.seen
    assert not any(s[0] > len(at) for s in shapes.seen if s[-1:] == (VOCABULARY,) and len(s) == 2)


def test_a_batch_without_weight_gives_zero_gradients_for_every_parameter() -> None:
    for head in HEADS:
        terms, model = TERMS["top-k"], student_of(head)
        loss, values, found = chunked(model, batch_of(terms, range(1)), terms, [0.0] * 4)
        assert float(loss) == 0.0
        assert values.tolist() == [0.0] * 4
        assert found.keys() == {name for name, _ in model.named_parameters()}
        assert not any(gradient.any() for gradient in found.values())


@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "lm_head"]])
def test_adapters_get_the_gradients_of_dense_logits_and_the_frozen_head_none(targets: list[str]) -> None:
    terms = TERMS["top-k"]
    base = model_of("llama")
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    batch = batch_of(terms, range(2))
    given = (model, batch, terms, term_coefficients(terms, batch.weights.sum(axis=1)), toy_model(), "float32")
    with Shapes() as shapes:
        loss, _, found = chunked(*given)
    expected = dense(*given)
    torch.testing.assert_close(loss, expected[0], rtol=1e-5, atol=1e-6)
    assert found.keys() == expected[2].keys()
    assert all("lora" in name for name in found)
    assert any("lm_head" in name for name in found) == ("lm_head" in targets)
    for name, gradient in expected[2].items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)
    weight = tuple(base.get_output_embeddings().weight.shape)
    assert weight not in shapes.seen or "lm_head" in targets  # no gradient of the frozen weight


def test_a_second_backward_pass_is_refused() -> None:
    terms = (CrossEntropyTerm(stream="act"),)
    batch = batch_of(terms, range(1))
    loss, _ = ChunkedLoss(toy_model(), terms)({"input_ids": torch.from_numpy(batch.input_ids)}, batch, [1.0])
    loss.backward(retain_graph=True)
    with pytest.raises(AssertionError, match="only once"):
        loss.backward()


@st.composite
def batches(draw: st.DrawFn) -> tuple[Batch, int]:
    """A batch with random weights of three terms; ULD's groups of 1 to 4 tokens have one weight."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    count = sum(sizes)
    uld = np.repeat(draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))), sizes)
    others = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    weights = np.array([uld, np.array(others) & 1, np.array(others) >> 1], np.float32)
    rows = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
    batch = Batch(
        input_ids=np.zeros((1, count), np.int64),
        positions=np.arange(count) * 2,
        labels=np.arange(count),
        weights=weights,
        teacher_rows=rows,
        teacher_sizes=np.array(sizes, np.int64),
        teacher_ids=rows[:, None],
        teacher_logprobs=np.zeros((len(sizes), 1), np.float32),
        teacher_tail=rows.astype(np.float32),
    )
    return batch, draw(st.integers(1, 20))


@given(batches())
@settings(max_examples=200, deadline=None)
def test_chunks_partition_the_tokens_with_weight_and_keep_aligned_groups_together(given: tuple[Batch, int]) -> None:
    batch, max_rows = given
    terms = (ULDTerm(stream="act"), CrossEntropyTerm(stream="reason"), ForwardKLTerm(stream="format"))
    parts = chunks(batch, terms, [1.0, 1.0, 1.0], max_rows)
    labels = np.concatenate([part.labels for part in parts])
    weighted = batch.labels[batch.weights.any(axis=0)]
    assert set(weighted) <= set(labels)
    assert len(set(labels)) == len(labels)
    for part in parts:
        assert len(part.labels) <= max(max_rows, 4)
        assert np.array_equal(part.weights, batch.weights[:, part.labels])
        assert np.array_equal(part.positions, batch.positions[part.labels])
        assert np.array_equal(part.labels[part.teacher_rows], part.teacher_ids[:, 0])
        for first, size in zip(part.teacher_rows, part.teacher_sizes, strict=True):
            assert np.array_equal(part.labels[first : first + size] - part.labels[first], np.arange(size))


def test_a_small_problem_is_one_chunk_and_a_large_vocabulary_gets_few_rows() -> None:
    assert chunk_rows(4_096, "cpu") >= 4_096
    assert chunk_rows(32_000, "cpu") >= 512
    assert 64 <= chunk_rows(151_936, "cpu") <= 128
    assert chunk_rows(1 << 40, "cpu") == 1
