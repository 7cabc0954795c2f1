"""Shapes of models, from a table of well-known models or a folder's ``config.json``. Nothing is downloaded.

The table lists the values of the models' ``config.json`` on the Hugging Face hub. ``config.json`` is read without
transformers: ``AutoConfig`` imports torch and takes several times as long as the whole dry run, and the sizes of single
matrices, which memory depends on, would still have to be computed from the shape. The tests compare the numbers of
parameters with those of transformers' models on torch's meta device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cluster.config.errors import format_value
from learner.config import ScratchConfig
from rollout.errors import UserError
from rollout.messages import one_line
from rollout.models import model_folder

Family = Literal["gated", "opt", "gpt2"]
"""Layer architecture: ``gated`` is that of Llama and Qwen (rotary positions, three matrices in the MLP)."""


class UnknownShapeError(UserError):
    """The shape of a model is not known, so its memory cannot be estimated; the model may still work."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder.

    Attributes:
        family: layer architecture.
        tokenizer: name of the vocabulary, equal for models that share it; empty if not known.
        attention_bias: whether queries, keys and values have biases (Qwen 2).
        head_norm: whether queries and keys are normalized per head (Qwen 3).
        dtype: dtype of the stored weights.
    """

    name: str
    family: Family
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    positions: int
    tied: bool = True
    attention_bias: bool = False
    head_norm: bool = False
    tokenizer: str = ""
    dtype: str = "bfloat16"

    @property
    def kv_size(self) -> int:
        """Number of elements in a layer's keys per token."""
        return self.kv_heads * self.head_size

    @property
    def embedding_parameters(self) -> int:
        """Parameters of token and learned position embeddings, and of the output head if it is not tied."""
        learned = {"gated": 0, "gpt2": self.positions, "opt": self.positions + 2}[self.family]
        return (self.vocabulary * (1 if self.tied else 2) + learned) * self.hidden

    @property
    def linear_sizes(self) -> tuple[tuple[int, int], ...]:
        """Sizes (inputs, outputs) of the matrices of a layer, in the order of their use."""
        h, q, kv, i = self.hidden, self.heads * self.head_size, self.kv_size, self.intermediate
        mlp = ((h, i), (h, i), (i, h)) if self.family == "gated" else ((h, i), (i, h))
        attention = ((h, 3 * h), (h, h)) if self.family == "gpt2" else ((h, q), (h, kv), (h, kv), (q, h))
        return (*attention, *mlp)

    @property
    def layer_matrix_parameters(self) -> int:
        """Parameters of the matrices of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.linear_sizes)

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer, including biases and norms."""
        q, kv = self.heads * self.head_size, self.kv_size
        if self.family == "gated":
            biases = q + 2 * kv if self.attention_bias else 0
            norms = 2 * self.hidden + (2 * self.head_size if self.head_norm else 0)
        else:
            biases, norms = sum(outputs for _, outputs in self.linear_sizes), 4 * self.hidden
        return self.layer_matrix_parameters + biases + norms

    @property
    def parameters(self) -> int:
        """All parameters; tied ones are counted once."""
        final_norm = self.hidden if self.family == "gated" else 2 * self.hidden
        return self.embedding_parameters + self.layers * self.layer_parameters + final_norm

    def widened(self, factor: int) -> ModelShape:
        """The shape after ``learner.widen``, which multiplies the widths and keeps the number of layers."""
        if factor == 1:
            return self
        return replace(
            self,
            hidden=self.hidden * factor,
            heads=self.heads * factor,
            kv_heads=self.kv_heads * factor,
            intermediate=self.intermediate * factor,
        )


def _qwen(name: str, hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int) -> ModelShape:
    small = hidden < 3584  # larger models have an untied head and a vocabulary with more padding
    return ModelShape(
        name, "gated", 151_936 if small else 152_064, hidden, layers, heads, kv_heads, 128 if hidden > 896 else 64,
        intermediate, 32_768, tied=small, attention_bias=True, tokenizer="Qwen2.5",
    )  # fmt: skip


