"""An engine without a model, for tests and dry runs: a text policy or fixed replies, token in and token out."""

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
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.scripted_policy import TextPolicy
from rollout.trajectory import TopK

_MAX_SESSIONS = 4096


class ScriptedConfig(FrozenModel):
    """An expert, a random player or fixed replies in place of a model."""

    type: Literal["scripted"] = "scripted"
    tokenizer: str
    """Model whose tokenizer and chat template are spoken: ``builtin:NAME``, a folder or a hub name."""
    policy: str | None = None
    """Name of an environment's policy, such as ``household-expert``. It writes in the style of the agent."""
    replies: tuple[str, ...] = ()
    """Fixed answers, one a turn, as they stand; the last one is repeated."""
    seed: int = 0
    """Of the policies; each episode derives its own."""
    latency_s: float = Field(0.0, ge=0.0)
    """Seconds that each answer takes."""
    max_model_len: int = Field(32768, ge=1)
    """Tokens that prompt and answer may have together."""

    @model_validator(mode="after")
    def _check(self) -> ScriptedConfig:
        if (self.policy is None) == (not self.replies):
            raise ValueError("a scripted engine plays either a policy or replies; give one of the two")
        return self


async def start(config: ScriptedConfig, style: StyleName = "react") -> ScriptedEngine:
    """Make the engine for agents of this style.

    Raises:
        UserError: the policy is unknown, cannot be imported or does not write in this style, or the tokenizer cannot
            be used.
    """
    if config.policy is not None:
        check_policy(config.policy, style)
    return ScriptedEngine(config, load_tokenizer(model_folder(config.tokenizer)), style)


class ScriptedEngine:
    """Plays one text policy a session (`rollout.engine.Engine`).

    No model makes its tokens, so completions carry no log-probabilities and no distribution, whatever was asked for.
    Temperature, stop texts and the like do not matter; ``Sampling.max_tokens`` does.

    Args:
        config: which script.
        tokenizer: of the model that it stands in for.
        style: in which policies write, so that the agent can read them.
    """

    def __init__(self, config: ScriptedConfig, tokenizer: Tokenizer, style: StyleName = "react") -> None:
        template = ChatTemplate.from_tokenizer(tokenizer)
        self.name = f"scripted:{config.policy or 'replies'}"
        self.weight_version = 0
        self.max_model_len = config.max_model_len
        self._config = config
        self._style = style
        self._tokenizer = tokenizer.guarding(template.text)
        encode = self._tokenizer.encode_markers
        self._first_user = encode(template.system_to_user)
        self._next_user = encode(template.next_user)
        self._generation_prompt = encode(template.generation_prompt)
        self._end_of_turn = encode(template.end_of_turn)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        """The policy's answer to the user message that is new since the session's last prompt.

        A prompt that does not continue the session's last one starts it afresh.

        Raises:
            ValueError: the prompt does not end where an assistant would go on.
        """
        await asyncio.sleep(self._config.latency_s)
        prompt = tuple(token_ids)
        session = self._session(session_id, prompt)
        message, begun = self._message(prompt, len(session.seen))
        text = _rest(session.policy.respond(self._tokenizer.decode(message)), self._tokenizer.decode(begun))
        whole = self._tokenizer.encode(text) + self._end_of_turn
        made = whole[: sampling.max_tokens]
        session.seen = prompt + made
        finish_reason: Literal["stop", "length"] = "stop" if made == whole else "length"
        return Completion(made, None, self._tokenizer.decode(made), finish_reason, weight_version=self.weight_version)

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """Raises `NotImplementedError`: a script has no distribution."""
        raise NotImplementedError("a scripted engine has no distribution to score with; use an engine with a model")

    async def load_weights(self, folder: str, version: int) -> None:
        """Only the version changes: a script has no weights."""
        self.weight_version = version

    async def close(self) -> None:
        self._sessions.clear()

    def _session(self, session_id: str, prompt: tuple[int, ...]) -> _Session:
        session = self._sessions.pop(session_id, None)
        if session is None or prompt[: len(session.seen)] != session.seen:
            session = _Session(self._policy(session_id))
        self._sessions[session_id] = session
        if len(self._sessions) > _MAX_SESSIONS:  # episodes do not say when they end
            self._sessions.popitem(last=False)
        return session

    def _policy(self, session_id: str) -> TextPolicy:
        if self._config.policy is None:
            return _Replies(self._config.replies)
        digest = sha256(f"{self._config.seed}/{session_id}".encode()).digest()
        return make_policy(self._config.policy, int.from_bytes(digest[:4], "big"), self._style)

    def _message(self, prompt: tuple[int, ...], seen: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The newest user message, between the last glue and the generation prompt, and how the answer is begun."""
        end = _last(prompt, self._generation_prompt)
        return self._last_user(prompt[:end], seen), prompt[end + len(self._generation_prompt) :]

    def _last_user(self, prompt: tuple[int, ...], seen: int) -> tuple[int, ...]:
        if seen:
            start = seen
            if prompt[start : start + len(self._end_of_turn)] == self._end_of_turn:  # the last answer lacked its end
                start += len(self._end_of_turn)
            return prompt[start + len(self._next_user) :]
        return prompt[_after(prompt, self._first_user) :]


@dataclass(slots=True)
class _Session:
    """A policy in the middle of an episode; ``seen`` is the last prompt and its answer."""

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


def _rest(text: str, begun: str) -> str:
    """What is left to write of a turn that is ``begun``; one that begins otherwise is written behind its first word."""
    if text.startswith(begun):
        return text[len(begun) :]
    return f" {text.partition(' ')[2]}"


def _last(token_ids: tuple[int, ...], part: tuple[int, ...]) -> int:
    """Where the last occurrence of ``part`` begins."""
    for start in range(len(token_ids) - len(part), -1, -1):
        if token_ids[start : start + len(part)] == part:
            return start
    raise ValueError("nowhere in the prompt is the chat template's generation prompt, after which an assistant writes")


def _after(token_ids: tuple[int, ...], part: tuple[int, ...]) -> int:
    """Where the first occurrence of ``part`` ends."""
    for start in range(len(token_ids) - len(part) + 1):
        if token_ids[start : start + len(part)] == part:
            return start + len(part)
    raise ValueError("the prompt has no system message followed by a user message of this chat template")
