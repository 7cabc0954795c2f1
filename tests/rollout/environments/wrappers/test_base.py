"""Every stack of wrappers forwards every optional ability."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product

import pytest

from rollout.environment import (
    ABILITIES,
    Environment,
    Reset,
    Step,
    Task,
    action_templates,
    fork_of,
    has_passages,
    is_blocking,
    legal_actions,
    open_actions,
    passages_of,
)
from rollout.environments.wrappers.base import EnvironmentWrapper
from rollout.environments.wrappers.code import CodeActEnvironment
from rollout.environments.wrappers.context import ContextEnvironment, own_passages
from rollout.environments.wrappers.pooled import EnvironmentPool, PooledEnvironment
from rollout.environments.wrappers.search import SearchEnvironment
from rollout.errors import SetupError, UserError
from rollout.grammar import Choice
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.sandbox import Sandbox

TASK = Task("park/1", "park", "train", "park")
WRAPPERS: dict[str, Callable[[Environment], Environment]] = {
    "context": lambda inner: ContextEnvironment(inner, lambda environment, reset: ["A passage."]),
    "search": lambda inner: SearchEnvironment(inner, lambda query: f"found {query}"),
    "code": lambda inner: CodeActEnvironment(inner, Sandbox(SandboxConfig(), Tier.RLIMITS)),  # never started
    "pooled": lambda inner: EnvironmentPool(lambda: inner).take(),
}
STACKS = [stack for depth in range(4) for stack in product(WRAPPERS, repeat=depth)]
"""Innermost first. `rollout.factory.make_environment` and a worker's pool make some of those of up to four."""
STACKS += [("context", "search", "code", "pooled"), ("context", "search", "pooled"), ("search", "code", "pooled")]


class Plain:
    """An environment without optional abilities that lists its actions."""

    def __init__(self, walks: Sequence[str] = ()) -> None:
        self.walks = list(walks)
        self.closed = 0

    def reset(self, task: Task) -> Reset:
        self.walks = []
        return Reset("A park.", "walk")

    def step(self, action: str) -> Step:
        self.walks.append(action)
        return Step(", ".join(self.walks), scores={"walks": float(len(self.walks))})

    def admissible_actions(self) -> Sequence[str] | None:
        return ["go", "stay"]

    def close(self) -> None:
        self.closed += 1


class Park(Plain):
    """An environment with every optional ability."""

    blocking = True
    action_templates = ("go {}", "stay")

    def open_actions(self) -> Sequence[str]:
        return ("go {}",)

    def fork(self) -> Park:
        return Park(self.walks)

    def passages(self, k: int) -> Sequence[str]:
        return ["grass", "trees", "a bench"][:k]


class Endless(Plain):
    """An environment that cannot list its actions."""

    def admissible_actions(self) -> None:
        return None


def wrapped(inner: Environment, stack: Sequence[str]) -> Environment:
    for name in stack:
        inner = WRAPPERS[name](inner)
    return inner


def blocking_is_forwarded(stack: Sequence[str]) -> None:
    assert is_blocking(wrapped(Park(), stack))
    assert not is_blocking(wrapped(Plain(), stack))


def action_templates_are_forwarded(stack: Sequence[str]) -> None:
    expected: tuple[str, ...] = ("go {}", "stay")
    for name in stack:
        expected = () if name == "code" else (*expected, "search[{}]") if name == "search" and expected else expected
    assert action_templates(wrapped(Park(), stack)) == expected
    assert action_templates(wrapped(Plain(), stack)) == ()


def open_actions_are_forwarded(stack: Sequence[str]) -> None:
    behind_code = "code" in stack
    searches = tuple("search[{}]" for name in stack if name == "search")
    assert open_actions(wrapped(Park(), stack)) == (() if behind_code else ("go {}", *searches))
    listed = legal_actions(wrapped(Plain(), stack))
    assert listed == (None if behind_code else Choice(("go", "stay"), searches))
    assert legal_actions(wrapped(Endless(), stack)) is None, "no agent could finish with nothing but a search"


def fork_is_forwarded(stack: Sequence[str]) -> None:
    park = Park()
    whole = wrapped(park, stack)
    whole.reset(TASK)
    copy = fork_of(whole)
    innermost(copy).step("far")
    assert innermost(whole).step("near") == Step("near", scores={"walks": 1.0}), "the copy's step is not seen"
    assert names(copy) == [name for name in names(whole) if name != "PooledEnvironment"]
    assert (is_blocking(copy), action_templates(copy)) == (is_blocking(whole), action_templates(whole))
    copy.close()
    assert park.closed == 0
    with pytest.raises(UserError, match="Plain cannot be copied"):
        fork_of(wrapped(Plain(), stack))


