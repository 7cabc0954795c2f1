"""The central record: a Trajectory is a sequence of segments, each with its provenance.

A segment records the role of a span of tokens (``kind``), its author and its turn. Provenance is recorded when the
segment is created and never inferred from text later. Token ids are those that the engine read or generated; nothing is
tokenized again. Learner and evaluator use views of this record.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rollout.errors import Failure

SCHEMA_VERSION = 3


class Kind(StrEnum):
    """The role of a segment in an episode."""

    SYSTEM = "system"
    TASK = "task"
    EXAMPLE = "example"
    HINT = "hint"
    PREFIX = "prefix"
    OBSERVATION = "observation"
    REASON = "reason"
    ACT = "act"
    FORMAT = "format"
    TRAILING = "trailing"
    """Text that the model generated after its action. It is not trained on by default."""


class Author(StrEnum):
    """The author of a segment."""

    PROMPT = "prompt"
    """The prompt builder: instructions, examples, hints, task statement."""
    TEMPLATE = "template"
    """The model's chat template: role markers and end-of-turn tokens."""
    ENVIRONMENT = "environment"
    """The environment or a tool."""
    MODEL = "model"
    """The recorded policy."""
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


class Truncation(StrEnum):
    """Why the text of a segment is incomplete."""

    NONE = ""
    MAX_TOKENS = "max_tokens"
    """The model reached its token limit."""
    MAX_BYTES = "max_bytes"
    """The environment's or a tool's text was longer than the limit."""


class Relation(StrEnum):
    """How a segment was derived from another source."""

    COPIED = "copied"
    """Copied from another episode, for example as context before the student takes over."""
    RELABELED = "relabeled"
    """Written by another model for a state that the acting policy reached."""


def float32s(values: Iterable[float]) -> tuple[float, ...]:
    """Round to single precision, so that values survive Parquet's float32 columns exactly."""
    return tuple(array("f", values))


@dataclass(frozen=True, slots=True)
class TopK:
    """A model's next-token distribution at each token of a segment, restricted to the k most likely tokens.

    Attributes:
        token_ids: ``[num_tokens][k]``, most likely first; a row may be shorter than k.
        logprobs: ``[num_tokens][k]`` natural logarithms, single precision.
        tail_mass: ``[num_tokens]`` total probability of all other tokens, in [0, 1].
        model: id of the model whose distribution it is; empty if it was not recorded.
    """

    token_ids: tuple[tuple[int, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]
    tail_mass: tuple[float, ...]
    model: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "logprobs", tuple(float32s(row) for row in self.logprobs))
        object.__setattr__(self, "tail_mass", float32s(self.tail_mass))
        if not len(self.token_ids) == len(self.logprobs) == len(self.tail_mass):
            raise ValueError("TopK needs one row of ids, one row of log-probabilities and one tail mass per token")

    def __len__(self) -> int:
        return len(self.token_ids)

    def slice(self, start: int, stop: int) -> TopK:
        """The rows of the tokens from ``start`` up to ``stop``."""
        return TopK(self.token_ids[start:stop], self.logprobs[start:stop], self.tail_mass[start:stop], self.model)


@dataclass(frozen=True, slots=True)
class Origin:
    """Source of a segment that the episode's own policy and environment did not produce.

    Attributes:
        source: `Key.session` of the episode that it was copied from, or id of the model that relabeled it.
    """

    relation: Relation
    source: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A span of an episode of one kind, by one author, in one turn.

    Attributes:
        turn: 0 for the prompt up to and including the first observation; then the number of its turn, from 1. The
            completion of turn n and the observation that follows both have number n.
        text: ``decode(token_ids)``, except for a character whose bytes are split at the segment's boundary.
        token_ids: ids that the engine read or generated.
        logprobs: ``[num_tokens]`` log-probabilities under the acting policy; None if no model generated the tokens or
            the engine returned none.
        teacher: the teacher's distribution at each token; None if the segment was never scored.
        engine: id of the engine that generated the tokens; empty if no model did.
        weight_version: version of the weights that generated the tokens; None if no model did or it is not known.
        truncated: why the text is incomplete, if it is.
        dropped_bytes: UTF-8 bytes that ``Truncation.MAX_BYTES`` removed.
        origin: the source if the segment was copied or relabeled; None otherwise.
    """

    kind: Kind
    author: Author
    turn: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None
    teacher: TopK | None = None
    engine: str = ""
    weight_version: int | None = None
    truncated: Truncation = Truncation.NONE
    dropped_bytes: int = 0
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if self.logprobs is not None:
            object.__setattr__(self, "logprobs", float32s(self.logprobs))
            if len(self.logprobs) != len(self.token_ids):
                raise ValueError("a segment needs one log-probability per token")
        if self.teacher is not None and len(self.teacher) != len(self.token_ids):
            raise ValueError("a segment needs one row of teacher scores per token")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Identity of an episode within a run; the store holds each key once."""

    role: str
    round: int
    task: str
    attempt: int

    @property
    def session(self) -> str:
        """The episode's session id for an engine."""
        return f"{self.role}/{self.round}/{self.task}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class Identity:
    """The run, task and attempt of an episode. ``dialect`` is its action dialect (``move`` or ``put``)."""

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
    """The acting policy.

    ``sampling_json`` and ``method_json`` are its settings as canonical JSON. ``template_digest`` is the SHA-256 of the
    chat template that rendered the prompts; empty if it was not recorded.
    """

    model: str
    weight_version: int
    prompt_style: str
    sampling_json: str = "{}"
    method_json: str = "{}"
    template_digest: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an episode ended: the environment's ``reward``, its ``success`` and any further ``scores``.

    ``retries`` counts the earlier attempts to complete this episode that an infrastructure failure ended.
    """

    reward: float
    success: bool
    stop_reason: StopReason
    failure: Failure | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Turns and tokens of an episode.

    ``prompt_tokens`` is the sum over all engine calls of the episode, ignoring any prefix cache. ``output_tokens`` and
    ``reason_tokens`` count the tokens that the model generated, in total and in its reasoning.
    """

    steps: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    reason_tokens: int = 0
    invalid_actions: int = 0


@dataclass(frozen=True, slots=True)
class Times:
    """Wall-clock times: start as Unix time, and seconds in total, in the engine and in the environment."""

    started_unix_s: float = 0.0
    total_s: float = 0.0
    engine_s: float = 0.0
    environment_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A finished episode. Frozen and versioned; all parts of the system exchange this record."""

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
        """All token ids of the episode, in order."""
        return tuple(token for segment in self.segments for token in segment.token_ids)

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)

    def num_tokens(self, *kinds: Kind) -> int:
        """Number of tokens in the segments of these kinds, or in all segments if none is given."""
        return sum(len(s.token_ids) for s in self.segments if not kinds or s.kind in kinds)
