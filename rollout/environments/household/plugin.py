"""Plug-ins of the household environment: our simulator and the original ALFWorld engine."""

from __future__ import annotations

from rollout.environments.plugin import EnvironmentPlugin

_HERE = "rollout.environments.household"

HOUSEHOLD = EnvironmentPlugin(
    name="household",
    description="Household tasks by ALFWorld's rules, in generated houses or ALFWorld's own games.",
    config=f"{_HERE}.environment:HouseholdConfig",
    environment=f"{_HERE}.environment:HouseholdEnvironment",
    tasks=f"{_HERE}.environment:household_tasks",
    instructions=f"{_HERE}.instructions:INSTRUCTIONS",
    examples=f"{_HERE}.demonstrations:household_demonstrations",
    expert_policy=f"{_HERE}.expert_policy:HouseholdExpert",
    random_policy=f"{_HERE}.random_policy:HouseholdRandomPolicy",
    novice_policy=f"{_HERE}.novice_policy:HouseholdNovice",
    state_keeper=f"{_HERE}.demonstrations:StateKeeper",
    hint_rules=f"{_HERE}.hint_rules:RULES",
    vocabulary=f"{_HERE}.vocabulary:VOCABULARY",
    models=("builtin:household-teacher", "builtin:household-base-student", "builtin:household-novice"),
)

ALFWORLD = EnvironmentPlugin(
    name="alfworld",
    description="ALFWorld's own games in its original engine (extra ``alfworld``), one child process per environment.",
    config=f"{_HERE}.alfworld_engine:AlfworldConfig",
    environment=f"{_HERE}.alfworld_engine:AlfworldEnvironment",
    tasks=f"{_HERE}.alfworld_engine:alfworld_tasks",
    instructions=f"{_HERE}.instructions:INSTRUCTIONS",
    examples=f"{_HERE}.demonstrations:household_demonstrations",
    hint_rules=f"{_HERE}.hint_rules:RULES",
)