def passages_are_forwarded(stack: Sequence[str]) -> None:
    whole = wrapped(Park(), stack)
    assert has_passages(whole)
    assert passages_of(whole, 2) == ["grass", "trees"]
    assert own_passages(1)(whole, Reset("", "")) == ["grass"]
    assert not has_passages(wrapped(Plain(), stack))


CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    "blocking": blocking_is_forwarded,
    "action_templates": action_templates_are_forwarded,
    "open_actions": open_actions_are_forwarded,
    "fork": fork_is_forwarded,
    "passages": passages_are_forwarded,
}


def names(environment: Environment) -> list[str]:
    """The classes of a stack, outermost first."""
    inner = [environment.inner] if isinstance(environment, EnvironmentWrapper) else []
    return [type(environment).__name__, *(name for one in inner for name in names(one))]


def innermost(environment: Environment) -> Environment:
    return innermost(environment.inner) if isinstance(environment, EnvironmentWrapper) else environment


@pytest.mark.parametrize("ability", ABILITIES)
def test_every_ability_goes_through_every_stack_of_wrappers(ability: str) -> None:
    assert hasattr(Park(), ability), "the test's environment has every ability"
    assert not hasattr(Plain(), ability)
    for stack in STACKS:
        CHECKS[ability](stack)
        if set(stack) <= {"pooled"} or ability in ("fork", "passages"):
            assert not hasattr(wrapped(Plain(), stack), ability), "what is missing inside is missing outside"


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_an_episode_goes_through_every_stack_of_wrappers(stack: Sequence[str]) -> None:
    park = Park()
    whole = wrapped(park, stack)
    passages = "A passage.\n" * stack.count("context")
    assert whole.reset(TASK) == Reset(f"{passages}A park.", "walk")
    if "code" in stack:
        assert whole.admissible_actions() is None
    else:
        assert whole.step("go far") == Step("go far", scores={"walks": 1.0})
        assert whole.admissible_actions() == ["go", "stay"]
    whole.close()
    whole.close()
    assert park.closed == (0 if "pooled" in stack else 2)


def test_other_attributes_are_not_forwarded() -> None:
    with pytest.raises(AttributeError, match="'SearchEnvironment' object has no attribute 'walks'"):
        wrapped(Plain(), ["search"]).walks  # type: ignore[attr-defined]  # noqa: B018


class Broken(Park):
    """An environment whose method ``broken`` raises, or blocks until it is released."""

    def __init__(self, broken: str, waits: threading.Event | None = None) -> None:
        super().__init__()
        self.waits, self.entered = waits, threading.Event()
        setattr(self, broken, self.fail)

    def fail(self, *arguments: object) -> None:
        self.entered.set()
        if self.waits is None:
            raise OSError("broken")
        self.waits.wait(60)


METHODS = ("reset", "step", "admissible_actions", *(name for name in ABILITIES if callable(getattr(Park, name))))
ARGUMENTS: dict[str, tuple[object, ...]] = {"reset": (TASK,), "step": ("go",), "passages": (1,)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after", [(), ("step",)])
def test_an_environment_with_a_call_that_raised_is_closed_permanently(method: str, after: Sequence[str]) -> None:
    park = Broken(method)
    pool = EnvironmentPool(lambda: park)
    loan = pool.take()
    with pytest.raises(OSError, match="broken"):
        getattr(loan, method)(*ARGUMENTS.get(method, ()))
    for other in after:
        if other != method:
            getattr(loan, other)(*ARGUMENTS[other])
    loan.close()
    assert (park.closed, pool.free) == (1, [])


@pytest.mark.parametrize("method", METHODS)
def test_an_environment_with_an_unfinished_call_is_closed_permanently(method: str) -> None:
    park = Broken(method, waits=threading.Event())
    pool = EnvironmentPool(lambda: park)
    loan = pool.take()

    def call() -> None:
        with suppress(SetupError):  # it returns nothing in the end
            getattr(loan, method)(*ARGUMENTS.get(method, ()))

    hung = threading.Thread(target=call, daemon=True)
    hung.start()
    assert park.entered.wait(60)
    loan.close()
    assert (park.closed, pool.free) == (1, [])
    assert park.waits is not None
    park.waits.set()
    hung.join(60)


def test_an_environment_that_is_returned_twice_is_lent_once() -> None:
    pool = EnvironmentPool(Park)
    loan = pool.take()
    assert isinstance(loan, PooledEnvironment)
    loan.close()
    loan.close()
    assert len(pool.free) == 1