def _llama(
    name: str, hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int, *, tied: bool = False
) -> ModelShape:
    third = kv_heads != heads
    vocabulary, positions = (128_256, 131_072) if third else (32_000, 4096 if "Llama-2" in name else 2048)
    tokenizer = "Llama 3" if third else "Llama 2"
    return ModelShape(
        name, "gated", vocabulary, hidden, layers, heads, kv_heads, hidden // heads, intermediate, positions,
        tied=tied, tokenizer=tokenizer, dtype="bfloat16" if third else "float16",
    )  # fmt: skip


def _opt(name: str, hidden: int, layers: int, heads: int) -> ModelShape:
    return ModelShape(
        name, "opt", 50_272, hidden, layers, heads, heads, hidden // heads, 4 * hidden, 2048, tokenizer="OPT",
        dtype="float16",
    )  # fmt: skip


def _gpt2(name: str, hidden: int, layers: int, heads: int) -> ModelShape:
    return ModelShape(
        name, "gpt2", 50_257, hidden, layers, heads, heads, 64, 4 * hidden, 1024, tokenizer="GPT-2", dtype="float32"
    )


_QWEN = (
    _qwen("Qwen/Qwen2.5-0.5B", 896, 24, 14, 2, 4864),
    _qwen("Qwen/Qwen2.5-1.5B", 1536, 28, 12, 2, 8960),
    _qwen("Qwen/Qwen2.5-3B", 2048, 36, 16, 2, 11_008),
    _qwen("Qwen/Qwen2.5-7B", 3584, 28, 28, 4, 18_944),
    _qwen("Qwen/Qwen2.5-14B", 5120, 48, 40, 8, 13_824),
    _qwen("Qwen/Qwen2.5-32B", 5120, 64, 40, 8, 27_648),
)
_OTHERS = (
    _llama("huggyllama/llama-7b", 4096, 32, 32, 32, 11_008),
    _llama("huggyllama/llama-13b", 5120, 40, 40, 40, 13_824),
    _llama("meta-llama/Llama-2-7b-hf", 4096, 32, 32, 32, 11_008),
    _llama("meta-llama/Llama-2-13b-hf", 5120, 40, 40, 40, 13_824),
    _llama("meta-llama/Llama-3.1-8B-Instruct", 4096, 32, 32, 8, 14_336),
    _llama("meta-llama/Llama-3.2-1B-Instruct", 2048, 16, 32, 8, 8192, tied=True),
    _llama("meta-llama/Llama-3.2-3B-Instruct", 3072, 28, 24, 8, 8192, tied=True),
    _opt("facebook/opt-1.3b", 2048, 24, 32),
    _opt("facebook/opt-2.7b", 2560, 32, 32),
    _opt("facebook/opt-6.7b", 4096, 32, 32),
    _opt("facebook/opt-13b", 5120, 40, 40),
    _gpt2("openai-community/gpt2", 768, 12, 12),
    _gpt2("openai-community/gpt2-medium", 1024, 24, 16),
    _gpt2("openai-community/gpt2-large", 1280, 36, 20),
    _gpt2("openai-community/gpt2-xl", 1600, 48, 25),
)
# Context lengths are those of the Instruct models; some base models have longer ones.
_INSTRUCT = tuple(replace(shape, name=f"{shape.name}-Instruct") for shape in _QWEN)
KNOWN_SHAPES: Mapping[str, ModelShape] = {shape.name: shape for shape in (*_QWEN, *_INSTRUCT, *_OTHERS)}
"""Shapes of hub models that are known without a download."""

_GATED = ("qwen2", "qwen3", "llama", "mistral")
_REQUIRED_KEYS = {
    **dict.fromkeys(_GATED, ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                             "intermediate_size", "max_position_embeddings")),
    "opt": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_dim",
            "max_position_embeddings"),
    "gpt2": ("vocab_size", "n_embd", "n_layer", "n_head", "n_positions"),
}  # fmt: skip
"""Required keys of ``config.json`` by ``model_type``."""


def shape_of(model: str) -> ModelShape:
    """The shape of a ``builtin:`` model, a folder or a known hub name.

    Raises:
        UserError: if the folder does not exist.
        UnknownShapeError: if its configuration is missing or has an unknown model type, or the hub name is not in the
            table.
    """
    if model in KNOWN_SHAPES and not Path(model).is_dir():
        return KNOWN_SHAPES[model]
    folder = Path(model_folder(model))
    if folder.is_dir():
        return _read(model, folder)
    raise UnknownShapeError(
        f"the shape of {model} is not known without a download; name the folder of a downloaded copy (config.json is "
        "enough) instead of the hub name, or a known model of similar size for an estimate"
    )


