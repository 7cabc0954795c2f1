"""Tests of the training objective.

1. Summed terms with lambda 1 that partition the generated tokens equal masked token distillation bit for bit.
2. Means are over all tokens or spans of a step, so dividing the step into micro-batches or over ranks has no effect.
3. A micro-batch without weight gives zero gradients.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from learner.data.batching import Batch, collate
from learner.data.streams import to_sequence
from learner.head import selected_states
from learner.losses.chunked import ChunkedLoss
from learner.losses.divergences import cross_entropy, forward_kl
from learner.losses.objective import known_entries, objective, term_coefficients, tokens_of_sums
from learner.terms import CrossEntropyTerm, ForwardKLTerm, JSDTerm, ReverseKLTerm, Term, ULDTerm
from tests.learner.toys import VOCABULARY, toy_model, toy_trajectory


def batch_of(terms: tuple[Term, ...], seeds: range = range(4)) -> Batch:
    weight_names = [term.weight_name for term in terms]
    return collate([to_sequence(toy_trajectory(s, k=4), weight_names) for s in seeds], weight_names)


def logits_for(batch: Batch) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(batch.positions), VOCABULARY, generator=generator).requires_grad_()


def loss_and_gradient(terms: tuple[Term, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = batch_of(terms)
    logits = logits_for(batch)
    loss, _ = objective(logits, batch, terms, term_coefficients(terms, batch.weights.sum(axis=1)))
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient


@pytest.mark.parametrize("make", [CrossEntropyTerm, ForwardKLTerm, ReverseKLTerm, JSDTerm, ULDTerm])
def test_terms_that_partition_the_generated_tokens_equal_token_distillation_bit_for_bit(make: Any) -> None:
    spans = tuple(make(stream=stream, reduction="sum") for stream in ("reason", "act", "format"))
    tokens = (make(stream="generated", reduction="sum"),)
    for part, whole in zip(loss_and_gradient(spans), loss_and_gradient(tokens), strict=True):
        assert torch.equal(part, whole)


def test_structured_distillation_with_lambda_1_equals_manually_masked_token_distillation() -> None:
    """The expected value is the summed masked KL of arXiv 2505.13820, computed here without streams."""
    terms = tuple(ForwardKLTerm(stream=stream, reduction="sum") for stream in ("reason", "act", "format"))
    episodes = [toy_trajectory(seed, k=4) for seed in range(4)]
    logits, losses = logits_for(batch_of(terms)), []
    written = [s.teacher for t in episodes for s in t.segments if s.author == "model"]
    for scores in written:
        assert scores is not None
        rows = logits[sum(map(len, losses)) :][: len(scores)]
        arrays = torch.tensor(scores.token_ids), torch.tensor(scores.logprobs), torch.tensor(scores.tail_mass)
        losses.append(forward_kl(rows, *arrays))
    expected = torch.cat(losses).sum()
    loss, gradient = loss_and_gradient(terms)
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert torch.allclose(gradient, torch.autograd.grad(expected, logits)[0], atol=1e-6)


def test_terms_with_different_parameters_are_evaluated_separately() -> None:
    terms = tuple(JSDTerm(stream=s, beta=b, reduction="sum") for s, b in (("reason", 0.0), ("act", 1.0)))
    apart = (ForwardKLTerm(stream="reason", reduction="sum"), ReverseKLTerm(stream="act", reduction="sum"))
    for one, other in zip(loss_and_gradient(terms), loss_and_gradient(apart), strict=True):
        assert torch.equal(one, other)


def test_terms_add_up_to_what_a_loop_over_tokens_gives() -> None:
    terms = (
        CrossEntropyTerm(stream="reason", weight=0.5),
        CrossEntropyTerm(stream="act", weight=2.0, reduction="sum"),
        CrossEntropyTerm(stream="generated"),
    )
    batch = batch_of(terms)
    logits = logits_for(batch)
    loss, values = objective(logits, batch, terms, term_coefficients(terms, batch.weights.sum(axis=1)))
    each = cross_entropy(logits, torch.from_numpy(batch.labels)).detach().double().numpy()
    weighted = [[float(value) for value, w in zip(each, row, strict=True) if w] for row in batch.weights]
    by_hand = [np.mean(weighted[0]), np.sum(weighted[1]), np.mean(weighted[2])]
    assert values.tolist() == pytest.approx(by_hand, rel=1e-6)
    assert float(loss.detach()) == pytest.approx(0.5 * by_hand[0] + 2.0 * by_hand[1] + by_hand[2], rel=1e-6)


def test_reductions_equal_values_computed_by_hand() -> None:
    """Losses 1, 2, 3 on reason and 4 on act: the mean over tokens is 2.5, the mean of span means is 3.0.

    The generated tokens have two spans, one per kind; terms for reason and act with lambda 1/2 give the same loss.
    """
    third = 1 / 3
    weights = np.array(
        [[1, 1, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1], [third, third, third, 1], [third, third, third, 0], [0, 0, 0, 1]],
        np.float32,
    )
    none = np.zeros(0, np.int64)
    batch = Batch(
        input_ids=np.zeros((1, 64), np.int64),
        positions=np.arange(4),
        labels=np.zeros(4, np.int64),
        weights=weights,
        teacher_rows=none,
        teacher_sizes=none,
        teacher_ids=none.reshape(0, 1),
        teacher_logprobs=np.zeros((0, 1), np.float32),
        teacher_tail=np.zeros(0, np.float32),
    )
    label = -torch.arange(1.0, 5.0)
    logits = torch.stack([label, torch.log1p(-label.exp())], dim=1)  # -log softmax of label 0 is 1, 2, 3, 4
    terms = (
        *(CrossEntropyTerm(stream=stream) for stream in ("reason", "act", "generated")),
        *(CrossEntropyTerm(stream=stream, reduction="span_mean") for stream in ("generated", "reason", "act")),
    )
    _, values = objective(logits, batch, terms, term_coefficients(terms, weights.sum(axis=1)))
    assert values.tolist() == pytest.approx([2.0, 4.0, 2.5, 3.0, 2.0, 4.0], abs=1e-5)
    halves = tuple(CrossEntropyTerm(stream=s, reduction="span_mean", weight=0.5) for s in ("reason", "act"))
    parts = dataclasses.replace(batch, weights=weights[4:])
    loss, _ = objective(logits, parts, halves, term_coefficients(halves, weights[4:].sum(axis=1)))
    assert float(loss) == pytest.approx(3.0, abs=1e-5)


def test_a_mean_of_span_means_equals_a_loop_over_the_spans_of_all_episodes() -> None:
    terms = (CrossEntropyTerm(stream="generated", reduction="span_mean"),)
    batch = batch_of(terms)
    logits = logits_for(batch)
    _, values = objective(logits, batch, terms, term_coefficients(terms, batch.weights.sum(axis=1)))
    each = iter(cross_entropy(logits, torch.from_numpy(batch.labels)).tolist())
    spans: dict[tuple[int, int, str], list[float]] = {}
    for seed in range(4):
        for segment in (s for s in toy_trajectory(seed).segments if s.author == "model"):
            spans.setdefault((seed, segment.turn, segment.kind), []).extend(next(each) for _ in segment.token_ids)
    assert float(values) == pytest.approx(np.mean([np.mean(span) for span in spans.values()]), rel=1e-5)


def test_dividing_a_step_into_micro_batches_keeps_loss_and_gradient() -> None:
    terms = (
        ForwardKLTerm(stream="reason", temperature=2.0),
        CrossEntropyTerm(stream="act"),
        JSDTerm(stream="generated", beta=0.9, reduction="span_mean"),
        ULDTerm(stream="reason", reduction="sum"),
    )
    model = ChunkedLoss(toy_model(), terms)
    whole = batch_of(terms)
    coefficients = term_coefficients(terms, whole.weights.sum(axis=1))

    def gradient(batches: list[Batch]) -> torch.Tensor:
        model.zero_grad()
        for batch in batches:
            model({"input_ids": torch.from_numpy(batch.input_ids)}, batch, coefficients)[0].backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    parts = [batch_of(terms, range(start, start + 1)) for start in range(4)]
    assert torch.allclose(gradient([whole]), gradient(parts), atol=1e-6)


def test_a_micro_batch_without_weight_gives_zero_gradients_for_every_parameter() -> None:
    terms = (CrossEntropyTerm(stream="act"),)
    model = ChunkedLoss(toy_model(), terms)
    batch = batch_of(terms)
    loss, values = model({"input_ids": torch.from_numpy(batch.input_ids)}, batch, [0.0])
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert values.tolist() == [0.0]
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_a_term_without_tokens_in_a_step_has_coefficient_zero() -> None:
    terms = (CrossEntropyTerm(stream="act", weight=3.0), CrossEntropyTerm(stream="reason", weight=3.0))
    assert term_coefficients(terms, [0.0, 6.0]) == [0.0, 0.5]


def test_a_sum_divides_by_the_episodes_of_the_step_and_the_mean_tokens_of_the_training_set() -> None:
    """Training set: 2 reason and 4 act tokens per episode. Step: 3 episodes with 12 and 15 of them."""
    terms = (CrossEntropyTerm(stream="reason", reduction="sum"), CrossEntropyTerm(stream="act", reduction="sum"))
    mean = CrossEntropyTerm(stream="act")
    assert tokens_of_sums((*terms, mean), [2.0, 4.0, 4.0]) == 6.0
    assert term_coefficients((*terms, mean), [12.0, 15.0, 15.0], 3 * 6.0) == [1 / 18, 1 / 18, 1 / 15]
    assert tokens_of_sums((mean,), [4.0]) == 1.0


def test_rows_of_a_batch_are_independent_and_padding_has_no_effect() -> None:
    terms = (CrossEntropyTerm(stream="generated"),)
    model = toy_model()
    pair, alone = batch_of(terms, range(2)), batch_of(terms, range(1))
    changed = pair.input_ids.copy()
    changed[0, len(to_sequence(toy_trajectory(0), ["act"])) :] = 7
    both, other_padding, one = (
        selected_states(model, {"input_ids": torch.from_numpy(ids)}, torch.from_numpy(batch.positions))[0]
        for ids, batch in ((pair.input_ids, pair), (changed, pair), (alone.input_ids, alone))
    )
    assert torch.allclose(both[: len(one)], one, atol=1e-5)
    assert torch.allclose(both, other_padding, atol=1e-5)


def test_the_mass_of_entries_that_the_student_lacks_moves_to_the_tail() -> None:
    ids = np.array([[1, 9, 2], [9, 1, 8], [0, 1, 2]])
    logprobs = np.log(np.array([[0.5, 0.2, 0.1], [0.4, 0.3, 0.2], [0.5, 0.25, 0.125]], np.float32))
    tail = np.array([0.2, 0.1, 0.125], np.float32)
    known, kept, rest = known_entries(ids, logprobs, tail, vocabulary=8)
    assert known.tolist() == [[1, 1, 2], [1, 1, 1], [0, 1, 2]]
    assert np.exp(kept) == pytest.approx(np.array([[0.5, 0, 0.1], [0, 0.3, 0], [0.5, 0.25, 0.125]]))
    assert rest == pytest.approx([0.4, 0.7, 0.125])
    assert known_entries(ids, logprobs, tail, vocabulary=10)[0] is ids
    logits = torch.zeros(3, 8)
    terms = [torch.from_numpy(array) for array in (known, kept, rest)]
    assert torch.isfinite(forward_kl(logits, *terms)).all()
