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
        notes = []
        if self.left_out:
            why = "ignores" if self.dialect == "ollama" else "does not take"
            effect = "so the parameters of its Modelfile apply" if self.dialect == "ollama" else "so they are not sent"
            notes.append(f"The endpoint {self.url} {why} {', '.join(self.left_out)}, {effect}.")
        if self.honors_stop is False:
            notes.append(f"The endpoint {self.url} ignores stop texts; completions are cut after they arrive.")
        return tuple(notes)
