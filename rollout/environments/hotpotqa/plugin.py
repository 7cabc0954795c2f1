"""Plug-in record of the HotpotQA environment."""

from __future__ import annotations

from rollout.environments.plugin import EnvironmentPlugin

_HERE = "rollout.environments.hotpotqa"

HOTPOTQA = EnvironmentPlugin(
    name="hotpotqa",
    description="Question answering with ReAct's search, lookup and finish: generated, HotpotQA, 2Wiki, MuSiQue, "
    "Bamboogle, NQ, TriviaQA, PopQA.",
    config=f"{_HERE}.environment:HotpotQAConfig",
    environment=f"{_HERE}.environment:HotpotQAEnvironment",
    tasks=f"{_HERE}.environment:make_tasks",
    instructions=f"{_HERE}.instructions:INSTRUCTIONS",
    examples=f"{_HERE}.demonstrations:hotpotqa_demonstrations",
    tools=f"{_HERE}.demonstrations:TOOLS",
    finish="finish[{}]",
    has_search=True,
    expert_policy=f"{_HERE}.expert_policy:HotpotQAExpert",
    random_policy=f"{_HERE}.random_policy:RandomPolicy",
    reasoner=f"{_HERE}.expert_policy:HotpotQAReasoner",
    state_keeper=f"{_HERE}.demonstrations:StateKeeper",
    code_writer="rollout.prompts.codeact:as_code",
    vocabulary=f"{_HERE}.vocabulary:VOCABULARY",
    models=("builtin:hotpotqa-teacher", "builtin:hotpotqa-base-student"),
)
