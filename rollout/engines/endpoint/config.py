"""Settings of the engine for OpenAI-compatible endpoints."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from rollout.engines.endpoint.address import check_base_url
from rollout.engines.endpoint.dialect import DialectName
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel


class OpenAIConfig(FrozenModel):
    """A model behind an HTTP endpoint."""

    # An invalid base_url may contain a password, so errors must not repeat the input.
    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["openai"] = "openai"
    base_url: str
    """URL of the API, for example ``http://localhost:8000/v1``. It must not contain a password or a key."""
    model: str
    """Name of the model at the endpoint."""
    tokenizer: str
    """Tokenizer and chat template of the model: ``builtin:NAME``, a folder or a hub name."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """Environment variable that holds the API key; null for an endpoint that needs none."""
    api_key_header: str = Field("Authorization", pattern=r"^[A-Za-z0-9-]+$")
    """Header that carries the key: ``Authorization`` (as a bearer token), or for example ``api-key`` (Azure)."""
    api: Literal["completions", "chat"] = "completions"
    """``completions`` continues a prompt; ``chat`` sends messages and returns no log-probabilities."""
    prompt: Literal["token_ids", "text"] = "token_ids"
    """Prompt format of the completions API: token ids (accepted by vLLM, SGLang, OpenAI) or text."""
    dialect: DialectName = "auto"
    """What the server is: it decides which parameters are sent. ``auto`` finds out from its answers."""
    extensions: bool = True
    """Send parameters beyond OpenAI's API: top_k, min_p, repetition penalty, and vLLM's for exact token ids and scores.
    Those that the endpoint refuses are left out in any case."""
    max_model_len: int = Field(8192, ge=2)
    """Context length of the endpoint: tokens of prompt and completion together."""
    timeout_s: float = Field(120.0, gt=0.0)
    """Timeout of one request."""
    max_retries: int = Field(5, ge=0)
    """Retries after connection errors, timeouts and status 408, 409, 425, 429 or 5xx, with backoff or after
    Retry-After."""

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_base_url(url)

    def api_key(self) -> str:
        """The API key; empty if the endpoint needs none.

        Raises:
            UserError: the environment variable is not set, or cannot be a key.
        """
        if self.api_key_env is None:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()  # a key that was read from a file ends with a newline
        if not key:
            raise UserError(
                f"the environment variable {self.api_key_env} is not set; set it to the API key, "
                "or set api_key_env to null for an endpoint that needs none"
            )
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"the environment variable {self.api_key_env} holds characters that no API key has")
        return key

    def headers(self) -> dict[str, str]:
        """HTTP headers with the API key."""
        key = self.api_key()
        is_bearer = self.api_key_header.lower() == "authorization"
        return {self.api_key_header: f"Bearer {key}" if is_bearer else key} if key else {}
