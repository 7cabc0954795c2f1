"""An engine without a model, for tests and dry runs: it returns the text of a policy, or fixed replies, as tokens."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from pydantic import Field, model_validator

from rollout.engine import Completion, Sampling
from rollout.environments.policies import check_policy, make_policy
from rollout.frozen_model import FrozenModel
from rollout.models import model_folder
from rollout.prompts.styles import StyleName
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import ChatSettings, Tokenizer, load_tokenizer
from rollout.scripted_policy import TextPolicy
from rollout.trajectory import TopK

_MAX_SESSIONS = 4096


class ScriptedConfig(FrozenModel):
    """A scripted policy (expert or random) or fixed replies in place of a model."""

    type: Literal["scripted"] = "scripted"
    tokenizer: str
    """Model whose tokenizer and chat template are used: ``builtin:NAME``, a folder or a hub name."""
    policy: str | None = None
    """Name of a policy of an environment, such as ``household-expert``. It writes turns in the agent's prompt style."""
    replies: tuple[str, ...] = ()
    """Fixed answers, one per turn; the last one is repeated."""
    seed: int = 0
    """Base seed of the policies; each episode derives its own."""
    latency_s: float = Field(0.0, ge=0.0)
    """Delay of each answer in seconds."""
    max_model_len: int = Field(32768, ge=1)
    """Context length: tokens of prompt and answer together."""

    @model_validator(mode="after")
    def _check(self) -> ScriptedConfig:
        if (self.policy is None) == (not self.replies):
            raise ValueError("a scripted engine has either a policy or replies; set one of the two")
        return self


async def start(config: ScriptedConfig, style: StyleName = "react", chat: ChatSettings | None = None) -> ScriptedEngine:
    """Create the engine for agents of this prompt style.

    Raises:
        UserError: the policy is unknown, cannot be imported or does not write in this style, or the tokenizer cannot
            be used.
    """
    if config.policy is not None:
        check_policy(config.policy, style)
    return ScriptedEngine(config, load_tokenizer(model_folder(config.tokenizer), chat), style)


class ScriptedEngine:
    """Runs one text policy per session (`rollout.engine.Engine`).

    Completions have no log-probabilities and no distributions, whatever ``Sampling`` asks for. Of its settings only
    ``max_tokens`` has an effect.

    Args:
        config: the policy or the replies.
        tokenizer: tokenizer of the model that the engine replaces.
        style: prompt style in which policies write their turns.
    """

    def __init__(self, config: ScriptedConfig, tokenizer: Tokenizer, style: StyleName = "react") -> None:
        template = ChatTemplate.from_tokenizer(tokenizer)
        self.name = f"scripted:{config.policy or 'replies'}"
        self.weight_version = 0
        self.max_model_len = config.max_model_len
        self._config = config
        self._style = style
        self._tokenizer = tokenizer.with_template_markers(template.text)
        encode = self._tokenizer.encode_markers
        self._first_user = encode(template.system_to_user)
        self._next_user = encode(template.next_user)
        self._generation_prompt = encode(template.generation_prompt)
        self._answer_prefix = encode(template.answer_prefix)
        self._end_of_turn = encode(template.end_of_turn)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        """Return the policy's answer to the latest user message of the prompt.

        A prompt that does not continue the session's last prompt restarts the session.

        Raises:
            ValueError: the prompt does not end with a generation prompt, or has no user message.
        """
        await asyncio.sleep(self._config.latency_s)
        prompt = tuple(token_ids)
        session = self._session(session_id, prompt)
        message, prefix = self._message(prompt, len(session.seen))
        text = session.policy.respond(self._tokenizer.decode(message))
        if prefix:  # the prompt has the beginning of an answer
            answer = prefix[len(self._answer_prefix) :]
            full = self._tokenizer.encode(_without_prefix(text, self._tokenizer.decode(answer)))
        else:
            full = self._answer_prefix + self._tokenizer.encode(text)
        full += self._end_of_turn
        output_ids = full[: sampling.max_tokens]
        session.seen = prompt + output_ids
        finish_reason: Literal["stop", "length"] = "stop" if output_ids == full else "length"
        return Completion(
            output_ids, None, self._tokenizer.decode(output_ids), finish_reason, weight_version=self.weight_version
        )

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """Raise `NotImplementedError`: a script has no distributions."""
        raise NotImplementedError("a scripted engine has no distribution to score with; use an engine with a model")

    async def load_weights(self, folder: str, version: int) -> None:
        """Set the weight version; there are no weights to load."""
        self.weight_version = version

    async def close(self) -> None:
        self._sessions.clear()

    def _session(self, session_id: str, prompt: tuple[int, ...]) -> _Session:
        session = self._sessions.pop(session_id, None)
        if session is None or prompt[: len(session.seen)] != session.seen:
            session = _Session(self._policy(session_id))
        self._sessions[session_id] = session
        if len(self._sessions) > _MAX_SESSIONS:  # the engine is not notified when an episode ends
            self._sessions.popitem(last=False)
        return session

    def _policy(self, session_id: str) -> TextPolicy:
        if self._config.policy is None:
            return _Replies(self._config.replies)
        digest = sha256(f"{self._config.seed}/{session_id}".encode()).digest()
        return make_policy(self._config.policy, int.from_bytes(digest[:4], "big"), self._style)

    def _message(self, prompt: tuple[int, ...], seen: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Split off the latest user message, and the prefix of the answer after the generation prompt."""
        end = _last(prompt, self._generation_prompt)
        return self._last_user(prompt[:end], seen), prompt[end + len(self._generation_prompt) :]

    def _last_user(self, prompt: tuple[int, ...], seen: int) -> tuple[int, ...]:
        if seen:
            start = seen
            if prompt[start : start + len(self._end_of_turn)] == self._end_of_turn:  # the last answer was truncated
                start += len(self._end_of_turn)
            return prompt[start + len(self._next_user) :]
        return prompt[_after(prompt, self._first_user) :]


@dataclass(slots=True)
class _Session:
    """State of one episode: its policy, and the last prompt with its answer (``seen``)."""

    policy: TextPolicy
    seen: tuple[int, ...] = ()


@dataclass(slots=True)
class _Replies:
    replies: Sequence[str]
    turn: int = field(default=0)

    def respond(self, observation: str) -> str:
        reply = self.replies[min(self.turn, len(self.replies) - 1)]
        self.turn += 1
        return reply


def _without_prefix(text: str, prefix: str) -> str:
    """The rest of a turn after ``prefix``. If the turn does not start with it, drop the turn's first word instead."""
    if text.startswith(prefix):
        return text[len(prefix) :]
    return f" {text.partition(' ')[2]}"


def _last(token_ids: tuple[int, ...], part: tuple[int, ...]) -> int:
    """Index at which the last occurrence of ``part`` begins."""
    for start in range(len(token_ids) - len(part), -1, -1):
        if token_ids[start : start + len(part)] == part:
            return start
    raise ValueError("the prompt does not contain the generation prompt of the chat template")


def _after(token_ids: tuple[int, ...], part: tuple[int, ...]) -> int:
    """Index at which the first occurrence of ``part`` ends."""
    for start in range(len(token_ids) - len(part) + 1):
        if token_ids[start : start + len(part)] == part:
            return start + len(part)
    raise ValueError("the prompt has no system message followed by a user message of this chat template")
