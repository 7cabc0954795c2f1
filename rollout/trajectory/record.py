"""The central record: a Trajectory is a sequence of segments, each with its provenance.

A segment says what a stretch of tokens is (``kind``), who made it (``author``) and in which turn. Provenance is
written down when the segment is made and is never recovered from text later. Token ids are those that the engine saw
or produced; nothing is re-tokenised. Everything a learner or an evaluator needs is a view of this record.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rollout.errors import Failure

SCHEMA_VERSION = 2


class Kind(StrEnum):
    """What a segment is."""

    SYSTEM = "system"
    TASK = "task"
    EXAMPLE = "example"
    HINT = "hint"
    PREFIX = "prefix"
    OBSERVATION = "observation"
    REASON = "reason"
    ACT = "act"
    FORMAT = "format"


class Author(StrEnum):
    """Who made a segment."""

    PROMPT = "prompt"
    """Us: instructions, examples, hints, a task statement."""
    TEMPLATE = "template"
    """The model's chat template: role markers, end-of-turn glue."""
    ENVIRONMENT = "environment"
    """The environment or a tool."""
    MODEL = "model"
    """The policy that is being recorded."""
    TEACHER = "teacher"
    """Another prompt of the teacher (a forced first-thought prefix)."""


class StopReason(StrEnum):
    """Why an episode ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    """The environment ended the episode without success."""
    STEP_LIMIT = "step_limit"
    TOKEN_LIMIT = "token_limit"
    TIME_LIMIT = "time_limit"
    ERROR = "error"


def float32s(values: Iterable[float]) -> tuple[float, ...]:
    """Round to single precision, so that a value survives Parquet's float32 columns bit for bit."""
    return tuple(array("f", values))


@dataclass(frozen=True, slots=True)
class TopK:
    """A model's next-token distribution at each token of a segment, cut to its k most likely tokens.

    Attributes:
        token_ids: ``[num_tokens][k]`` most likely first; a row may be shorter than k.
        logprobs: ``[num_tokens][k]`` natural logarithms, single precision.
        tail_mass: ``[num_tokens]`` probability of all other tokens together, in [0, 1].
    """

    token_ids: tuple[tuple[int, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]
    tail_mass: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "logprobs", tuple(float32s(row) for row in self.logprobs))
        object.__setattr__(self, "tail_mass", float32s(self.tail_mass))
        if not len(self.token_ids) == len(self.logprobs) == len(self.tail_mass):
            raise ValueError("TopK needs one row of ids, one of log-probabilities and one tail mass a token")

    def __len__(self) -> int:
        return len(self.token_ids)

    def slice(self, start: int, stop: int) -> TopK:
        """The rows of tokens ``start`` to ``stop``."""
        return TopK(self.token_ids[start:stop], self.logprobs[start:stop], self.tail_mass[start:stop])


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of an episode of one kind, by one author, in one turn.

    Attributes:
        turn: 0 for the prompt up to and including the first observation; then the turn it belongs to, from 1: the
            completion of turn n and the observation that answers it both carry n.
        text: exactly ``decode(token_ids)``, but for a character whose bytes are cut by the segment's edge.
        token_ids: as the engine saw or made them.
        logprobs: ``[num_tokens]`` of the policy that acted; None where no model made the tokens or none were given.
        teacher: the teacher's distribution at each token; None means never scored, which is not zero.
    """

    kind: Kind
    author: Author
    turn: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None
    teacher: TopK | None = None

    def __post_init__(self) -> None:
        if self.logprobs is not None:
            object.__setattr__(self, "logprobs", float32s(self.logprobs))
            if len(self.logprobs) != len(self.token_ids):
                raise ValueError("a segment needs one log-probability a token")
        if self.teacher is not None and len(self.teacher) != len(self.token_ids):
            raise ValueError("a segment needs one row of teacher scores a token")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Identity of an episode within a run; the store holds each key once."""

    role: str
    round: int
    task: str
    attempt: int

    @property
    def session(self) -> str:
        """The episode's name among an engine's sessions."""
        return f"{self.role}/{self.round}/{self.task}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Where an episode belongs. ``dialect`` is the action dialect that was spoken (``move`` or ``put``)."""

    run: str
    role: str
    round: int
    task: str
    attempt: int
    environment: str
    split: str
    task_type: str = ""
    dialect: str = ""

    @property
    def key(self) -> Key:
        return Key(self.role, self.round, self.task, self.attempt)


@dataclass(frozen=True, slots=True)
class Policy:
    """Who acted, and how. ``sampling_json`` and ``method_json`` hold settings as canonical JSON."""

    model: str
    weight_version: int
    prompt_style: str
    sampling_json: str = "{}"
    method_json: str = "{}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an episode ended. ``reward`` is the environment's own, ``success`` its yes or no, ``scores`` the rest."""

    reward: float
    success: bool
    stop_reason: StopReason
    failure: Failure | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """What an episode cost, in turns and tokens.

    ``prompt_tokens`` is the sum over all engine calls of the episode (as served, before any prefix cache);
    ``output_tokens`` and ``reason_tokens`` are what the model wrote, in all and inside its reasoning.
    """

    steps: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    reason_tokens: int = 0
    invalid_actions: int = 0


@dataclass(frozen=True, slots=True)
class Times:
    """Wall-clock: start as Unix time, the whole episode, and its share inside engine and environment, in seconds."""

    started_unix_s: float = 0.0
    total_s: float = 0.0
    engine_s: float = 0.0
    environment_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished episode. Frozen and versioned; it crosses every boundary of the system."""

    identity: Identity
    policy: Policy
    outcome: Outcome
    segments: tuple[Segment, ...]
    counts: Counts = field(default_factory=Counts)
    times: Times = field(default_factory=Times)
    version: int = SCHEMA_VERSION

    @property
    def key(self) -> Key:
        return self.identity.key

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All tokens of the episode in order."""
        return tuple(token for segment in self.segments for token in segment.token_ids)

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)

    def num_tokens(self, *kinds: Kind) -> int:
        """Tokens of the segments of these kinds, or of all segments if none is named."""
        return sum(len(s.token_ids) for s in self.segments if not kinds or s.kind in kinds)
