"""Copies of the built-in environments are independent of each other and behave alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.environment import Environment, Step, Task, fork_of
from rollout.environments.plugins import find_plugin, make_task_source
from rollout.environments.policies import make_policy
from rollout.episode.config import AgentConfig
from rollout.factory import make_environment
from rollout.prompts.react import ReActStyle

STYLE = ReActStyle("")
Choose = Callable[[str], str]


def player(name: str, seed: int = 0) -> Choose:
    policy = make_policy(name, seed)
    return lambda text: STYLE.parse(policy.respond(text)).action or ""


def expert_actions(name: str, environment: Environment, task: Task) -> tuple[list[str], list[Step]]:
    reset = environment.reset(task)
    choose, text = player(f"{name}-expert"), reset.observation + STYLE.task(reset.instruction)
    actions, steps = list[str](), list[Step]()
    while not steps or not steps[-1].done:
        actions.append(choose(text))
        steps.append(environment.step(actions[-1]))
        text = steps[-1].observation
    return actions, steps


@pytest.mark.parametrize("name", ["household", "hotpotqa", "math", "webshop"])
def test_a_copy_behaves_like_its_environment_and_is_independent_of_it(name: str) -> None:
    config = find_plugin(name).config_model()()
    environment = make_environment(config, AgentConfig())
    for number, task in enumerate(make_task_source(config).tasks("valid_unseen", 6)):
        actions, steps = expert_actions(name, environment, task)
        reset = environment.reset(task)
        stray, text = player(f"{name}-random", number), reset.observation + STYLE.task(reset.instruction)
        for turn, action in enumerate(actions):
            ahead, astray = fork_of(environment), fork_of(environment)
            for _ in range(5):
                text = astray.step(stray(text)).observation
            assert [ahead.step(later) for later in actions[turn:]] == steps[turn:]
            ahead.close()
            assert environment.step(action) == steps[turn]
            astray.step(action)  # continues on its own
            astray.close()
    environment.close()


def test_a_copy_of_webshop_draws_the_same_random_products() -> None:
    shop = make_environment(config := find_plugin("webshop").config_model()())
    shop.reset(make_task_source(config).tasks("train", 1)[0])
    twin = fork_of(shop)
    assert shop.step("search[<r> 1]") == twin.step("search[<r> 1]")
    shop.close()


def test_a_copy_of_a_math_problem_has_its_own_variables(code_agent: AgentConfig) -> None:
    config = find_plugin("math").config_model()(python="sandbox", sandbox=code_agent.sandbox)
    problem = make_environment(config)
    problem.reset(make_task_source(config).tasks("train", 1)[0])
    before = fork_of(problem)
    problem.step("python[x = 1]")
    after = fork_of(problem)
    after.step("python[x += 1]")
    seen = [one.step("python[print('x' in globals() and x)]").observation for one in (before, problem, after)]
    assert seen == ["False", "1", "2"]
    for one in (before, problem, after):
        one.close()
