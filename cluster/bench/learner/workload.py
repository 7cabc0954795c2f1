"""What every contender trains on: sizes, episodes, models and the teacher's scores. The same seed gives the same."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from rollout.trajectory import Author, Identity, Kind, Outcome, Policy, Segment, StopReason, TopK, Trajectory

SEED = 0
RESERVED = 80
"""Ids below this are not in any episode: padding, end of text, and the tokens that the teacher is confident in."""
CONFIDENT = range(8, 72)
"""Tokens that share almost all of the teacher's probability."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Shape of a Qwen2 model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int


@dataclass(frozen=True, slots=True)
class Workload:
    """Sizes of a benchmark. One optimizer step trains on all episodes, so every step of every contender is the same.

    Attributes:
        tokens: smallest and largest length of an episode.
        trained_share: fraction of an episode's tokens that are trained on, about.
        top_k: entries of the teacher's scores at each trained token.
        micro_batch_tokens: positions of one forward pass, for every contender that has passes of several episodes.
        warm_up: optimizer steps before the first measurement; their losses are compared.
        rounds: samples of each contender.
        steps: optimizer steps of a sample.
        threads: numbers of threads, one after the other.
    """

    name: str
    student: ModelSize
    teacher: ModelSize
    vocabulary: int
    episodes: int
    tokens: tuple[int, int]
    trained_share: float = 0.26
    top_k: int = 16
    micro_batch_tokens: int = 2048
    warm_up: int = 2
    rounds: int = 5
    steps: int = 2
    threads: tuple[int, ...] = (1, 2)
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"

    @property
    def num_steps(self) -> int:
        """Optimizer steps of one contender; it is stopped after the last."""
        return self.warm_up + self.rounds * self.steps * len(self.threads) + 1

    @property
    def max_positions(self) -> int:
        return max(512, 2 * self.tokens[1])


CPU = Workload(
    "cpu",
    student=ModelSize(256, 4, 4, 2, 512),
    teacher=ModelSize(512, 6, 8, 4, 1240),
    vocabulary=32_000,
    episodes=4,
    tokens=(200, 400),
)
"""A student of 10.6 and a teacher of 32.5 million parameters in float32."""
QUICK = Workload(
    "quick",
    student=ModelSize(32, 2, 2, 1, 64),
    teacher=ModelSize(48, 2, 2, 1, 64),
    vocabulary=512,
    episodes=4,
    tokens=(40, 90),
    micro_batch_tokens=192,
    rounds=2,
    steps=1,
)
"""Tiny models, to check that everything works. Its times mean nothing."""
GPU_TOKENS = (4096, 8192, 16_384)
"""Lengths of the episodes on a GPU."""


@dataclass(frozen=True, slots=True)
class HeadCase:
    """One measurement of the head's memory.

    Attributes:
        trained_tokens: a multiple of 1,024; they are in episodes of 1,024 trained tokens each.
    """

    trained_tokens: int
    vocabulary: int = 151_936
    divergence: str = "forward_kl"
    device: str = "cpu"


def gpu_workload(tokens: int) -> Workload:
    """A student of 0.5 and a teacher of 1.5 billion parameters in bfloat16; two episodes of ``tokens`` tokens."""
    return Workload(
        f"cuda_{tokens // 1024}k",
        student=ModelSize(896, 24, 14, 2, 4864),
        teacher=ModelSize(1536, 28, 12, 2, 8960),
        vocabulary=151_936,
        episodes=2,
        tokens=(tokens, tokens),
        micro_batch_tokens=tokens,
        threads=(4,),
        device="cuda",
        precision="bfloat16",
    )


def description(workload: Workload) -> dict[str, Any]:
    """All sizes, the numbers of parameters included, for the result."""
    sizes = {f"{name}_parameters": parameters(workload, size) for name, size in _models(workload)}
    return {**asdict(workload), **sizes}


def parameters(workload: Workload, size: ModelSize) -> int:
    """Number of parameters; the head is the embedding."""
    return workload.vocabulary * size.hidden + backbone_parameters(size)


def backbone_parameters(size: ModelSize) -> int:
    """Number of parameters without the embedding."""
    kv = size.kv_heads * size.hidden // size.heads
    attention = 2 * size.hidden**2 + 2 * size.hidden * kv + size.hidden + 2 * kv
    return size.layers * (attention + 3 * size.hidden * size.intermediate + 2 * size.hidden) + size.hidden


def _models(workload: Workload) -> tuple[tuple[str, ModelSize], tuple[str, ModelSize]]:
    return ("student", workload.student), ("teacher", workload.teacher)


def episodes(workload: Workload, seed: int = SEED) -> list[Trajectory]:
    """Successful episodes of several turns with random tokens: a prompt, then observation, reason and act."""
    rng = random.Random(seed)
    return [_episode(workload, rng, number) for number in range(workload.episodes)]


def _episode(workload: Workload, rng: random.Random, number: int) -> Trajectory:
    total = rng.randint(*workload.tokens)
    segments = [_segment(workload, rng, Kind.TASK, Author.PROMPT, 0, total // 5)]
    left, turn = total - total // 5, 0
    while left > 0:
        turn += 1
        length = min(left, rng.randint(48, 72))
        written = round(length * workload.trained_share * 5 / 4)
        act = max(1, written // 3)
        segments += [
            _segment(workload, rng, Kind.OBSERVATION, Author.ENVIRONMENT, turn, length - written),
            _segment(workload, rng, Kind.REASON, Author.MODEL, turn, max(0, written - act)),
            _segment(workload, rng, Kind.ACT, Author.MODEL, turn, act),
        ]
        left -= length
    return Trajectory(
        Identity("bench", "teacher", 0, f"task-{number}", 0, "bench", "train"),
        Policy("bench", 0, "react"),
        Outcome(1.0, True, StopReason.SUCCESS),
        tuple(segments),
    )


def _segment(workload: Workload, rng: random.Random, kind: Kind, author: Author, turn: int, tokens: int) -> Segment:
    ids = tuple(rng.randrange(RESERVED, workload.vocabulary) for _ in range(tokens))
    return Segment(kind, author, turn, "", ids)


def token_ids(trajectory: Trajectory) -> list[int]:
    """All tokens of an episode."""
    return [token for segment in trajectory.segments for token in segment.token_ids]


def trained(trajectory: Trajectory) -> list[bool]:
    """Whether each token is trained on: the tokens that the model wrote."""
    return [segment.author is Author.MODEL for segment in trajectory.segments for _ in segment.token_ids]


def with_scores(trajectory: Trajectory, scores: TopK) -> Trajectory:
    """Attach the teacher's scores, one row for each trained token in order."""
    return replace(trajectory, segments=tuple(_scored(trajectory.segments, scores)))


def _scored(segments: Sequence[Segment], scores: TopK) -> Iterator[Segment]:
    start = 0
    for segment in segments:
        if segment.author is not Author.MODEL:
            yield segment
            continue
        rows = slice(start, start + len(segment.token_ids))
        top = TopK(scores.token_ids[rows], scores.logprobs[rows], scores.tail_mass[rows], "teacher")
        yield replace(segment, teacher=top)
        start = rows.stop
