"""Toy trajectories with random token ids, a toy tokenizer and toy models for the learner's tests."""

from __future__ import annotations

import random
from math import log
from pathlib import Path
from typing import Any

from rollout.trajectory import (
    Author,
    Identity,
    Kind,
    Outcome,
    Policy,
    Segment,
    StopReason,
    TopK,
    Trajectory,
)

VOCABULARY = 64


def toy_tokenizer(folder: Path, words: int = VOCABULARY) -> str:
    """Write a word-level tokenizer with ``words`` entries in total; returns its folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>"]
    vocabulary = {word: i for i, word in enumerate(special + [f"w{i}" for i in range(words - len(special))])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<|pad|>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<|pad|>", eos_token="<|end|>")
    wrapped.save_pretrained(str(folder))
    return str(folder)


def toy_top_k(rng: random.Random, taken: tuple[int, ...], k: int) -> TopK:
    """Return scores with 0.7 on the recorded token, 0.2 spread over k - 1 others and 0.1 in the tail."""
    ids = [(token, *rng.sample([v for v in range(VOCABULARY) if v != token], k - 1)) for token in taken]
    row = (log(0.7), *[log(0.2 / (k - 1))] * (k - 1))
    return TopK(tuple(ids), tuple(row for _ in taken), tuple(0.1 for _ in taken))


def toy_trajectory(seed: int, *, turns: int = 3, success: bool = True, k: int = 0, hint: bool = False) -> Trajectory:
    """Return an episode with several turns; ``k`` > 0 adds teacher scores to the generated tokens."""
    rng, score_rng = random.Random(seed), random.Random(seed)

    def segment(kind: Kind, author: Author, turn: int, length: int) -> Segment:
        ids = tuple(rng.randrange(2, VOCABULARY) for _ in range(length))
        scored = k > 0 and author is Author.MODEL
        return Segment(kind, author, turn, "", ids, teacher=toy_top_k(score_rng, ids, k) if scored else None)

    segments = [segment(Kind.SYSTEM, Author.PROMPT, 0, 4)]
    if hint:
        segments.append(segment(Kind.HINT, Author.PROMPT, 0, 5))
    segments += [segment(Kind.OBSERVATION, Author.ENVIRONMENT, 0, 6), segment(Kind.TASK, Author.PROMPT, 0, 5)]
    for turn in range(1, turns + 1):
        segments += [
            segment(Kind.FORMAT, Author.TEMPLATE, turn, 1),
            segment(Kind.REASON, Author.MODEL, turn, rng.randint(2, 9)),
            segment(Kind.FORMAT, Author.MODEL, turn, 1),
            segment(Kind.ACT, Author.MODEL, turn, rng.randint(2, 5)),
            segment(Kind.OBSERVATION, Author.ENVIRONMENT, turn, rng.randint(3, 8)),
        ]
    stop = StopReason.SUCCESS if success else StopReason.FAILURE
    return Trajectory(
        Identity("toy", "teacher", 0, f"task-{seed}", 0, "toy", "train"),
        Policy("toy", 0, "react"),
        Outcome(float(success), success, stop),
        tuple(segments),
    )


def toy_model(seed: int = 0, kv_heads: int = 1) -> Any:
    """Return a two-layer Qwen2 model over the toy vocabulary."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=kv_heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
    )


def small_model(kind: str) -> Any:
    """Return a two-layer model of a transformers model type over the toy vocabulary, without dropout."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    widths = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    dropout = dict.fromkeys(("dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, max_position_embeddings=512, **widths, **dropout)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def uld_of(
    student: Any,
    student_ids: list[int],
    teacher: Any,
    teacher_ids: list[int],
    parts: list[tuple[range, range]],
    k: int | None = None,
) -> Any:
    """Return ``[N]``: the ULD between logits of two vocabularies with the teacher's top k entries; None is all."""
    import torch

    from learner.losses.uld import uld
    from rollout.prompts.alignment import align_scores

    top = teacher.double().softmax(dim=1).topk(k or teacher.shape[1], dim=1)
    tails = (1.0 - top.values.sum(dim=1)).clamp_min(0.0)
    scores = TopK(
        tuple(map(tuple, top.indices.tolist())), tuple(map(tuple, top.values.log().tolist())), tuple(tails.tolist())
    )
    aligned = align_scores(scores, teacher_ids, parts, len(student_ids))
    first = torch.tensor([part.start for _, part in parts])
    return uld(
        student,
        torch.tensor(student_ids),
        first,
        torch.tensor([len(part) for _, part in parts]),
        torch.tensor([aligned.logprobs[place] for place in first]),
        torch.tensor([aligned.tail_mass[place] for place in first]),
    )
