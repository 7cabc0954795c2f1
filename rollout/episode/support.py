"""Whether an agent can act in an environment as its settings say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rollout.environment import Environment, fork_of
from rollout.episode.acting import Acting, ConstrainedActing, SelfConsistentActing
from rollout.episode.constrained import allowed_actions
from rollout.errors import EpisodeError, UserError
from rollout.prompts.style import Style


def require_acting(environment: Environment, acting: Acting, style: Style) -> None:
    """Raises `UserError` if an agent cannot act so in ``environment``, in which a task has begun.

    Episodes call it before their first completion, and `rollout.factory.require_playable` before engines start, so that
    both agree.
    """
    if isinstance(acting, SelfConsistentActing):
        fork_of(environment).close()
    if isinstance(acting, ConstrainedActing):
        style.turn_grammar(allowed_actions(environment, acting.to))


@contextmanager
def raising_user_errors() -> Iterator[None]:
    """Raise a `UserError` of the block as it is: a wrong setting goes to the user, not on the record of an episode."""
    try:
        yield
    except EpisodeError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
