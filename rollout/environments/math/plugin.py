"""Plug-in record of the math environment."""

from __future__ import annotations

from rollout.environments.plugin import EnvironmentPlugin

_HERE = "rollout.environments.math"

MATH = EnvironmentPlugin(
    name="math",
    description="Math problems, generated or from a data set, with a calculator and optionally Python in a sandbox.",
    config=f"{_HERE}.config:MathConfig",
    environment=f"{_HERE}.environment:make_environment",
    tasks=f"{_HERE}.environment:make_tasks",
    instructions=f"{_HERE}.instructions:INSTRUCTIONS",
    examples=f"{_HERE}.demonstrations:math_demonstrations",
    tools=f"{_HERE}.demonstrations:TOOLS",
    finish="finish[{}]",
    expert_policy=f"{_HERE}.expert_policy:MathExpert",
    random_policy=f"{_HERE}.random_policy:RandomPolicy",
    reasoner=f"{_HERE}.expert_policy:MathReasoner",
    state_keeper=f"{_HERE}.demonstrations:StateKeeper",
    code_writer=f"{_HERE}.demonstrations:as_code",
    vocabulary=f"{_HERE}.vocabulary:VOCABULARY",
    models=("builtin:math-teacher", "builtin:math-base-student"),
)
