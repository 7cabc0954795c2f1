"""What an endpoint can do, as a probe found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EndpointCapabilities:
    """What a probe found out about an endpoint that is reachable, accepts the key and serves the model.

    Attributes:
        url: address of the API.
        dialect: what the server is; ``auto`` if that is not known.
        model: name of the model that is asked for.
        models: names of the models that it lists; empty if it lists none.
        max_model_len: smaller of the configured context length and the one that the server lists.
        token_ids: whether it returns the token ids of completions.
        logprobs: whether it returns log-probabilities.
        top_logprobs: whether it returns the most likely tokens by id, as training on distributions needs.
        honors_stop: whether it ends a completion at a stop text; None if none occurred.
        sent: parameters that are sent to it.
        left_out: parameters that it refuses or does not know.
    """

    url: str
    dialect: str
    model: str
    models: tuple[str, ...]
    max_model_len: int
    token_ids: bool
    logprobs: bool
    top_logprobs: bool
    honors_stop: bool | None
    sent: dict[str, Any]
    left_out: tuple[str, ...]

    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read."""
        notes, left_out = [], ", ".join(self.left_out)
        if self.dialect == "ollama":
            notes.append(
                f"The endpoint {self.url} ignores {left_out}, so the parameters of its Modelfile apply. It cuts long "
                f"prompts without an error: set OLLAMA_CONTEXT_LENGTH to at least {self.max_model_len}."
            )
        elif left_out:
            notes.append(f"The endpoint {self.url} does not take {left_out}, so they are not sent.")
        if self.models and not any(name in (self.model, f"models/{self.model}") for name in self.models):
            names = ", ".join(sorted(self.models)[:20])
            notes.append(f"The endpoint {self.url} does not list {self.model}, and may answer with one of: {names}.")
        if self.honors_stop is False:
            notes.append(f"The endpoint {self.url} ignores stop texts; completions are cut after they arrive.")
        return tuple(notes)
