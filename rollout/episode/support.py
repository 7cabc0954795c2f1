"""Checks that an environment supports an agent's acting method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rollout.concurrency import close_or_warn
from rollout.environment import Environment, fork_of
from rollout.episode.acting import Acting, ConstrainedActing, SelfConsistentActing
from rollout.episode.constrained import allowed_actions
from rollout.errors import EpisodeError, UserError
from rollout.prompts.style import Style


def check_acting(environment: Environment, acting: Acting, style: Style) -> None:
    """Raise `UserError` if ``environment``, in which a task has started, does not support ``acting``.

    Called by episodes before their first completion, and by `rollout.factory.require_playable` before engines start.
    """
    if isinstance(acting, SelfConsistentActing):
        close_or_warn(fork_of(environment))
    if isinstance(acting, ConstrainedActing):
        style.turn_grammar(allowed_actions(environment, acting.to))


@contextmanager
def reraising_user_errors() -> Iterator[None]:
    """Raise a `UserError` of the block unchanged, so that it reaches the user instead of an episode's record."""
    try:
        yield
    except EpisodeError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
