"""Student and teacher as model folders with random weights, and the teacher's scoring pass.

Dimensions: T tokens of an episode, N trained tokens, V vocabulary, k entries of the scores.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.bench.learner.workload import (
    CONFIDENT,
    RESERVED,
    SEED,
    ModelSize,
    Workload,
    episodes,
    token_ids,
    trained,
    with_scores,
)
from rollout.errors import UserError
from rollout.trajectory import TopK, Trajectory

CONFIDENCE = 16.0
"""Standard deviation of the teacher's logits of the tokens that it is confident in."""


def prepare(workload: Workload, folder: Path) -> None:
    """Write the student, the teacher and the scored episodes into ``folder``."""
    tokenizer = make_tokenizer(workload.vocabulary)
    for name, size, seed in (("student", workload.student, SEED), ("teacher", workload.teacher, SEED + 1)):
        model = make_model(workload, size, seed)
        if name == "teacher":
            make_confident(model)
        model.save_pretrained(str(folder / name))
        tokenizer.save_pretrained(str(folder / name))
    teacher = load_model(workload, folder / "teacher").eval()
    scored = [with_scores(episode, score(teacher, episode, workload.top_k)) for episode in episodes(workload)]
    (folder / "episodes.pickle").write_bytes(pickle.dumps(scored))


def scored_episodes(folder: Path) -> list[Trajectory]:
    """The episodes that `prepare` wrote in the same run."""
    return list(pickle.loads((folder / "episodes.pickle").read_bytes()))  # noqa: S301  our own file


def make_tokenizer(vocabulary: int) -> Any:
    """A tokenizer with one word for each id."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<|pad|>": 0, "<|end|>": 1, **{f"w{number}": number for number in range(2, vocabulary)}}
    raw = Tokenizer(models.WordLevel(words, unk_token="<|pad|>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<|pad|>", eos_token="<|end|>")


def make_model(workload: Workload, size: ModelSize, seed: int) -> Any:
    """A Qwen2 model with random weights in float32."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=workload.vocabulary,
            hidden_size=size.hidden,
            intermediate_size=size.intermediate,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.kv_heads,
            max_position_embeddings=workload.max_positions,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    )


@torch.no_grad()
def make_confident(model: Any) -> None:
    """Give `CONFIDENT` tokens almost all probability, as a trained model gives it to a few.

    The top-k scores then hold all but a millionth of it, so that the divergence over them equals the one over the whole
    vocabulary, which TRL computes, and the losses can be compared. No episode contains these tokens.
    """
    assert max(CONFIDENT) < RESERVED
    weight_VH = model.get_output_embeddings().weight
    weight_VH[list(CONFIDENT)] *= CONFIDENCE / weight_VH.shape[1] ** 0.5 / model.config.initializer_range


def load_model(workload: Workload, folder: Path) -> Any:
    """The model of ``folder`` in float32 on the workload's device."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, attn_implementation="sdpa")
    return model.to(workload.device)


def selected_logits(model: Any, episode: Trajectory) -> tuple[Tensor, Tensor]:
    """Logits ``[N, V]`` before each trained token, and these tokens ``[N]``. One forward pass without padding."""
    ids_T = torch.tensor(token_ids(episode), device=model.device)
    targets_N = torch.tensor(trained(episode), device=model.device).nonzero()[:, 0]
    # The model drops all other hidden states before its head.
    logits_1NV = model(input_ids=ids_T[None], logits_to_keep=targets_N - 1, use_cache=False).logits
    return logits_1NV[0], ids_T[targets_N]


@torch.inference_mode()
def top_k(model: Any, episode: Trajectory, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The teacher's scoring pass: ids ``[N, k]``, log-probabilities ``[N, k]`` and tail mass ``[N]``."""
    logits_NV = selected_logits(model, episode)[0].float()
    values_Nk, ids_Nk = logits_NV.topk(k)
    logprobs_Nk = values_Nk - logits_NV.logsumexp(dim=1, keepdim=True)
    return ids_Nk, logprobs_Nk, (1.0 - logprobs_Nk.exp().sum(dim=1)).clamp_min(0.0)


def score(model: Any, episode: Trajectory, k: int) -> TopK:
    """The same as a part of the record."""
    ids, logprobs, tail = (array.tolist() for array in top_k(model, episode, k))
    return TopK(tuple(map(tuple, ids)), tuple(map(tuple, logprobs)), tuple(tail), "teacher")


def gpu_name() -> str:
    """The name of the GPU.

    Raises:
        UserError: PyTorch cannot use one.
    """
    if not torch.cuda.is_available():
        raise UserError("there is no GPU that PyTorch can use, so --device cuda is not measured; use --device cpu.")
    return torch.cuda.get_device_name()