def read_config(model: str) -> Mapping[str, Any]:
    """The ``config.json`` of a model; empty if it is not a folder with a readable one. Raises the errors of folders."""
    file = Path(model_folder(model)) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def scratch_shape(scratch: ScratchConfig) -> ModelShape:
    """The shape of a model trained from scratch. Raises `UnknownShapeError` if its vocabulary is not known."""
    tokenizer = Path(model_folder(scratch.tokenizer)) / "tokenizer.json"
    if scratch.tokenizer in KNOWN_SHAPES:
        vocabulary = KNOWN_SHAPES[scratch.tokenizer].vocabulary
    elif tokenizer.is_file():
        vocabulary = _vocabulary_size(json.loads(tokenizer.read_text(encoding="utf-8")))
    else:
        raise UnknownShapeError(
            f"there is no {tokenizer}; name the folder of a downloaded copy as learner.scratch.tokenizer"
        )
    return ModelShape(
        "scratch", "gated", vocabulary, scratch.hidden_size, scratch.num_layers, scratch.num_heads,
        scratch.num_kv_heads, scratch.hidden_size // scratch.num_heads, scratch.intermediate_size,
        scratch.max_positions, scratch.tie_embeddings, attention_bias=scratch.family == "qwen2", dtype="float32",
    )  # fmt: skip


def _vocabulary_size(tokenizer: Mapping[str, Any]) -> int:
    """Number of distinct tokens in ``tokenizer.json``; added tokens may also be in the model's vocabulary."""
    entries = tokenizer["model"]["vocab"]
    added = [token["content"] for token in tokenizer.get("added_tokens", [])]
    return len({*entries, *added} if isinstance(entries, dict) else {*(text for text, _ in entries), *added})


def _read(model: str, folder: Path) -> ModelShape:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnknownShapeError(f"{file} cannot be read ({one_line(error)}); name a model folder") from error
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type not in _REQUIRED_KEYS:
        known = ", ".join(_REQUIRED_KEYS)
        raise UnknownShapeError(
            f"{file} has the model type {format_value(model_type)}, whose shape is not known; known are {known}"
        )
    missing = [key for key in _REQUIRED_KEYS[model_type] if not isinstance(config.get(key), int)]
    if missing:
        raise UnknownShapeError(f"{file} lacks {', '.join(missing)}; use the model's original config.json")
    return {"opt": _read_opt, "gpt2": _read_gpt2}.get(model_type, _read_gated)(model, config)


def _read_gated(model: str, config: Mapping[str, Any]) -> ModelShape:
    heads = config["num_attention_heads"]
    return ModelShape(
        name=model,
        family="gated",
        vocabulary=config["vocab_size"],
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate=config["intermediate_size"],
        positions=config["max_position_embeddings"],
        tied=config.get("tie_word_embeddings", False),
        attention_bias=config["model_type"] == "qwen2",
        head_norm=config["model_type"] == "qwen3",
        dtype=_dtype(config),
    )


def _read_opt(model: str, config: Mapping[str, Any]) -> ModelShape:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    return ModelShape(
        model, "opt", config["vocab_size"], hidden, config["num_hidden_layers"], heads, heads, hidden // heads,
        config["ffn_dim"], config["max_position_embeddings"], config.get("tie_word_embeddings", True),
        dtype=_dtype(config),
    )  # fmt: skip


def _read_gpt2(model: str, config: Mapping[str, Any]) -> ModelShape:
    hidden, heads = config["n_embd"], config["n_head"]
    return ModelShape(
        model, "gpt2", config["vocab_size"], hidden, config["n_layer"], heads, heads, hidden // heads,
        config.get("n_inner") or 4 * hidden, config["n_positions"], config.get("tie_word_embeddings", True),
        dtype=_dtype(config),
    )  # fmt: skip


def _dtype(config: Mapping[str, Any]) -> str:
    """Dtype of the stored weights; float32 if the configuration has none."""
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")
