"""The pool reuses sound environments and closes the others."""

from __future__ import annotations

import pytest

from rollout.environment import Reset, Step, Task, fork_of
from rollout.environments.wrappers.pooled import EnvironmentPool
from rollout.episode.constrained import allowed_actions
from rollout.errors import UserError
from rollout.grammar import Choice

TASK = Task("task", "toy", "train", "")


class Toy:
    """An environment that breaks at the action ``break``."""

    blocking = True

    def __init__(self) -> None:
        self.closed = False

    def reset(self, task: Task) -> Reset:
        return Reset("a room", "do it")

    def step(self, action: str) -> Step:
        if action == "break":
            raise OSError("broken")
        return Step("fine")

    def admissible_actions(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def test_a_returned_environment_is_lent_again_and_is_still_open() -> None:
    made: list[Toy] = []
    pool = EnvironmentPool(lambda: made.append(Toy()) or made[-1])
    for _ in range(3):
        environment = pool.take()
        environment.reset(TASK)
        assert environment.step("look") == Step("fine")
        environment.close()
    assert len(made) == 1
    assert not made[0].closed


def test_two_borrowers_get_two_environments_that_block_as_the_real_ones_do() -> None:
    pool = EnvironmentPool(Toy)
    first, second = pool.take(), pool.take()
    first.close()
    assert pool.take() is not second
    assert first.blocking is True  # type: ignore[attr-defined]


def test_an_environment_with_a_failed_step_is_closed_and_not_lent_again() -> None:
    made: list[Toy] = []
    pool = EnvironmentPool(lambda: made.append(Toy()) or made[-1])
    environment = pool.take()
    environment.reset(TASK)
    with pytest.raises(OSError, match="broken"):
        environment.step("break")
    environment.close()
    pool.take()
    assert [toy.closed for toy in made] == [True, False]


def test_clear_closes_the_free_environments() -> None:
    toy = Toy()
    pool = EnvironmentPool(lambda: toy)
    pool.take().close()
    pool.clear()
    assert toy.closed


def test_a_copy_of_a_borrowed_environment_is_closed_permanently_and_the_environment_is_not() -> None:
    class Copied(Toy):
        action_templates = ("say {}",)

        def fork(self) -> Copied:
            return Copied()

        def open_actions(self) -> tuple[str, ...]:
            return ("shout {}",)

    pool = EnvironmentPool(Copied)
    environment = pool.take()
    environment.reset(TASK)
    copy = fork_of(environment)
    copy.close()
    assert copy.closed  # type: ignore[attr-defined]
    environment.close()
    assert [one.closed for one in pool.free] == [False]
    assert allowed_actions(environment, "grammar") == Choice(templates=("say {}",))
    assert allowed_actions(environment, "admissible") == Choice(templates=("shout {}",))
    with pytest.raises(UserError, match="Toy cannot be copied"):
        fork_of(EnvironmentPool(Toy).take())
