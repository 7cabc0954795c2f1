"""Errors of endpoints. Their messages never contain the API key or the query of a URL."""

from __future__ import annotations

from rollout.errors import EngineUnavailable, SetupError


class EndpointError(Exception):
    """An endpoint cannot be used, or its answer cannot."""


class EndpointUnavailable(EndpointError, EngineUnavailable):
    """An endpoint is unreachable, too slow, overloaded (429) or failing (5xx).

    Attributes:
        retry_after_s: seconds that the endpoint asks to wait; infinite if another attempt cannot help.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EndpointUnreachable(EndpointUnavailable):
    """An endpoint gives no answer: no connection, or none within the time limit."""


class EndpointSetupError(EndpointError, SetupError):
    """An endpoint refuses the key, the model, the address or a setting."""


class UnknownModelError(EndpointSetupError):
    """An endpoint does not serve the model."""


class RequestRefused(EndpointError):
    """An endpoint refuses a request as invalid (400 or 422).

    Attributes:
        reason: the endpoint's own message.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
